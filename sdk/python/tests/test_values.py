"""Dataclasses, pydantic models and dicts are what flytekit has them be."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any, Optional

import pydantic
import pytest
from flyteidl.core import literals_pb2, types_pb2
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import Literal
from google.protobuf import json_format

from agenthost.agent import StructuredDataset, running
from agenthost.agent._literals import LiteralError, to_literal, to_python
from agenthost.agent._resource import to_message
from agenthost.agent._typed import read

STRUCT = types_pb2.LiteralType(simple=types_pb2.STRUCT)
BENT = 2**53 + 1
"""The first whole number that a float cannot hold."""


class Level(enum.Enum):
    LOW = "low"


@dataclasses.dataclass
class Inner:
    n: int
    ratio: float


@dataclasses.dataclass
class Everything:
    n: int
    ratio: float
    text: str
    flag: bool
    inner: Inner
    numbers: list[int]
    by_name: dict[str, float]
    by_number: dict[int, str]
    when: datetime.datetime
    long: datetime.timedelta
    level: Level
    nothing: Optional[int] = None


EVERYTHING = Everything(
    n=BENT,
    ratio=3.0,
    text="grün",
    flag=True,
    inner=Inner(-(2**63), 1e300),
    numbers=[BENT, 0],
    by_name={"a": 2.0},
    by_number={7: "seven"},
    when=datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
    long=datetime.timedelta(seconds=90.5),
    level=Level.LOW,
)


class Model(pydantic.BaseModel):
    n: int
    inner: dict[str, list[int]]


def flytekit_reads(literal: Any, expected: Any) -> Any:
    read = Literal.from_flyte_idl(literal)
    return TypeEngine.to_python_value(FlyteContextManager.current_context(), read, expected)


def flytekit_writes(value: Any) -> Any:
    context = FlyteContextManager.current_context()
    declared = TypeEngine.to_literal_type(type(value))
    return TypeEngine.to_literal(context, value, type(value), declared).to_flyte_idl()


@pytest.mark.parametrize("value", [EVERYTHING, Model(n=BENT, inner={"a": [BENT]})], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("declared", [None, STRUCT], ids=["natural", "declared"])
def test_flytekit_reads_what_is_written_and_the_other_way_round(value: Any, declared: Any) -> None:
    written = to_literal(value, declared)
    assert written.scalar.binary.tag == "msgpack"
    assert flytekit_reads(written, type(value)) == value
    assert read(to_python(flytekit_writes(value)), type(value), strict=False) == value
    assert read(to_python(written), type(value), strict=False) == value


def test_a_dict_keeps_its_numbers_and_keys() -> None:
    value = {"n": BENT, "whole": 3, "ratio": 3.0, "data": b"\x00\xff", "nested": [{"n": 2**63}, None], 7: "seven"}
    written = to_literal(value, STRUCT)
    for found in (flytekit_reads(written, dict), to_python(written)):
        assert found == value
        assert [type(found[key]) for key in ("whole", "ratio")] == [int, float]


def test_a_generic_literal_is_still_read() -> None:
    """What older plugins and flytekits wrote."""
    generic = literals_pb2.Literal()
    generic.scalar.generic.update({"n": 3, "ratio": 0.5})
    assert read(to_python(generic), Inner, strict=False) == Inner(3, 0.5)


@pytest.mark.parametrize(
    ("value", "why"),
    [({"n": 2**64}, "Integer value out of range"), ({"n": object()}, "Unable to serialize unknown type")],
)
def test_what_msgpack_has_no_form_for_is_refused(value: Any, why: str) -> None:
    with pytest.raises(LiteralError, match=f"a dict cannot be written as msgpack: {why}"):
        to_literal(value, STRUCT)


def test_a_whole_number_is_no_float_that_it_does_not_equal() -> None:
    for wanted, value in (
        (float, BENT),
        (Optional[float], 10**400),
        (list[float], [1, BENT]),
        (Inner, {"n": BENT, "ratio": BENT}),
        (dict[str, Inner], {"a": {"n": 1, "ratio": BENT}}),
    ):
        for strict in (True, False):
            with pytest.raises(ValueError):
                read(value, wanted, strict=strict and not isinstance(value, dict))
    assert read({"n": BENT, "ratio": 2.0**53}, Inner, strict=False) == Inner(BENT, 2.0**53)
    assert read([3, 2**53], list[float], strict=True) == [3.0, 2.0**53]


def _duration(seconds: int, nanos: int = 0) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.primitive.duration.seconds = seconds
    literal.scalar.primitive.duration.nanos = nanos
    return literal


def _datetime(seconds: int, nanos: int = 0) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.primitive.datetime.seconds = seconds
    literal.scalar.primitive.datetime.nanos = nanos
    return literal


@pytest.mark.parametrize(
    "value",
    [
        datetime.timedelta(days=182625),
        datetime.timedelta(days=-182625, microseconds=1),
        datetime.timedelta(microseconds=-1),
        datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=datetime.timezone.utc),
    ],
)
def test_times_come_back_equal(value: Any) -> None:
    assert to_python(to_literal(value)) == value


@pytest.mark.parametrize(
    "literal",
    [_duration(0, 1), _duration(-1, -1), _datetime(0, 1), _datetime(253402300800), _datetime(-62135596801)],
)
def test_times_that_python_cannot_hold_are_refused(literal: literals_pb2.Literal) -> None:
    with pytest.raises(LiteralError):
        to_python(literal)


@pytest.mark.parametrize(
    ("value", "simple"),
    [
        (BENT, types_pb2.FLOAT),
        (10**400, types_pb2.FLOAT),
        (datetime.timedelta(days=4_000_000), types_pb2.DURATION),
        (datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))), types_pb2.DATETIME),
        ({"long": datetime.timedelta(days=182625, microseconds=1)}, types_pb2.STRUCT),
    ],
)
def test_what_a_literal_cannot_hold_is_refused(value: Any, simple: int) -> None:
    with pytest.raises(LiteralError):
        to_literal(value, types_pb2.LiteralType(simple=simple))


def test_keys_that_are_no_text_are_kept_or_refused() -> None:
    value = {1: "a", "1": "b"}
    assert to_python(to_literal(value)) == value
    declared = types_pb2.LiteralType(map_value_type=types_pb2.LiteralType(simple=types_pb2.STRING))
    with pytest.raises(LiteralError, match="the key 1 is int, not str"):
        to_literal(value, declared)


def test_a_date_is_the_datetime_at_which_it_begins() -> None:
    day = datetime.date(2024, 2, 29)
    declared = types_pb2.LiteralType(simple=types_pb2.DATETIME)
    for written in (to_literal(day), to_literal(day, declared)):
        assert flytekit_reads(written, datetime.date) == day


def test_a_member_of_an_enum_is_one_in_a_list_and_in_a_union() -> None:
    text = types_pb2.LiteralType(simple=types_pb2.STRING)
    level = types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=["low"]))
    union = types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[text, level]))
    assert to_python(to_literal([Level.LOW], types_pb2.LiteralType(collection_type=level))) == ["low"]
    assert to_literal(Level.LOW, union).scalar.union.type == level
    assert to_literal("low", union).scalar.union.type == text


def test_a_column_that_is_not_simple_keeps_its_type() -> None:
    numbers = types_pb2.LiteralType(collection_type=types_pb2.LiteralType(simple=types_pb2.INTEGER))
    table = StructuredDataset("s3://b/t", "parquet", {"n": "INTEGER", "numbers": numbers})
    assert to_python(to_literal(table)) == table
    schema = types_pb2.LiteralType(schema=types_pb2.SchemaType())
    with pytest.raises(LiteralError, match=r"a schema has no columns of list\[integer\], as numbers is"):
        to_literal(table, schema)


def test_what_cannot_be_sent_is_refused() -> None:
    for value in ("\ud800", ["\ud800"], {"a": "\ud800"}):
        with pytest.raises(LiteralError):
            to_literal(value)
    with pytest.raises(LiteralError):
        to_literal({"a": "\ud800"}, STRUCT)


def test_the_custom_info_keeps_every_digit() -> None:
    message = to_message(
        dataclasses.replace(running(), info={"rows": 3, "id": BENT, "all": [{"id": -BENT}, True, 0.5]})
    )
    assert json_format.MessageToDict(message.custom_info) == {
        "rows": 3,
        "id": str(BENT),
        "all": [{"id": str(-BENT)}, True, 0.5],
    }
