"""The demo's task, written out for the command line, is the one that flytekit makes."""

import pathlib
from collections import OrderedDict

import yaml
from flyteidl.core import tasks_pb2
from flytekit import FlyteFile, StructuredDataset, kwtypes
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable
from google.protobuf import json_format

from agenthost.tasks import DuckDBQuery

DEMO = pathlib.Path(__file__).resolve().parents[3] / "demo"


def test_the_demos_template_is_flytekits() -> None:
    written = json_format.ParseDict(yaml.safe_load((DEMO / "task.yaml").read_text()), tasks_pb2.TaskTemplate())
    task = DuckDBQuery(
        name="delays_by_airline",
        query_template=(DEMO / "query.sql").read_text(),
        inputs=kwtypes(flights=StructuredDataset, airlines=FlyteFile["csv"], min_flights=int),
        output_structured_dataset_type=StructuredDataset,
    )
    settings = SerializationSettings(ImageConfig(), project="demo", domain="development", version="v1")
    made = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
    made.ClearField("metadata")
    for variables in (made.interface.inputs.variables, made.interface.outputs.variables):
        for variable in variables.values():
            variable.ClearField("description")
    assert written == made
