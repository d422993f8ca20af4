"""sdk/testdata/literals.json, made by real flytekit: all SDKs read and write its literals exactly, or refuse them."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest
from flyteidl.core import literals_pb2, types_pb2

from agenthost.agent import Binary, Directory, File, FlyteError, StructuredDataset
from agenthost.agent._literals import LiteralError, to_literal, to_python

TESTDATA = Path(__file__).parents[2] / "testdata"
GOLDEN = json.loads((TESTDATA / "literals.json").read_text(encoding="utf-8"))
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def test_the_installed_flytekit_writes_these_literals(tmp_path: Path) -> None:
    made = tmp_path / "literals.json"
    subprocess.run([sys.executable, TESTDATA / "literals.py", made], check=True, capture_output=True)
    found = json.loads(made.read_text(encoding="utf-8"))
    assert found == GOLDEN, "flytekit writes others: look what has changed, and run sdk/testdata/literals.py"


class NoPythonValue(Exception):
    """Python has no such value."""


def built(form: dict[str, Any]) -> Any:
    ((kind, value),) = form.items()
    if kind == "none":
        return None
    if kind in ("str", "bool"):
        return value
    if kind == "int":
        return int(value)
    if kind in ("float", "number"):
        return float(value)
    if kind == "bytes":
        return bytes.fromhex(value)
    if kind in ("datetime", "duration", "timestamp"):
        return built_time(kind, int(value["seconds"]), value["nanos"])
    if kind == "list":
        return [built(item) for item in value]
    if kind == "map":
        return {key: built(entry) for key, entry in value.items()}
    if kind == "dict":
        return {built(key): built(entry) for key, entry in value}
    if kind == "binary":
        return Binary(bytes.fromhex(value["bytes"]), value["tag"])
    if kind == "extension":
        return msgpack.ExtType(value["code"], bytes.fromhex(value["bytes"]))
    if kind in ("file", "directory"):
        return {"file": File, "directory": Directory}[kind](value["uri"], value["format"])
    if kind in ("dataset", "schema"):
        return StructuredDataset(value["uri"], value.get("format", "parquet"), dict(value["columns"]))
    if kind == "error":
        return FlyteError(value["message"], value["failed_node"])
    raise AssertionError(f"the kind {kind!r} is unknown to this test")


def built_time(kind: str, seconds: int, nanos: int) -> Any:
    if kind == "timestamp":
        return msgpack.Timestamp(seconds, nanos)
    if nanos % 1000:
        raise NoPythonValue
    span = datetime.timedelta(seconds=seconds, microseconds=nanos // 1000)
    if kind == "duration":
        return span
    try:
        return EPOCH + span
    except OverflowError:
        raise NoPythonValue from None


def exact(value: Any) -> Any:
    """What tells values apart that == takes for one: 1, 1.0 and True; 0.0 and -0.0. NaN is itself."""
    if isinstance(value, dict):
        return {(type(key), key): exact(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value), repr(value) if isinstance(value, float) else value)


def refusal(case: dict[str, Any], error: LiteralError) -> None:
    assert case["says"]
    for words in case["says"]:
        assert words.lower() in str(error).lower()


CASES = pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: ascii(case["name"])[:80])


def message(case: dict[str, Any], key: str, kind: type) -> Any:
    return kind.FromString(base64.b64decode(case[key]))  # type: ignore[attr-defined]


@CASES
def test_a_literal_is_read_exactly_or_refused(case: dict[str, Any]) -> None:
    if "literal" not in case:
        assert "value" in case
        return
    literal = message(case, "literal", literals_pb2.Literal)
    if "value" not in case or "python" in case.get("refused_by", ()):
        with pytest.raises(LiteralError) as refused:
            to_python(literal)
        refusal(case, refused.value)
    else:
        assert exact(to_python(literal)) == exact(built(case["value"]))


@CASES
def test_a_value_is_written_as_flytekit_does_or_refused(case: dict[str, Any]) -> None:
    if "value" not in case or case.get("reads_only"):
        assert "literal" in case
        return
    declared = message(case, "type", types_pb2.LiteralType)
    try:
        value = built(case["value"])
    except NoPythonValue:
        assert "python" in case["refused_by"]
        return
    if "literal" not in case:
        with pytest.raises(LiteralError) as refused:
            to_literal(value, declared)
        refusal(case, refused.value)
        return
    written = to_literal(value, declared)
    if case.get("several"):
        assert exact(to_python(written)) == exact(value)
    else:
        assert written == message(case, "literal", literals_pb2.Literal)
