"""Compiles the tasks of the tests with flytekit, as registering and launching them would: `compile.py DIRECTORY`.

Writes, for each task, DIRECTORY/TASK/template.pb (flyteidl.core.TaskTemplate) and inputs.pb (flyteidl.core.LiteralMap).
"""

import pathlib
import sys
from collections import OrderedDict
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "flytekit"))

from flytekit import FlyteContextManager
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.type_engine import TypeEngine
from flytekit.tools.translator import get_serializable
from flytekitplugins.openai import BatchEndpointTask, ChatGPTTask
from openai_embeddings import EmbeddingsTask

SETTINGS = SerializationSettings(
    project="analytics",
    domain="production",
    version="v1",
    image_config=ImageConfig(Image("default", "example.com/flytekit", "v1")),
)


def tasks() -> dict[str, tuple[PythonTask, dict[str, Any]]]:
    """The tasks by name, with the inputs to run them on."""
    config = {"model": "gpt-4o", "max_tokens": 64, "temperature": 0.25, "logit_bias": {"50256": -100}}
    batch = {"endpoint": "/v1/embeddings", "metadata": {"team": "search"}}
    return {
        "chat": (ChatGPTTask("chat", config, "org-7"), {"message": "hello"}),
        "batch": (BatchEndpointTask("batch", batch, "org-7"), {"input_file_id": "file-in"}),
        "batch_plain": (BatchEndpointTask("batch_plain", {}), {"input_file_id": "file-in"}),
        "embedding": (EmbeddingsTask("embedding", {"model": "e5-query"}, many=False), {"text": "a red apple"}),
        "embeddings": (
            EmbeddingsTask("embeddings", {"model": "e5-passage"}),
            {"texts": ["The cat sleeps on the sofa.", "Interest rates have risen.", "A kitten naps on the couch."]},
        ),
    }


def main(directory: pathlib.Path) -> None:
    context = FlyteContextManager.current_context()
    for name, (task, inputs) in tasks().items():
        template = get_serializable(OrderedDict(), SETTINGS, task).template
        literals = TypeEngine.dict_to_literal_map(context, inputs, task.python_interface.inputs)
        folder = directory / name
        folder.mkdir(parents=True)
        (folder / "template.pb").write_bytes(template.to_flyte_idl().SerializeToString())
        (folder / "inputs.pb").write_bytes(literals.to_flyte_idl().SerializeToString())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
