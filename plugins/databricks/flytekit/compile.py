"""Compiles the cases with flytekit, as registering them would: `compile.py DIRECTORY`.

Writes, for each case, DIRECTORY/CASE/template.pb (flyteidl.core.TaskTemplate) and, unless flytekit's own connector
refuses the task, DIRECTORY/CASE/body.json: what that connector would submit.
"""

import json
import pathlib
import sys
from collections import OrderedDict

from flytekit.models.task import TaskTemplate
from flytekit.tools.translator import get_serializable
from flytekitplugins.spark.connector import _get_databricks_job_spec

from cases import SETTINGS, Case, all_cases


def main(directory: pathlib.Path) -> None:
    for case in all_cases():
        compile_case(case, directory / case.name)


def compile_case(case: Case, directory: pathlib.Path) -> None:
    directory.mkdir(parents=True)
    template = get_serializable(OrderedDict(), SETTINGS, case.task).template.to_flyte_idl()
    (directory / "template.pb").write_bytes(template.SerializeToString())
    try:
        body = _get_databricks_job_spec(TaskTemplate.from_flyte_idl(template))
    except (KeyError, ValueError):
        return
    (directory / "body.json").write_text(json.dumps(body, indent=2))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
