"""Flyte's literals as Python values, and back.

| literal                    | Python                                                   |
|----------------------------|----------------------------------------------------------|
| integer, float             | int, float                                               |
| string, enum; boolean      | str; bool                                                |
| datetime, duration         | datetime.datetime (with UTC), datetime.timedelta         |
| none                       | None                                                     |
| collection, map            | list, dict                                               |
| union                      | its value                                                |
| msgpack                    | dict, list, …, with bytes, msgpack.Timestamp, any keys   |
| generic                    | dict, list, …, all numbers floats                        |
| other binary               | bytes, or Binary with a tag                              |
| blob                       | File, Directory                                          |
| structured dataset, schema | StructuredDataset                                        |
| error                      | FlyteError                                               |

What Python cannot hold is refused, such as nanoseconds. The way back follows the type that the task declares: an int
becomes a float where a float is declared, and a union names its variant. Without a declared type it takes what is
natural for the value. Dataclasses and pydantic models become msgpack, and dicts where a struct is declared or a key is
no str. A date is the datetime at which it begins.
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

_MSGPACK = "msgpack"
_PICKLE_TYPE = "FlytePickle"
"""Marks declared types whose values Flyte 2's SDK pickles, since it has no type for them: bytes, Decimal, Any, …."""
_PICKLE_TAG = "pickle"
"""The tag of such a value, which the host gives it."""
_SchemaColumnType = types_pb2.SchemaType.SchemaColumn.SchemaColumnType
_UTC = datetime.timezone.utc
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=_UTC)
_YEARS = range(-62_135_596_800, 253_402_300_800)
"""The seconds of the years 1 to 9999, those of protobuf's Timestamp and of Python."""
_LONGEST = 315_576_000_000
"""The most seconds that protobuf's Duration may have: 10,000 years."""


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
    """A table in storage. Columns are names with their types, where they are known: Flyte's simple ones by name, such
    as "INTEGER", and others as flyteidl's LiteralType."""

    uri: str
    format: str = ""
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Binary:
    """Bytes that somebody has named the form of."""

    value: bytes
    tag: str = ""


@dataclasses.dataclass(frozen=True)
class FlyteError:
    """What Flyte says of a failure, to the task that handles it."""

    message: str
    failed_node: str = ""


class LiteralError(ValueError):
    """A value and a literal do not fit; the message says where."""


def to_python(literal: Any) -> Any:
    """The Python value that is natural for a literal.

    :raises LiteralError: Python has none, or the literal is not whole.
    """
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return [_read_within(f"[{i}]", element) for i, element in enumerate(literal.collection.literals)]
    if kind == "map":
        return {key: _read_within(f".{key}", value) for key, value in literal.map.literals.items()}
    if kind == "offloaded_metadata":
        raise LiteralError(
            f"it is stored apart, at {literal.offloaded_metadata.uri}: this agent reads only what is sent along"
        )
    if kind == "scalar":
        if literal.metadata.get("format") == "pickle":
            raise LiteralError(f"Python has pickled the dict, into {literal.scalar.generic['pickle_file']}")
        return _scalar(literal.scalar)
    raise LiteralError("the literal has no value")


def _read_within(where: str, literal: Any) -> Any:
    try:
        return to_python(literal)
    except LiteralError as e:
        raise LiteralError(f"{where}: {e}") from None


def _scalar(scalar: Any) -> Any:
    kind = scalar.WhichOneof("value")
    if kind == "primitive":
        return _primitive(scalar.primitive)
    if kind == "none_type":
        return None
    if kind == "union":
        return to_python(scalar.union.value)
    if kind == "generic":
        return {key: _json(value) for key, value in scalar.generic.fields.items()}
    if kind == "binary":
        if scalar.binary.tag == _MSGPACK:
            return _unpacked(scalar.binary.value)
        return Binary(scalar.binary.value, scalar.binary.tag) if scalar.binary.tag else scalar.binary.value
    if kind == "blob":
        form = scalar.blob.metadata.type
        several = form.dimensionality == types_pb2.BlobType.MULTIPART
        return (Directory if several else File)(scalar.blob.uri, form.format)
    if kind == "structured_dataset":
        table = scalar.structured_dataset.metadata.structured_dataset_type
        columns = {column.name: _column_type(column.literal_type) for column in table.columns}
        return StructuredDataset(scalar.structured_dataset.uri, table.format, columns)
    if kind == "schema":  # FlyteSchema always stores parquet
        columns = {c.name: _SchemaColumnType.Name(c.type) for c in scalar.schema.type.columns}
        return StructuredDataset(scalar.schema.uri, "parquet", columns)
    if kind == "error":
        return FlyteError(scalar.error.message, scalar.error.failed_node_id)
    raise LiteralError("the scalar has no value")


def _json(value: Any) -> Any:
    """As protobuf's own JSON has it, which refuses NaN and infinity."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: _json(entry) for key, entry in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_json(element) for element in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def _unpacked(packed: bytes) -> Any:
    try:
        return msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError) as e:  # the latter of keys that a dict cannot have
        raise LiteralError(f"the msgpack is broken: {e or type(e).__name__}") from None


def _primitive(primitive: Any) -> Any:
    kind = primitive.WhichOneof("value")
    if kind is None:
        raise LiteralError("the primitive has no value")
    value = getattr(primitive, kind)
    if kind == "datetime":
        if value.seconds not in _YEARS or not 0 <= value.nanos < 10**9:
            raise LiteralError(f"there is no datetime of {value.seconds} s and {value.nanos} ns")
        return _EPOCH + _exact_timedelta(kind, value)
    if kind == "duration":
        # Nanoseconds have the sign of the seconds.
        if not (abs(value.seconds) <= _LONGEST and abs(value.nanos) < 10**9 and value.seconds * value.nanos >= 0):
            raise LiteralError(f"there is no duration of {value.seconds} s and {value.nanos} ns")
        return _exact_timedelta(kind, value)
    return value


def _exact_timedelta(kind: str, value: Any) -> datetime.timedelta:
    micros, rest = divmod(value.nanos, 1000)
    if rest:
        raise LiteralError(
            f"the {kind} of {value.seconds} s and {value.nanos} ns is finer than a microsecond, as Python's are"
        )
    return datetime.timedelta(seconds=value.seconds, microseconds=micros)


def _column_type(literal_type: Any) -> Any:
    simple = literal_type.WhichOneof("type") == "simple"
    return types_pb2.SimpleType.Name(literal_type.simple) if simple else literal_type


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
    if declared is None:
        return _natural(value)
    return _declared(value, declared, strict=False)


def _declared(value: Any, declared: Any, strict: bool) -> Any:
    """A strict one takes only values of the declared type, which is how the variant of a union is chosen."""
    if isinstance(value, literals_pb2.Literal):
        return value
    kind = declared.WhichOneof("type")
    if kind == "union_type":
        return _union(value, declared)
    if isinstance(value, enum.Enum) and (kind == "enum_type" or not strict):
        strict, value = False, value.value
    if kind == "collection_type" and isinstance(value, (list, tuple)):
        elements = []
        for i, element in enumerate(value):
            elements.append(_within(f"[{i}]", element, declared.collection_type, strict))
        return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=elements))
    if kind == "map_value_type" and isinstance(value, Mapping):
        entries = {_text(k): _within(f".{k}", v, declared.map_value_type, strict) for k, v in value.items()}
        return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))
    if kind == "enum_type" and isinstance(value, str) and not strict:
        if value not in declared.enum_type.values:
            raise LiteralError(f"must be one of {', '.join(declared.enum_type.values)}, got {value!r}")
        return _natural(value)
    if kind == "blob" and isinstance(value, Directory if _is_directory(declared) else File):
        return _blob(value, declared.blob.format)
    if kind == "structured_dataset_type" and isinstance(value, StructuredDataset):
        return _dataset(value, declared.structured_dataset_type)
    if kind == "schema" and isinstance(value, StructuredDataset):
        return _schema(value, declared.schema)
    is_pickle = isinstance(value, Binary) and value.tag == _PICKLE_TAG
    if kind == "simple" and not isinstance(value, enum.Enum) and (is_pickle or not _is_pickle(declared)):
        found = _simple(value, declared.simple, strict)
        if found is not None:
            return found
    raise LiteralError(f"the task declares {_type_name(declared)}, got {type(value).__name__} {value!r:.80}")


def _is_directory(declared: Any) -> bool:
    return bool(declared.blob.dimensionality == types_pb2.BlobType.MULTIPART)


def _is_pickle(declared: Any) -> bool:
    """Whether a binary of a declared type is a pickle. Whoever reads it unpickles it, so that no other bytes fit."""
    return bool(declared.simple == types_pb2.BINARY and declared.structure.tag == _PICKLE_TYPE)


def _type_name(declared: Any) -> str:
    """A declared type for people, such as "list[integer]"."""
    kind = declared.WhichOneof("type")
    if _is_pickle(declared):
        return "pickle"
    if kind == "simple":
        return str(types_pb2.SimpleType.Name(declared.simple)).lower()
    if kind == "collection_type":
        return f"list[{_type_name(declared.collection_type)}]"
    if kind == "map_value_type":
        return f"map[string, {_type_name(declared.map_value_type)}]"
    if kind == "union_type":
        return f"union[{', '.join(map(_type_name, declared.union_type.variants))}]"
    if kind == "enum_type":
        return f"enum[{', '.join(declared.enum_type.values)}]"
    if kind == "blob":
        return "directory" if _is_directory(declared) else "file"
    return "structured dataset" if kind == "structured_dataset_type" else str(kind or "unknown type")


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise LiteralError(f"the key {key!r} is {type(key).__name__}, not str")
    return key


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
    raise LiteralError(f"no variant of the declared {_type_name(declared)} takes {type(value).__name__} {value!r:.80}")


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
    plain = {t.Value("STRING"): str, t.Value("BOOLEAN"): bool, t.Value("DATETIME"): datetime.date}
    plain |= {t.Value("DURATION"): datetime.timedelta, t.Value("BINARY"): (bytes, Binary), t.Value("ERROR"): FlyteError}
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
    if isinstance(value, literals_pb2.Literal):
        return value
    if isinstance(value, enum.Enum):
        return _natural(value.value)
    if value is None:
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
    if isinstance(value, (bool, int, float, str, datetime.date, datetime.timedelta)):
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=_primitive_of(value)))
    if isinstance(value, (bytes, Binary)):
        binary = value if isinstance(value, Binary) else Binary(value)
        message = literals_pb2.Binary(value=binary.value, tag=binary.tag)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=message))
    if isinstance(value, (File, Directory)):
        return _blob(value, "")
    if isinstance(value, StructuredDataset):
        return _dataset(value, None)
    if isinstance(value, FlyteError):
        error = types_pb2.Error(message=value.message, failed_node_id=value.failed_node)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(error=error))
    if isinstance(value, (list, tuple)):
        elements = [_natural(element) for element in value]
        return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=elements))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        entries = {key: _natural(entry) for key, entry in value.items()}
        return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))
    if isinstance(value, Mapping) or dataclasses.is_dataclass(value) or isinstance(value, pydantic.BaseModel):
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
        try:
            return literals_pb2.Primitive(string_value=value)
        except UnicodeEncodeError as e:
            raise LiteralError(f"a string is UTF-8, got {value!r:.80}: {e.reason}") from None
    primitive = literals_pb2.Primitive()
    if isinstance(value, datetime.timedelta):
        if abs(value) > datetime.timedelta(seconds=_LONGEST):
            raise LiteralError(f"a duration has 10,000 years at most, got {value}")
        primitive.duration.FromTimedelta(value)
        return primitive
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time.min)
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
        for name, of in value.columns.items():
            column = types_pb2.LiteralType(simple=types_pb2.SimpleType.Value(of)) if isinstance(of, str) else of
            table.columns.add(name=name, literal_type=column)
    metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=table)
    dataset = literals_pb2.StructuredDataset(uri=value.uri, metadata=metadata)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(structured_dataset=dataset))


def _schema(value: StructuredDataset, declared: Any) -> Any:
    written = types_pb2.SchemaType()
    if not value.columns:
        written.MergeFrom(declared)
    for name, of in value.columns.items():
        if of not in list(_SchemaColumnType.keys()):
            kind = of if isinstance(of, str) else _type_name(of)
            raise LiteralError(f"a schema has no columns of {kind}, as {name} is")
        written.columns.add(name=name, type=_SchemaColumnType.Value(of))
    schema = literals_pb2.Schema(uri=value.uri, type=written)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(schema=schema))


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
    if value is None or isinstance(value, (bool, int, float, str, bytes, msgpack.Timestamp, msgpack.ExtType)):
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
