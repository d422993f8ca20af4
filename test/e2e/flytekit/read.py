"""Reads the cases' outputs back with flytekit, as a downstream task would: `read.py DIRECTORY OUTPUTS`.

DIRECTORY is what compile.py wrote to. OUTPUTS/CASE.pb (flyteidl.core.LiteralMap) is to be there for every case that is
to succeed. Prints a JSON object: for each of them, by name, how its outputs differ from the expected ones, or "".
"""

import json
import math
import pathlib
import sys
import tempfile
from typing import Any

import pandas as pd
from flyteidl.core import literals_pb2
from flytekit import StructuredDataset
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap

from cases import Case, all_cases, storing_below


def main(directory: pathlib.Path, outputs: pathlib.Path) -> None:
    verdicts = {}
    for case in all_cases(directory / "scratch"):
        if case.outputs is None:
            continue
        try:
            verdicts[case.name] = difference(case.outputs, read(case, outputs / f"{case.name}.pb"))
        except Exception as e:  # whatever flytekit makes of it is this case's verdict
            verdicts[case.name] = f"flytekit cannot read the outputs: {type(e).__name__}: {e}"
    json.dump(verdicts, sys.stdout, indent=2)


def read(case: Case, file: pathlib.Path) -> dict[str, Any]:
    outputs = literals_pb2.LiteralMap.FromString(file.read_bytes())
    types = case.task.python_interface.outputs
    if set(outputs.literals) != set(types):
        raise ValueError(f"declared are {sorted(types)}, written are {sorted(outputs.literals)}")
    with tempfile.TemporaryDirectory() as scratch, storing_below(pathlib.Path(scratch)) as context:
        values = TypeEngine.literal_map_to_kwargs(context, LiteralMap.from_flyte_idl(outputs), types)
        return {
            name: value.open(pd.DataFrame).all() if isinstance(value, StructuredDataset) else value
            for name, value in values.items()
        }


def difference(expected: Any, found: Any) -> str:
    """Says how two values differ, types included; "" when they do not."""
    if isinstance(expected, pd.DataFrame) and isinstance(found, pd.DataFrame):
        try:
            pd.testing.assert_frame_equal(expected, found)
        except AssertionError as e:
            return str(e)
        return ""
    if type(expected) is not type(found):
        return f"expected {expected!r} ({type(expected).__name__}), found {found!r} ({type(found).__name__})"
    if isinstance(expected, dict) and set(expected) == set(found):
        return "; ".join(f"{k}: {d}" for k in expected if (d := difference(expected[k], found[k])))
    if isinstance(expected, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return "; ".join(f"[{i}]: {d}" for i, (e, f) in pairs if (d := difference(e, f)))
    if isinstance(expected, float) and math.isnan(expected) and math.isnan(found):
        return ""
    return "" if expected == found else f"expected {shorten(expected)}, found {shorten(found)}"


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
