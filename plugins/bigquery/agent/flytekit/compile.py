"""Compiles BigQuery tasks with flytekit, as registering and launching them would: `compile.py DIRECTORY`.

Writes, for each task, DIRECTORY/TASK/template.pb (flyteidl.core.TaskTemplate) and inputs.pb (flyteidl.core.LiteralMap).
"""

import pathlib
import sys
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from typing import Any, Optional

from flytekit import FlyteContextManager, StructuredDataset, kwtypes
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.type_engine import TypeEngine
from flytekit.tools.translator import get_serializable
from flytekitplugins.bigquery import BigQueryConfig, BigQueryTask
from google.cloud import bigquery

SETTINGS = SerializationSettings(
    project="analytics",
    domain="production",
    version="v1",
    image_config=ImageConfig(Image("default", "example.com/flytekit", "v1")),
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def tasks() -> dict[str, tuple[BigQueryTask, dict[str, Any]]]:
    """The tasks by name, with the inputs to run them on."""
    eu = BigQueryConfig(ProjectID="warehouse", Location="EU")
    return {
        "scalars": (
            BigQueryTask(
                name="scalars",
                query_template="""
                    select @i as i, @f as f, @s as s,
                           @b as b, @t as t
                """,
                task_config=eu,
                inputs=kwtypes(i=int, f=float, s=str, b=bool, t=datetime),
                output_structured_dataset_type=StructuredDataset,
            ),
            {
                "i": 2**53 + 1,
                "f": 0.25,
                "s": "it's",
                "b": True,
                "t": datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=timezone.utc),
            },
        ),
        "more_inputs": (
            BigQueryTask(
                name="more_inputs",
                query_template="select @numbers as numbers, @words as words, @none as n, @some as s, "
                "@took as took, @day as day, @colour as colour, @empty as e, @blank as blank",
                task_config=eu,
                inputs=kwtypes(
                    numbers=list[int],
                    words=list[str],
                    empty=list[float],
                    none=Optional[int],
                    some=Optional[str],
                    took=timedelta,
                    day=date,
                    colour=Colour,
                    blank=str,
                ),
                output_structured_dataset_type=StructuredDataset,
            ),
            {
                "numbers": [1, 2, 3],
                "words": ["a", "it's"],
                "empty": [],
                "none": None,
                "some": "x",
                "took": timedelta(days=1, hours=2, seconds=3, microseconds=500_000),
                "day": date(2024, 2, 29),
                "colour": Colour.BLUE,
                "blank": "",
            },
        ),
        "a_struct": (
            BigQueryTask(name="a_struct", query_template="select 1", task_config=eu, inputs=kwtypes(d=dict)),
            {"d": {"a": 1}},
        ),
        "nested_lists": (
            BigQueryTask(name="nested", query_template="select 1", task_config=eu, inputs=kwtypes(n=list[list[int]])),
            {"n": [[1]]},
        ),
        "no_location": (
            BigQueryTask(
                name="no_location", query_template="select 1 as n", task_config=BigQueryConfig(ProjectID="warehouse")
            ),
            {},
        ),
        "every_setting": (
            BigQueryTask(
                name="every_setting",
                query_template="select @z as z, @i as i",
                task_config=BigQueryConfig(
                    ProjectID="warehouse",
                    Location="EU",
                    QueryJobConfig=bigquery.QueryJobConfig(
                        destination="warehouse.lake.target",
                        create_disposition="CREATE_IF_NEEDED",
                        write_disposition="WRITE_TRUNCATE",
                        use_legacy_sql=False,
                        priority="BATCH",
                        maximum_bytes_billed=10**12,
                        default_dataset="warehouse.lake",
                        use_query_cache=False,
                        clustering_fields=["z"],
                        time_partitioning=bigquery.TimePartitioning(expiration_ms=86_400_000),
                        query_parameters=[
                            bigquery.ScalarQueryParameter("z", "INT64", 7),
                            bigquery.ScalarQueryParameter("i", "INT64", 1),
                        ],
                    ),
                ),
                inputs=kwtypes(i=int),
                output_structured_dataset_type=StructuredDataset,
            ),
            {"i": 2},
        ),
        "fails": (
            BigQueryTask(
                name="fails",
                query_template="select no_such_column",
                task_config=eu,
                output_structured_dataset_type=StructuredDataset,
            ),
            {},
        ),
    }


def main(directory: pathlib.Path) -> None:
    for name, (task, values) in tasks().items():
        folder = directory / name
        folder.mkdir(parents=True)
        template = get_serializable(OrderedDict(), SETTINGS, task).template.to_flyte_idl()
        context = FlyteContextManager.current_context()
        inputs = TypeEngine.dict_to_literal_map(context, values, task.python_interface.inputs).to_flyte_idl()
        (folder / "template.pb").write_bytes(template.SerializeToString())
        (folder / "inputs.pb").write_bytes(inputs.SerializeToString())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
