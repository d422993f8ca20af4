"""Flyte's literals as Python values, and back.

| literal                    | Python                                                   |
|----------------------------|----------------------------------------------------------|
| integer, float             | int, float                                               |
| string, enum; boolean      | str; bool                                                |
| datetime, duration         | datetime.datetime (with UTC), datetime.timedelta         |
| none                       | None                                                     |
| collection, map            | list, dict                                               |
| union                      | its value                                                |
| generic, msgpack           | what JSON has: dict, list, str, float, …                 |
| other binary               | bytes, or Binary with a tag                              |
| blob                       | File, Directory                                          |
| structured dataset, schema | StructuredDataset                                        |
| error                      | its message                                              |

The way back follows the type that the task declares: an int becomes a float where a float is declared, and a union
names its variant. Without a declared type it takes what is natural for the value. Dataclasses and pydantic models
become msgpack, and dicts where a struct is declared.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Any

import msgpack
import pydantic
import pydantic_core
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import json_format

_MSGPACK = "msgpack"
_UTC = datetime.timezone.utc
_LONGEST = datetime.timedelta(seconds=315_576_000_000)
"""The longest that protobuf's Duration may be."""


@dataclasses.dataclass(frozen=True)
class File:
    """One file in storage."""

    uri: str
    format: str = ""


@dataclasses.dataclass(frozen=True)
class Directory:
    """A folder in storage."""

    uri: str
    format: str = ""


@dataclasses.dataclass(frozen=True)
class StructuredDataset:
    """A table in storage. Columns are names with Flyte's simple types, such as "INTEGER", where they are known."""

    uri: str
    format: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Binary:
    """Bytes that somebody has named the form of."""

    value: bytes
    tag: str = ""


class LiteralError(ValueError):
    """A value and a literal do not fit; the message says where."""


def to_python(literal: Any) -> Any:
    """The Python value that is natural for a literal."""
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return [to_python(element) for element in literal.collection.literals]
    if kind == "map":
        return {key: to_python(value) for key, value in literal.map.literals.items()}
    if kind == "offloaded_metadata":
        raise LiteralError(
            f"it is stored apart, at {literal.offloaded_metadata.uri}: this agent reads only what is sent along"
        )
    if kind == "scalar":
        return _scalar(literal.scalar)
    return None


def _scalar(scalar: Any) -> Any:
    kind = scalar.WhichOneof("value")
    if kind == "primitive":
        return _primitive(scalar.primitive)
    if kind == "union":
        return to_python(scalar.union.value)
    if kind == "generic":
        return json_format.MessageToDict(scalar.generic)
    if kind == "binary":
        if scalar.binary.tag == _MSGPACK:
            return msgpack.unpackb(scalar.binary.value, strict_map_key=False)
        return Binary(scalar.binary.value, scalar.binary.tag) if scalar.binary.tag else scalar.binary.value
    if kind == "blob":
        form = scalar.blob.metadata.type
        several = form.dimensionality == types_pb2.BlobType.MULTIPART
        return (Directory if several else File)(scalar.blob.uri, form.format)
    if kind == "structured_dataset":
        table = scalar.structured_dataset.metadata.structured_dataset_type
        columns = {column.name: _simple_name(column.literal_type) for column in table.columns}
        return StructuredDataset(scalar.structured_dataset.uri, table.format, columns)
    if kind == "schema":  # FlyteSchema always stores parquet
        columns = {
            c.name: types_pb2.SchemaType.SchemaColumn.SchemaColumnType.Name(c.type) for c in scalar.schema.type.columns
        }
        return StructuredDataset(scalar.schema.uri, "parquet", columns)
    if kind == "error":
        return scalar.error.message
    return None


def _primitive(primitive: Any) -> Any:
    kind = primitive.WhichOneof("value")
    if kind in ("datetime", "duration"):
        return _time(kind, getattr(primitive, kind))
    return getattr(primitive, kind) if kind else None


def _time(kind: str, message: Any) -> datetime.datetime | datetime.timedelta:
    if message.nanos % 1000:
        raise LiteralError(f"the {kind} of {message.ToJsonString()} is finer than a microsecond, as Python's are")
    try:
        found: datetime.datetime | datetime.timedelta = (
            message.ToDatetime(tzinfo=_UTC) if kind == "datetime" else message.ToTimedelta()
        )
    except (ValueError, OverflowError) as e:
        raise LiteralError(f"the {kind} of {message.seconds} s is out of Python's range: {e}") from None
    return found


def _simple_name(literal_type: Any) -> str:
    return str(types_pb2.SimpleType.Name(literal_type.simple)) if literal_type.WhichOneof("type") == "simple" else ""


def to_literals(values: Mapping[str, Any], types: Mapping[str, Any] | None = None) -> Any:
    """Values by name as a LiteralMap: of the declared types, or without those of what is natural.

    :raises LiteralError: a value does not fit, or the names differ from the declared ones.
    """
    if types and set(values) != set(types):
        missing, surplus = sorted(set(types) - set(values)), sorted(set(values) - set(types))
        raise LiteralError(
            "; ".join(
                f"{what}: {', '.join(names)}"
                for what, names in (("declared outputs are missing", missing), ("outputs are not declared", surplus))
                if names
            )
        )
    literals = {}
    for name, value in values.items():
        try:
            literals[name] = to_literal(value, types[name] if types else None)
        except LiteralError as e:
            raise LiteralError(f"{name}: {e}") from None
    return literals_pb2.LiteralMap(literals=literals)


def to_literal(value: Any, declared: Any = None) -> Any:
    """A value as a literal of the declared type, or of what is natural for it."""
    if isinstance(value, literals_pb2.Literal):
        return value
    if isinstance(value, enum.Enum):
        value = value.value
    if declared is None:
        return _natural(value)
    return _declared(value, declared, strict=False)


def _declared(value: Any, declared: Any, strict: bool) -> Any:
    """A strict one takes only values of the declared type, which is how the variant of a union is chosen."""
    kind = declared.WhichOneof("type")
    if kind == "union_type":
        return _union(value, declared)
    if kind == "collection_type" and isinstance(value, (list, tuple)):
        elements = []
        for i, element in enumerate(value):
            elements.append(_within(f"[{i}]", element, declared.collection_type, strict))
        return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=elements))
    if kind == "map_value_type" and isinstance(value, Mapping):
        entries = {k: _within(f".{k}", v, declared.map_value_type, strict) for k, v in _by_text(value).items()}
        return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))
    if kind == "enum_type" and isinstance(value, str):
        if value not in declared.enum_type.values:
            raise LiteralError(f"must be one of {', '.join(declared.enum_type.values)}, got {value!r}")
        return _natural(value)
    if kind == "blob" and isinstance(value, (File, Directory)):
        return _blob(value, declared.blob.format)
    if kind in ("structured_dataset_type", "schema") and isinstance(value, StructuredDataset):
        return _dataset(value, declared.structured_dataset_type if kind == "structured_dataset_type" else None)
    if kind == "simple":
        found = _simple(value, declared.simple, strict)
        if found is not None:
            return found
    name = types_pb2.SimpleType.Name(declared.simple) if kind == "simple" else (kind or "nothing").removesuffix("_type")
    raise LiteralError(f"the task declares {str(name).lower()}, got {type(value).__name__} {value!r:.80}")


def _by_text(value: Mapping[Any, Any]) -> dict[str, Any]:
    entries = {str(key): entry for key, entry in value.items()}
    if len(entries) < len(value):
        raise LiteralError("two of its keys are the same as text, which a map's keys are")
    return entries


def _within(where: str, value: Any, declared: Any, strict: bool) -> Any:
    try:
        return _declared(value, declared, strict)
    except LiteralError as e:
        raise LiteralError(f"{where}: {e}") from None


def _union(value: Any, declared: Any) -> Any:
    for strict in (True, False):
        for variant in declared.union_type.variants:
            try:
                literal = _declared(value, variant, strict)
            except LiteralError:
                continue
            union = literals_pb2.Union(value=literal, type=variant)
            return literals_pb2.Literal(scalar=literals_pb2.Scalar(union=union))
    raise LiteralError(f"no variant of the declared union takes {type(value).__name__} {value!r:.80}")


def _simple(value: Any, simple: int, strict: bool) -> Any:
    t = types_pb2.SimpleType
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if simple == types_pb2.NONE and value is None:
        return _natural(None)
    if simple == types_pb2.INTEGER and number and (isinstance(value, int) or (not strict and value.is_integer())):
        return _natural(int(value))
    if simple == types_pb2.FLOAT and number and not (strict and isinstance(value, int)):
        return _natural(_exact_float(value))
    if simple == types_pb2.STRUCT and (
        isinstance(value, (dict, list, pydantic.BaseModel)) or dataclasses.is_dataclass(value)
    ):
        return _packed(value)
    plain = {t.Value("STRING"): str, t.Value("BOOLEAN"): bool, t.Value("DATETIME"): datetime.datetime}
    plain |= {t.Value("DURATION"): datetime.timedelta, t.Value("BINARY"): (bytes, Binary)}
    if simple in plain and isinstance(value, plain[simple]):
        return _natural(value)
    return None


def _exact_float(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if isinstance(value, int) and number != value:
        raise LiteralError(f"a float cannot hold {value}")
    return number


def _natural(value: Any) -> Any:
    if value is None:
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
    if isinstance(value, (bool, int, float, str, datetime.datetime, datetime.timedelta)):
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=_primitive_of(value)))
    if isinstance(value, (bytes, Binary)):
        binary = value if isinstance(value, Binary) else Binary(value)
        message = literals_pb2.Binary(value=binary.value, tag=binary.tag)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=message))
    if isinstance(value, (File, Directory)):
        return _blob(value, "")
    if isinstance(value, StructuredDataset):
        return _dataset(value, None)
    if isinstance(value, (list, tuple)):
        elements = [to_literal(element) for element in value]
        return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=elements))
    if isinstance(value, Mapping):
        entries = {key: to_literal(entry) for key, entry in _by_text(value).items()}
        return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))
    if dataclasses.is_dataclass(value) or isinstance(value, pydantic.BaseModel):
        return _packed(value)
    raise LiteralError(f"a {type(value).__name__} has no form as a literal: {value!r:.80}")


def _primitive_of(value: Any) -> Any:
    if isinstance(value, bool):
        return literals_pb2.Primitive(boolean=value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise LiteralError(f"an integer has 64 bits at most, got {value}")
        return literals_pb2.Primitive(integer=value)
    if isinstance(value, float):
        return literals_pb2.Primitive(float_value=value)
    if isinstance(value, str):
        return literals_pb2.Primitive(string_value=value)
    primitive = literals_pb2.Primitive()
    if isinstance(value, datetime.timedelta):
        if abs(value) > _LONGEST:
            raise LiteralError(f"a duration has 10,000 years at most, got {value}")
        primitive.duration.FromTimedelta(value)
        return primitive
    try:
        # A datetime without a zone is UTC, as Flyte has it.
        primitive.datetime.FromDatetime(value if value.tzinfo is None else value.astimezone(_UTC))
    except (ValueError, OverflowError):
        raise LiteralError(f"a datetime has the years 1 to 9999 in UTC, got {value}") from None
    return primitive


def _blob(value: File | Directory, declared_format: str) -> Any:
    several = isinstance(value, Directory)
    dimensionality = types_pb2.BlobType.MULTIPART if several else types_pb2.BlobType.SINGLE
    form = types_pb2.BlobType(format=value.format or declared_format, dimensionality=dimensionality)
    blob = literals_pb2.Blob(uri=value.uri, metadata=literals_pb2.BlobMetadata(type=form))
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=blob))


def _dataset(value: StructuredDataset, declared: Any) -> Any:
    table = types_pb2.StructuredDatasetType(format=value.format)
    if declared is not None:
        table.MergeFrom(declared)
        table.format = value.format or declared.format
    if value.columns:
        del table.columns[:]
        for name, simple in value.columns.items():
            column = types_pb2.LiteralType(simple=types_pb2.SimpleType.Value(simple or "NONE"))
            table.columns.add(name=name, literal_type=column)
    metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=table)
    dataset = literals_pb2.StructuredDataset(uri=value.uri, metadata=metadata)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(structured_dataset=dataset))


def _packed(value: Any) -> Any:
    """As flytekit writes dataclasses, pydantic models and dicts: protobuf's Struct would make floats of all numbers."""
    try:
        return _natural(Binary(msgpack.packb(_plain(value)), _MSGPACK))
    except (OverflowError, ValueError, TypeError) as e:
        raise LiteralError(f"a {type(value).__name__} cannot be written as msgpack: {e}") from None


def _plain(value: Any) -> Any:
    """What msgpack has a form for; the rest is written as flytekit reads it (mashumaro's forms)."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, pydantic.BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        seconds = value.total_seconds()  # as flytekit has it, exact to the microsecond up to some 285 years
        if datetime.timedelta(seconds=seconds) != value:
            raise ValueError(f"{value} as a float of seconds is {datetime.timedelta(seconds=seconds)}")
        return seconds
    return _plain(pydantic_core.to_jsonable_python(value))
