# ruff: noqa: UP007  (unions as tasks have them)
"""Makes literals.json: Flyte's literals as real flytekit writes them, which the tests of all SDKs read and write.

    $(scripts/venv flytekit)/python sdk/testdata/literals.py [elsewhere.json]

A case of it has

  name         what is shown
  type         the LiteralType, serialized and in base64
  literal      the Literal, likewise; without one, no literal of the type holds the value, and writing it is refused
  value        what the literal holds, as {kind: …}; without one, reading the literal is refused
  several      other literals say the same: what is written must read as the value, and need not be this literal
  reads_only   the type is not that of the literal, so nothing is written
  refused_by   SDKs without a type for the value: they refuse to read it, and have nothing to write
  says         what a refusal says, whatever the case of its letters

The kinds are the functions of this file that end in _form. The literals are flytekit's own, but for those of `wire`,
which are what other programs write. flytekit reads each of its own again, and the value that it finds is the value of
the case.
"""

import base64
import contextlib
import dataclasses
import datetime
import enum
import json
import os
import sys
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import flytekit
import msgpack
import pydantic
from flyteidl.core import literals_pb2, types_pb2
from flytekit import FlyteContextManager, StructuredDataset, kwtypes
from flytekit.core.type_engine import TypeEngine
from flytekit.models import literals
from flytekit.models.types import LiteralType
from flytekit.types.directory import FlyteDirectory
from flytekit.types.error import FlyteError
from flytekit.types.file import FlyteFile
from flytekit.types.schema import FlyteSchema, SchemaOpenMode
from mashumaro.mixins.json import DataClassJSONMixin

FILE = Path(__file__).with_suffix(".json")
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
PLACE = "s3://bucket/made"
"""Stands for the random place where flytekit puts what it uploads."""


class Colour(enum.Enum):
    RED = "red"
    LIGHT_GREEN = "light green"


@dataclasses.dataclass
class Inner:
    n: int
    ratio: float


@dataclasses.dataclass
class Outer:
    n: int
    whole_float: float
    text: str
    flag: bool
    data: bytes
    inner: Inner
    numbers: list[int]
    by_name: dict[str, float]
    by_number: dict[int, str]
    untyped: dict
    when: datetime.datetime
    day: datetime.date
    long: datetime.timedelta
    exact: Decimal
    id: uuid.UUID
    colour: Colour
    either: Union[int, str]
    nothing: Optional[int]


@dataclasses.dataclass
class Mixed(DataClassJSONMixin):
    n: int
    ratio: float


@dataclasses.dataclass
class Old:
    n: int
    ratio: float
    text: str
    numbers: list[int]
    nothing: Optional[int]


class Model(pydantic.BaseModel):
    n: int
    inner: dict[str, list[int]]


class Opaque:
    """What only pickle has a form for."""

    __module__ = "literals"  # also where a test runs this file


OUTER = Outer(
    n=2**53 + 1,
    whole_float=3.0,
    text="grün",
    flag=True,
    data=b"\x00\xff",
    inner=Inner(-(2**63), 5e-324),
    numbers=[2**63 - 1, 0],
    by_name={"b": float("inf"), "a": -0.0},
    by_number={7: "seven", -1: "minus one"},
    untyped={"n": 1, "f": 1.0, "none": None, "b": b"\x80"},
    when=datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    day=datetime.date(2026, 1, 2),
    long=datetime.timedelta(seconds=90.5),
    exact=Decimal("0.10"),
    id=uuid.UUID(int=1),
    colour=Colour.LIGHT_GREEN,
    either="1",
    nothing=None,
)


def int_form(value: int) -> Any:
    return {"int": str(value)}


def float_form(value: float) -> Any:
    return {"float": repr(value)}


def str_form(value: str) -> Any:
    return {"str": value}


def bool_form(value: bool) -> Any:
    return {"bool": value}


def none_form() -> Any:
    return {"none": True}


def datetime_form(seconds: int, nanos: int = 0) -> Any:
    """Nanoseconds count forwards, also before 1970."""
    return {"datetime": {"seconds": str(seconds), "nanos": nanos}}


def duration_form(seconds: int, nanos: int = 0) -> Any:
    """Nanoseconds have the sign of the seconds."""
    return {"duration": {"seconds": str(seconds), "nanos": nanos}}


def bytes_form(value: bytes) -> Any:
    return {"bytes": value.hex()}


def binary_form(value: bytes, tag: str) -> Any:
    return {"binary": {"bytes": value.hex(), "tag": tag}}


def list_form(items: list[Any]) -> Any:
    return {"list": items}


def map_form(entries: dict[str, Any]) -> Any:
    """A dict[str, T], which is a literal of its own for each entry."""
    return {"map": entries}


def dict_form(entries: list[tuple[Any, Any]]) -> Any:
    """What is in one literal as a whole, a dict without types or a dataclass: its keys are of any type."""
    return {"dict": [list(entry) for entry in entries]}


def number_form(value: float) -> Any:
    """A number of a protobuf Struct, which knows floats only: an int or a float, whichever the language takes."""
    return {"number": repr(value)}


def timestamp_form(seconds: int, nanos: int) -> Any:
    """msgpack's own timestamp, within a dict."""
    return {"timestamp": {"seconds": str(seconds), "nanos": nanos}}


def extension_form(code: int, data: bytes) -> Any:
    """Another extension of msgpack, within a dict."""
    return {"extension": {"code": code, "bytes": data.hex()}}


def file_form(uri: str, format: str) -> Any:
    return {"file": {"uri": uri, "format": format}}


def directory_form(uri: str, format: str) -> Any:
    return {"directory": {"uri": uri, "format": format}}


def dataset_form(uri: str, format: str, columns: list[tuple[str, str]]) -> Any:
    return {"dataset": {"uri": uri, "format": format, "columns": [list(column) for column in columns]}}


def schema_form(uri: str, columns: list[tuple[str, str]]) -> Any:
    return {"schema": {"uri": uri, "columns": [list(column) for column in columns]}}


def error_form(message: str, failed_node: str) -> Any:
    return {"error": {"message": message, "failed_node": failed_node}}


def form_of(value: Any, literal: literals_pb2.Literal) -> Any:
    """A Python value as a case has it. The literal says only which of the forms, and where files are."""
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return list_form([form_of(v, each) for v, each in zip(value, literal.collection.literals, strict=True)])
    if kind == "map":
        return map_form({k: form_of(v, literal.map.literals[k]) for k, v in value.items()})
    scalar = literal.scalar
    kind = scalar.WhichOneof("value")
    if kind == "union":
        return form_of(value, scalar.union.value)
    if kind in ("binary", "generic"):
        return packed_form(value, number_form if kind == "generic" else None)
    if kind == "blob":
        form = scalar.blob.metadata.type
        several = form.dimensionality == types_pb2.BlobType.MULTIPART
        return (directory_form if several else file_form)(scalar.blob.uri, form.format)
    if kind == "structured_dataset":
        table = scalar.structured_dataset.metadata.structured_dataset_type
        columns = [(column.name, simple_name(column.literal_type)) for column in table.columns]
        return dataset_form(scalar.structured_dataset.uri, table.format, columns)
    if kind == "schema":
        name = types_pb2.SchemaType.SchemaColumn.SchemaColumnType.Name
        return schema_form(
            scalar.schema.uri, [(column.name, name(column.type)) for column in scalar.schema.type.columns]
        )
    if kind == "error":
        return error_form(value.message, value.failed_node_id)
    return plain_form(value)


def simple_name(declared: types_pb2.LiteralType) -> str:
    return str(types_pb2.SimpleType.Name(declared.simple))


def plain_form(value: Any) -> Any:
    if value is None:
        return none_form()
    if isinstance(value, enum.Enum):
        return plain_form(value.value)
    if isinstance(value, bool):
        return bool_form(value)
    if isinstance(value, int):
        return int_form(value)
    if isinstance(value, float):
        return float_form(value)
    if isinstance(value, str):
        return str_form(value)
    if isinstance(value, datetime.timedelta):
        seconds, rest = divmod(abs(value) // datetime.timedelta(microseconds=1), 10**6)
        sign = -1 if value < datetime.timedelta() else 1
        return duration_form(sign * seconds, sign * rest * 1000)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time.min)
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
    return datetime_form(since.days * 86400 + since.seconds, since.microseconds * 1000)


def packed_form(value: Any, number: Optional[Callable[[float], Any]]) -> Any:
    """What mashumaro makes of a value: number is the form of numbers, where it is not that of ints and floats."""
    if isinstance(value, (datetime.datetime, datetime.date)):
        return str_form(value.isoformat())
    if isinstance(value, datetime.timedelta):
        return packed_form(value.total_seconds(), number)
    if isinstance(value, enum.Enum):
        return packed_form(value.value, number)
    if isinstance(value, (Decimal, uuid.UUID)):
        return str_form(str(value))
    if isinstance(value, bytes):
        return bytes_form(value)
    if isinstance(value, msgpack.Timestamp):
        return timestamp_form(value.seconds, value.nanoseconds)
    if isinstance(value, msgpack.ExtType):
        return extension_form(value.code, value.data)
    if isinstance(value, pydantic.BaseModel):
        return packed_form(value.model_dump(), number)
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return packed_form({field.name: getattr(value, field.name) for field in fields}, number)
    if isinstance(value, dict):
        return dict_form([(packed_form(k, None), packed_form(v, number)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return list_form([packed_form(item, number) for item in value])
    if number is not None and isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(float(value))
    return plain_form(value)


def encoded(message: Any) -> str:
    return base64.b64encode(message.SerializeToString(deterministic=True)).decode()


def declared(python_type: Any) -> LiteralType:
    return TypeEngine.to_literal_type(python_type)


def written(value: Any, python_type: Any) -> literals_pb2.Literal:
    context = FlyteContextManager.current_context()
    literal = TypeEngine.to_literal(context, value, python_type, declared(python_type)).to_flyte_idl()
    for blob in blobs(literal):
        if not blob.uri.startswith("s3://"):
            blob.uri = PLACE
    return literal


def blobs(literal: literals_pb2.Literal) -> Iterator[literals_pb2.Blob]:
    for each in (*literal.collection.literals, *literal.map.literals.values()):
        yield from blobs(each)
    if literal.scalar.HasField("union"):
        yield from blobs(literal.scalar.union.value)
    if literal.scalar.HasField("blob"):
        yield literal.scalar.blob


def read_again(literal: literals_pb2.Literal, python_type: Any) -> Any:
    model = literals.Literal.from_flyte_idl(literal)
    return TypeEngine.to_python_value(FlyteContextManager.current_context(), model, python_type)


def ordered(form: Any) -> Any:
    """With a dict's entries in one order: a Struct has them in another."""
    ((kind, inner),) = form.items()
    if kind == "list":
        return {kind: [ordered(item) for item in inner]}
    if kind == "dict":
        return {kind: sorted(([key, ordered(entry)] for key, entry in inner), key=json.dumps)}
    return form


def holds_packed(literal: literals_pb2.Literal) -> bool:
    """Whether something in it is msgpack or a Struct, which have several encodings."""
    inner = (*literal.collection.literals, *literal.map.literals.values())
    if literal.scalar.HasField("union"):
        inner = (literal.scalar.union.value,)
    return literal.scalar.WhichOneof("value") in ("binary", "generic") or any(map(holds_packed, inner))


def case(name: str, python_type: Any, value: Any, *, reads: bool = True, **more: Any) -> dict[str, Any]:
    """What flytekit writes, and whether it reads it as what it was: it does not read files, which are nowhere."""
    literal = written(value, python_type)
    made: dict[str, Any] = {"name": name, "type": encoded(declared(python_type).to_flyte_idl())}
    made |= {"literal": encoded(literal), "value": form_of(value, literal)}
    if holds_packed(literal):
        made["several"] = True
    if reads:
        found = form_of(read_again(literal, python_type), literal)
        if ordered(found) != ordered(made["value"]):
            raise AssertionError(f"{name}: flytekit wrote {made['value']} and reads {found}")
    return made | more


def wire(name: str, python_type: Any, literal: literals_pb2.Literal, value: Any = None, **more: Any) -> dict[str, Any]:
    """What other programs write, and flytekit does not."""
    made = {"name": name, "type": encoded(declared(python_type).to_flyte_idl()), "literal": encoded(literal)}
    if value is not None:
        made["value"] = value
    return made | more


def too_much(name: str, python_type: Any, value: Any, *says: str, **more: Any) -> dict[str, Any]:
    """A value that no literal of the type holds."""
    made = {"name": name, "type": encoded(declared(python_type).to_flyte_idl()), "value": value}
    return made | {"says": list(says)} | more


@contextlib.contextmanager
def old_format() -> Iterator[None]:
    """Of flytekit before 1.14: a protobuf Struct in the place of msgpack."""
    os.environ["FLYTE_USE_OLD_DC_FORMAT"] = "true"
    try:
        yield
    finally:
        del os.environ["FLYTE_USE_OLD_DC_FORMAT"]


def scalars() -> Iterator[dict[str, Any]]:
    for n in (0, -1, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)):
        yield case(f"int {n}", int, n)
    smallest, largest = 5e-324, sys.float_info.max
    floats = (
        0.0,
        -0.0,
        1.0,
        0.1,
        3.0,
        2.0**53,
        1e16,
        2.0**63,
        1e300,
        largest,
        -largest,
        smallest,
        -smallest,
        2.225e-308,
    )
    for x in (*floats, float("inf"), float("-inf"), float("nan")):
        yield case(f"float {x!r}", float, x)
    texts = (
        "",
        " ",
        "ä",
        "\u0000",
        "a\r\n\t",
        "😀",
        "\ufeff\u202e",
        "e\u0301",
        "null",
        "9007199254740993",
        "NaN",
        "2024-01-01",
        "<&>",
    )
    for text in texts:
        yield case(f"str {text!r}", str, text)
    yield case("str of 1,000 characters", str, "ü" * 1000)
    yield case("bool True", bool, True)
    yield case("bool False", bool, False)
    yield case("None", type(None), None)
    yield case("enum", Colour, Colour.LIGHT_GREEN)
    yield case("Literal", Literal["a", "b"], "b")
    for text in (
        "0001-01-01T00:00:00+00:00",
        "1582-10-04T00:00:00+00:00",
        "1969-12-31T23:59:59.999999+00:00",
        "1970-01-01T00:00:00+00:00",
        "2016-12-31T23:59:59.999999+00:00",  # a leap second's eve
        "2024-02-29T12:00:00.000001+00:00",
        "2038-01-19T03:14:08+00:00",
        "2262-04-11T23:47:16.854776+00:00",  # past the end of int64's nanoseconds
        "9999-12-31T23:59:59.999999+00:00",
    ):
        yield case(f"datetime {text}", datetime.datetime, datetime.datetime.fromisoformat(text))
    east = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    yield case("datetime of another zone", datetime.datetime, east)
    naive = datetime.datetime(2024, 1, 1, 12)
    yield case("datetime without a zone", datetime.datetime, naive)
    for day in (datetime.date(1, 1, 1), datetime.date(2024, 2, 29), datetime.date(9999, 12, 31)):
        yield case(f"date {day}", datetime.date, day)


def durations() -> Iterator[dict[str, Any]]:
    second, micro = datetime.timedelta(seconds=1), datetime.timedelta(microseconds=1)
    for span in (
        0 * micro,
        micro,
        -micro,
        second,
        -second,
        -second - micro,
        90.5 * second,
        datetime.timedelta(days=-1, seconds=1),
    ):
        yield case(f"timedelta {span}", datetime.timedelta, span)
    edge = (2**63 - 1) // 1000 * micro
    yield case(f"timedelta {edge}, the longest of int64's nanoseconds", datetime.timedelta, edge)
    too_long = {"refused_by": ["go"], "says": ["duration"]}
    for span in (
        edge + micro,
        -edge - 2 * micro,
        datetime.timedelta(days=182625),
        datetime.timedelta(days=-182625, microseconds=1),
    ):
        yield case(f"timedelta {span}", datetime.timedelta, span, **too_long)
    longest = datetime.timedelta(seconds=315_576_000_000)
    yield case("timedelta of 10,000 years, the longest", datetime.timedelta, longest, **too_long)
    yield case("timedelta of -10,000 years", datetime.timedelta, -longest, **too_long)


def containers() -> Iterator[dict[str, Any]]:
    yield case("list[int]", list[int], [2**53 + 1, -(2**63), 0])
    yield case("list[float]", list[float], [1.0, -0.0, float("nan"), float("inf")])
    yield case("list[int] that is empty", list[int], [])
    yield case("list[str]", list[str], ["", "a", "\u0000"])
    yield case("list[bool]", list[bool], [True, False])
    yield case("list[Colour]", list[Colour], [Colour.RED])
    yield case("list[datetime]", list[datetime.datetime], [datetime.datetime(1, 1, 1, tzinfo=UTC)])
    yield case("list[timedelta]", list[datetime.timedelta], [datetime.timedelta(microseconds=-1)])
    yield case("list[list[int]]", list[list[int]], [[1], [], [2**53 + 1, 3]])
    yield case("list[list[list[str]]] of empty ones", list[list[list[str]]], [[], [[]]])
    yield case("list[Optional[int]]", list[Optional[int]], [1, None])
    yield case("list[Union[int, float]]", list[Union[int, float]], [1, 2.5, 3.0])
    yield case("list[dict[str, int]]", list[dict[str, int]], [{"a": 1}, {}])
    yield case("list[dict]", list[dict], [{"a": 1}, {}])
    yield case("list[Inner]", list[Inner], [Inner(1, 2.0), Inner(2, 0.5)])
    yield case("dict[str, int]", dict[str, int], {"b": 2**53 + 1, "a": 1})
    yield case("dict[str, float]", dict[str, float], {"a": 3.0, "b": float("-inf")})
    yield case("dict[str, int] that is empty", dict[str, int], {})
    yield case(
        "dict[str, int] with keys of all kinds", dict[str, int], {"": 1, "a.b": 2, "a": 3, "A": 4, "1": 5, "ä\u0000": 6}
    )
    yield case("dict[str, list[Optional[str]]]", dict[str, list[Optional[str]]], {"a": [None, "x"], "b": []})
    yield case("dict[str, dict[str, datetime]]", dict[str, dict[str, datetime.datetime]], {"a": {"b": EPOCH}})
    yield case("dict[str, Inner]", dict[str, Inner], {"a": Inner(1, 2.0)})


def unions() -> Iterator[dict[str, Any]]:
    yield case("Optional[int] of 1", Optional[int], 1)
    yield case("Optional[int] of None", Optional[int], None)
    yield case("Optional[list[int]]", Optional[list[int]], [1, 2])
    yield case("Optional[Colour]", Optional[Colour], Colour.RED)
    yield case("Optional[Inner]", Optional[Inner], Inner(1, 2.0))
    yield case("Union[float, int] of 3", Union[float, int], 3)
    yield case("Union[float, int] of 3.0", Union[float, int], 3.0)
    yield case("Union[int, str, bool, None] of True", Union[int, str, bool, None], True)
    yield case("Union[int, str] of '1'", Union[int, str], "1")
    yield case("Union[Colour, str] of 'red'", Union[Colour, str], "red")
    yield case(
        "Union[datetime, timedelta]", Union[datetime.datetime, datetime.timedelta], datetime.timedelta(seconds=1)
    )
    yield case("Union[list[int], list[str]]", Union[list[int], list[str]], ["a"])
    yield case("Union[dict[str, int], int]", Union[dict[str, int], int], {"a": 1})
    yield case("Union[int, FlyteFile]", Union[int, FlyteFile], FlyteFile("s3://bucket/f"), reads=False)


def packed() -> Iterator[dict[str, Any]]:
    everything = {
        "int": 2**53 + 1,
        "uint64": 2**64 - 1,
        "int64": -(2**63),
        "float": 3.0,
        "-0.0": -0.0,
        "nan": float("nan"),
        "inf": float("inf"),
        "subnormal": 5e-324,
        "text": "grün\u0000",
        "none": None,
        "true": True,
        "list": [1, 1.0, "1", None, [], [[]], {}],
        "nested": {"n": {"n": 2**63}},
        "": "an empty key",
    }
    yield case("dict of everything that JSON has, and more", dict, everything)
    yield case("dict that is empty", dict, {})
    yield case("dict with bytes", dict, {"b": b"\x00\xff", "empty": b"", "list": [b"a"], "text": "AP8="})
    for name, stamp in (
        ("", msgpack.Timestamp(1_700_000_000, 0)),
        (" with nanoseconds", msgpack.Timestamp(1_700_000_000, 123_456_789)),
        (" before 1970", msgpack.Timestamp(-1, 999_999_999)),
        (" of year 9999", msgpack.Timestamp(253_402_300_799, 999_999_999)),
    ):
        yield case(f"dict with a timestamp{name}", dict, {"t": stamp, "list": [stamp], "text": "2023-11-14T22:13:20Z"})
    beyond = {"t": msgpack.Timestamp(2**62, 0)}
    yield case("dict with a timestamp of no calendar", dict, beyond, refused_by=["go", "java"], says=["timestamp"])
    extension = {"x": msgpack.ExtType(5, b"\x01")}
    yield case("dict with an extension", dict, extension, refused_by=["go", "java"], says=["extension"])
    yield case("dict with keys that are ints", dict, {1: "a", -1: "b", 2**64 - 1: "c", "1": "d"})
    yield case(
        "dict with keys that are floats, bools and None",
        dict,
        {0.5: "a", True: "b", None: "c", "True": "d", "0.5": "e"},
    )
    yield case("dict with keys that are bytes", dict, {b"k": 1, "k": 2}, refused_by=["go", "java"], says=["key"])
    yield case("dict[int, str]", dict[int, str], {1: "a", 2: "b"})
    yield case("dict[int, dict[int, float]]", dict[int, dict[int, float]], {1: {2: 3.0}})
    yield case("dict, nested 25 deep", dict, deep(25))
    yield case("dataclass", Outer, OUTER)
    yield case("dataclass with DataClassJSONMixin", Mixed, Mixed(2**53 + 1, 3.0))
    yield case("pydantic model", Model, Model(n=2**53 + 1, inner={"a": [1]}))
    for name, value in (("int", 2**53 + 1), ("float", 3.0), ("str", "a"), ("None", None), ("list", [1, 2.0])):
        # Flyte sends the attribute of a dataclass so.
        binary = literals_pb2.Binary(value=msgpack.packb(value), tag="msgpack")
        literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=binary))
        yield wire(f"attribute of a dataclass, {name}", dict, literal, packed_form(value, None), reads_only=True)
    with old_format():
        old = {"n": 3, "bent by flytekit": 2**53, "ratio": 0.5, "-0.0": -0.0, "list": [1, "a", None, {}], "text": "ä"}
        yield case("dict, before flytekit 1.14", dict, old)
        yield case("dict that is empty, before flytekit 1.14", dict, {})
        yield case("dataclass, before flytekit 1.14", Old, Old(3, 3.0, "a", [1, 2], None))
        yield case("list[dict], before flytekit 1.14", list[dict], [{"a": 1.5}])
    pickled = written({"o": Opaque()}, Annotated[dict, OrderedDict(allow_pickle=True)])
    pickled.scalar.generic.update({"pickle_file": PLACE})
    yield wire("dict that flytekit pickles", dict, pickled, says=["pickle", PLACE])


def deep(depth: int) -> dict[str, Any]:
    return {"d": deep(depth - 1)} if depth else {}


def stored() -> Iterator[dict[str, Any]]:
    yield case("FlyteFile", FlyteFile, FlyteFile("s3://bucket/f"), reads=False)
    yield case("FlyteFile[csv]", FlyteFile["csv"], FlyteFile("s3://bucket/ä b%20.csv"), reads=False)
    yield case("list[FlyteFile]", list[FlyteFile], [FlyteFile("s3://bucket/f")], reads=False)
    yield case(
        "dict[str, FlyteDirectory]", dict[str, FlyteDirectory], {"a": FlyteDirectory("s3://bucket/d")}, reads=False
    )
    yield case("FlyteDirectory", FlyteDirectory, FlyteDirectory("s3://bucket/d/"), reads=False)
    yield case("FlyteDirectory[jsonl]", FlyteDirectory["jsonl"], FlyteDirectory("s3://bucket/d"), reads=False)
    yield case("bytes, which flytekit pickles", bytes, b"\x00", reads=False)
    yield case("an object, which flytekit pickles", Opaque, Opaque(), reads=False)
    yield case("StructuredDataset", StructuredDataset, StructuredDataset(uri="s3://bucket/t"), reads=False)
    csv = StructuredDataset(uri="s3://bucket/t", file_format="csv")
    yield case("StructuredDataset of csv", StructuredDataset, csv, reads=False)
    columns = kwtypes(n=int, x=float, s=str, b=bool, t=datetime.datetime, d=datetime.timedelta)
    typed = Annotated[StructuredDataset, columns, "parquet"]
    yield case("StructuredDataset with columns", typed, StructuredDataset(uri="s3://bucket/t"), reads=False)
    schema = FlyteSchema[kwtypes(n=int, x=float, s=str, b=bool, t=datetime.datetime, d=datetime.timedelta)]
    value = schema(local_path="/nowhere", remote_path="s3://bucket/s", supported_mode=SchemaOpenMode.READ)
    yield case("FlyteSchema", schema, value, reads=False)
    yield case(
        "FlyteError", FlyteError, FlyteError("it broke: ä\n", "n0"), refused_by=["rust"], says=["error", "it broke"]
    )
    model = literals.LiteralOffloadedMetadata("s3://bucket/offloaded", 12_000_000, declared(list[int]))
    offloaded = literals.Literal(offloaded_metadata=model).to_flyte_idl()
    yield wire("offloaded literal", list[int], offloaded, says=["s3://bucket/offloaded"])


def others() -> Iterator[dict[str, Any]]:
    """What agents and Flyte itself may write."""

    def primitive(**fields: Any) -> literals_pb2.Literal:
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(**fields)))

    def binary(value: bytes, tag: str) -> literals_pb2.Literal:
        message = literals_pb2.Binary(value=value, tag=tag)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=message))

    def datetimes(seconds: int, nanos: int) -> literals_pb2.Literal:
        return primitive(datetime={"seconds": seconds, "nanos": nanos})

    def spans(seconds: int, nanos: int) -> literals_pb2.Literal:
        return primitive(duration={"seconds": seconds, "nanos": nanos})

    of_micros = {"refused_by": ["python"], "says": ["finer than a microsecond"]}
    for seconds, nanos in (
        (1_700_000_000, 123_456_789),
        (-62_135_596_800, 1),
        (253_402_300_799, 999_999_999),
        (-1, 999_999_999),
    ):
        form = datetime_form(seconds, nanos)
        yield wire(
            f"datetime with nanoseconds, {seconds} s", datetime.datetime, datetimes(seconds, nanos), form, **of_micros
        )
    for seconds, nanos in ((0, 1), (0, -1), (-1, -1), (1, 999_999_999)):
        form = duration_form(seconds, nanos)
        yield wire(
            f"timedelta with nanoseconds, {seconds} s {nanos} ns",
            datetime.timedelta,
            spans(seconds, nanos),
            form,
            **of_micros,
        )
    for seconds, nanos in (
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (0, -1),
        (0, 10**9),
        (2**63 - 1, 0),
        (-(2**63), 0),
    ):
        yield wire(
            f"no datetime, {seconds} s {nanos} ns", datetime.datetime, datetimes(seconds, nanos), says=["datetime"]
        )
    for seconds, nanos in ((315_576_000_001, 0), (-315_576_000_001, 0), (1, -1), (-1, 1), (0, 10**9), (2**63 - 1, 0)):
        yield wire(
            f"no timedelta, {seconds} s {nanos} ns", datetime.timedelta, spans(seconds, nanos), says=["duration"]
        )
    bytes_type = LiteralType(simple=types_pb2.BINARY)
    of_bytes = {"type": encoded(bytes_type.to_flyte_idl())}
    yield wire("bytes", int, binary(b"\x00\xff", ""), bytes_form(b"\x00\xff")) | of_bytes
    yield wire("bytes of none", int, binary(b"", ""), bytes_form(b"")) | of_bytes
    yield wire("bytes with a tag", int, binary(b"\x01", "proto"), binary_form(b"\x01", "proto")) | of_bytes
    single = {"dict": [[str_form("f"), float_form(1.5)]]}
    yield wire(
        "dict with a float of 32 bits", dict, binary(bytes.fromhex("81a166ca3fc00000"), "msgpack"), single, several=True
    )
    for name, packed in (
        ("cut short", "81a161"),
        ("followed by more", "0101"),
        ("empty", ""),
        ("with a text that is no UTF-8", "81a161a2c328"),
        ("with a code that there is not", "c1"),
        ("with a dict as a key", "81810101"),
        ("with a timestamp of 5 bytes", "81a161c705ff0000000000"),
        ("with 1,073,741,823 nanoseconds", "81a161d7ff" + (1_073_741_823 << 34).to_bytes(8, "big").hex()),
        ("nested 2,000 deep", "91" * 2000),
    ):
        yield wire(f"msgpack {name}", dict, binary(bytes.fromhex(packed), "msgpack"), says=["msgpack"])
    generic = literals_pb2.Literal()
    generic.scalar.generic.update({"nan": float("nan"), "inf": float("-inf"), "big": 1e300, "2**53": 2.0**53})
    numbers = [("nan", float("nan")), ("inf", float("-inf")), ("big", 1e300), ("2**53", 2.0**53)]
    entries = [(str_form(k), number_form(v)) for k, v in numbers]
    yield wire("Struct of numbers that JSON lacks", dict, generic, dict_form(entries), several=True)
    nothing = literals_pb2.Literal()
    yield wire("a literal of nothing", int, nothing, says=["literal"])
    nothing = literals_pb2.Literal(scalar=literals_pb2.Scalar())
    yield wire("a scalar of nothing", int, nothing, says=["scalar"])
    nothing = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive()))
    yield wire("a primitive of nothing", int, nothing, says=["primitive"])
    nothing = literals_pb2.Literal(scalar=literals_pb2.Scalar(union=literals_pb2.Union()))
    yield wire("a union of nothing", Optional[int], nothing, says=["literal"])
    nothing = literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=[literals_pb2.Literal()]))
    yield wire("a list of nothing", list[int], nothing, says=["[0]", "literal"])


def refusals() -> Iterator[dict[str, Any]]:
    yield too_much("2**63 as an int", int, int_form(2**63), "integer")
    yield too_much("1.5 as an int", int, float_form(1.5), "integer")
    yield too_much("NaN as an int", int, float_form(float("nan")), "integer")
    yield too_much("inf as an int", int, float_form(float("inf")), "integer")
    yield too_much("2.0**63 as an int", int, float_form(2.0**63), "integer")
    yield too_much("'1' as an int", int, str_form("1"), "integer")
    yield too_much("True as an int", int, bool_form(True), "integer")
    yield too_much("None as an int", int, none_form(), "integer")
    yield too_much("2**53+1 as a float", float, int_form(2**53 + 1), "float")
    yield too_much("2**63-1 as a float", float, int_form(2**63 - 1), "float")
    yield too_much("2**64-1 as a float", float, int_form(2**64 - 1), "float")
    yield too_much("'1' as a float", float, str_form("1"), "float")
    yield too_much("True as a float", float, bool_form(True), "float")
    yield too_much("1 as a str", str, int_form(1), "string")
    yield too_much("a datetime as a str", str, datetime_form(0), "string")
    yield too_much("1 as a bool", bool, int_form(1), "boolean")
    yield too_much("a str as a datetime", datetime.datetime, str_form("2024-01-01T00:00:00Z"), "datetime")
    yield too_much("year 10000", datetime.datetime, datetime_form(253_402_300_800), "datetime", refused_by=["python"])
    yield too_much("year 0", datetime.datetime, datetime_form(-62_135_596_801), "datetime", refused_by=["python"])
    yield too_much("1 as a timedelta", datetime.timedelta, int_form(1), "duration")
    longer = duration_form(315_576_000_001)
    yield too_much("more than 10,000 years", datetime.timedelta, longer, "duration", refused_by=["go"])
    yield too_much("a str that is none of an enum's", Colour, str_form("blue"), "blue")
    yield too_much(
        "a list with a str as a list[int]", list[int], list_form([int_form(1), str_form("a")]), "[1]", "integer"
    )
    yield too_much("a list with None as a list[int]", list[int], list_form([none_form()]), "[0]", "integer")
    yield too_much("an int as a list[int]", list[int], int_form(1), "list")
    yield too_much(
        "a dict with a str as a dict[str, int]", dict[str, int], map_form({"key": str_form("x")}), "key", "integer"
    )
    yield too_much("a float as an Optional[int]", Optional[int], float_form(1.5), "union")
    more = dict_form([(str_form("n"), int_form(2**64))])
    yield too_much("a dict with an int of more than 64 bits", dict, more, "msgpack", refused_by=["go", "rust"])
    yield too_much("a directory as a file", FlyteFile, directory_form("s3://bucket/d", ""), "file")
    yield too_much("a file as a directory", FlyteDirectory, file_form("s3://bucket/f", ""), "directory")
    yield too_much("a file as a dataset", StructuredDataset, file_form("s3://bucket/f", ""), "dataset")


def pickles() -> Iterator[dict[str, Any]]:
    """The type that Flyte 2's SDK (flyte 2.12.1) declares for what it pickles, such as bytes."""
    marked = types_pb2.TypeStructure(tag="FlytePickle")
    file = types_pb2.LiteralType(blob=types_pb2.BlobType(format="PythonPickle"), structure=marked)
    pickle = types_pb2.LiteralType(simple=types_pb2.BINARY, structure=marked)
    type = encoded(types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[file, pickle])))
    data = b"\x80\x05C\x01a\x94."
    binary = literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=literals_pb2.Binary(value=data, tag="pickle")))
    union = literals_pb2.Union(value=binary, type=pickle)
    literal = encoded(literals_pb2.Literal(scalar=literals_pb2.Scalar(union=union)))
    kept = {"type": type, "literal": literal, "value": binary_form(data, "pickle")}
    yield {"name": "a pickle of Flyte 2, tagged by the host"} | kept
    refused = {"type": type, "says": ["pickle"]}
    yield {"name": "bytes where Flyte 2 pickles", "value": bytes_form(b"a")} | refused
    yield {
        "name": "bytes with another tag where Flyte 2 pickles",
        "value": binary_form(b"a", "other"),
    } | refused


def make() -> str:
    """The text of literals.json."""
    cases = [
        made
        for part in (scalars, durations, containers, unions, packed, stored, others, refusals, pickles)
        for made in part()
    ]
    names = [made["name"] for made in cases]
    if len(set(names)) < len(names):
        raise AssertionError(f"two cases have one name: {sorted(name for name in names if names.count(name) > 1)}")
    return json.dumps({"flytekit": flytekit.__version__, "cases": cases}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(*sys.argv[1:] or [FILE]).write_text(make(), encoding="utf-8")
