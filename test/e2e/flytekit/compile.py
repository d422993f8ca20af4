"""Compiles the cases with flytekit, as registering and launching them would: `compile.py DIRECTORY`.

Writes, for each case, DIRECTORY/CASE/template.pb (flyteidl.core.TaskTemplate) and inputs.pb (flyteidl.core.LiteralMap),
and DIRECTORY/cases.json: what the test must know of each.
"""

import json
import os
import pathlib
import shutil
import sys
from collections import OrderedDict

from flytekit.core.type_engine import TypeEngine
from flytekit.tools.translator import get_serializable

from cases import SETTINGS, Case, all_cases, storing_below


def main(directory: pathlib.Path) -> None:
    cases = all_cases(directory / "scratch")
    for case in cases:
        compile_case(case, directory / case.name)
    summary = [{"name": case.name, "fails": case.fails} for case in cases]
    (directory / "cases.json").write_text(json.dumps(summary, indent=2))


def compile_case(case: Case, directory: pathlib.Path) -> None:
    directory.mkdir(parents=True)
    os.environ["FLYTE_USE_OLD_DC_FORMAT"] = str(case.old_structs).lower()
    template = get_serializable(OrderedDict(), SETTINGS, case.task).template.to_flyte_idl()
    with storing_below(directory) as context:
        inputs = TypeEngine.dict_to_literal_map(context, case.inputs, case.task.python_interface.inputs).to_flyte_idl()
    if case.lost_files:
        shutil.rmtree(directory / "raw")
    (directory / "template.pb").write_bytes(template.SerializeToString())
    (directory / "inputs.pb").write_bytes(inputs.SerializeToString())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
