"""Runs compiled tasks with flytekit's own connectors: `connector.py SERVER DIRECTORY RESULT`.

Prints JSON: the answer of the chat, the metadata of a batch that it has created, what flytekit's connector says of the
first batch on the server, and under "ours" the Python value that the literal map in the file RESULT has for `result`.
The key is in the environment.
"""

import asyncio
import json
import os
import pathlib
import sys
from typing import Any

os.environ["OPENAI_BASE_URL"] = sys.argv[1]

from flyteidl.core import literals_pb2, tasks_pb2
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate
from flytekitplugins.openai.batch.connector import BatchEndpointConnector, BatchEndpointMetadata
from flytekitplugins.openai.chatgpt.connector import ChatGPTConnector


def python(literals: LiteralMap) -> Any:
    return TypeEngine.to_python_value(FlyteContextManager.current_context(), literals.literals["result"], dict)


def read(folder: pathlib.Path) -> tuple[TaskTemplate, LiteralMap]:
    template = tasks_pb2.TaskTemplate.FromString((folder / "template.pb").read_bytes())
    inputs = literals_pb2.LiteralMap.FromString((folder / "inputs.pb").read_bytes())
    return TaskTemplate.from_flyte_idl(template), LiteralMap.from_flyte_idl(inputs)


async def main(directory: pathlib.Path, result: pathlib.Path) -> None:
    chat = await ChatGPTConnector().do(*read(directory / "chat"))
    connector = BatchEndpointConnector()
    created = await connector.create(*read(directory / "batch"))
    batch = await connector.get(BatchEndpointMetadata(openai_org="org-7", batch_id="batch_000"))
    ours = LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(result.read_bytes()))
    said = {
        "chat": {"phase": int(chat.phase), "outputs": chat.outputs},
        "created": created.batch_id,
        "meta": list(created.encode()),
        "batch": {"phase": int(batch.phase), "result": python(batch.outputs)},
        "ours": python(ours),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])))
