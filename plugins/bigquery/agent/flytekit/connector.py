"""Runs compiled tasks with flytekit's own BigQuery connector: `connector.py ENDPOINT DIRECTORY METADATA TASK…`.

Prints JSON: for each task what the connector keeps of the job and what it says of it, and under "ours" what it says of
the job whose metadata the file METADATA holds.
"""

import json
import logging
import os
import pathlib
import sys
from typing import Any

os.environ["BIGQUERY_EMULATOR_HOST"] = sys.argv[1]

import google.auth
from flyteidl.core import literals_pb2, tasks_pb2
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate
from flytekitplugins.bigquery.connector import BigQueryConnector, BigQueryMetadata
from google.auth.credentials import AnonymousCredentials

# Its message about a failed job is one that logging cannot format, which ends the call.
logging.getLogger("flytekit").disabled = True
google.auth.default = lambda *args, **kwargs: (AnonymousCredentials(), "warehouse")


def main(directory: pathlib.Path, metadata: pathlib.Path, names: list[str]) -> None:
    connector = BigQueryConnector()
    said: dict[str, Any] = {"ours": look(connector, BigQueryMetadata.decode(metadata.read_bytes()))}
    for name in names:
        template = tasks_pb2.TaskTemplate.FromString((directory / name / "template.pb").read_bytes())
        inputs = literals_pb2.LiteralMap.FromString((directory / name / "inputs.pb").read_bytes())
        meta = connector.create(TaskTemplate.from_flyte_idl(template), LiteralMap.from_flyte_idl(inputs))
        said[name] = {"metadata": meta.encode().decode(), **look(connector, meta)}
    print(json.dumps(said))


def look(connector: BigQueryConnector, meta: BigQueryMetadata) -> dict[str, Any]:
    resource = connector.get(meta)
    outputs = None
    if resource.outputs is not None:
        context = FlyteContextManager.current_context()
        literals = TypeEngine.dict_to_literal_map(context, resource.outputs).literals
        outputs = {name: literal.scalar.structured_dataset.uri for name, literal in literals.items()}
    return {
        "phase": int(resource.phase),
        "outputs": outputs,
        "links": [[link.name, link.uri] for link in resource.log_links],
    }


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:])
