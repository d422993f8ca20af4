"""Compiles a system's tasks with flytekit, as registering and launching them would: `compile.py SYSTEM DIRECTORY`.

The tasks are in SYSTEM.py. Writes, for each, DIRECTORY/CASE/template.pb (flyteidl.core.TaskTemplate) and inputs.pb
(flyteidl.core.LiteralMap), and DIRECTORY/cases.json: what the test must know of each.
"""

import importlib
import json
import pathlib
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from flytekit import FlyteContextManager
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.type_engine import TypeEngine
from flytekit.tools.translator import get_serializable

SETTINGS = SerializationSettings(
    project="systems",
    domain="development",
    version="v1",
    image_config=ImageConfig(Image("default", "example.com/flytekit", "v1")),
)


@dataclass
class Case:
    """One task and one run of it. `fails` is a part of the message that it must fail with; empty where it succeeds."""

    name: str
    task: PythonTask
    inputs: dict[str, Any] = field(default_factory=dict)
    fails: str = ""


def main(system: str, directory: pathlib.Path) -> None:
    cases = importlib.import_module(system).cases(Case)
    for case in cases:
        folder = directory / case.name
        folder.mkdir(parents=True)
        template = get_serializable(OrderedDict(), SETTINGS, case.task).template.to_flyte_idl()
        context = FlyteContextManager.current_context()
        interface = case.task.python_interface.inputs
        inputs = TypeEngine.dict_to_literal_map(context, case.inputs, interface).to_flyte_idl()
        (folder / "template.pb").write_bytes(template.SerializeToString())
        (folder / "inputs.pb").write_bytes(inputs.SerializeToString())
    summary = [{"name": case.name, "fails": case.fails} for case in cases]
    (directory / "cases.json").write_text(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
