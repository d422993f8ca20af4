"""Real flytekit and pyarrow, for as long as the test runs: makes literals and files, and reads what came of them.

Takes requests as JSON on stdin, one list a line, and answers each line with a list on stdout. Types and values are
Python expressions; a value that was read is written as ["int", "7"], ["list", [...]] and so on, which tells all of it
(see `told`).

  {"do": "make", "type": T, "value": V}          -> {"literal"}: protobuf, in base64; and {"told"} of the value
  {"do": "type", "type": T}                      -> {"type"}
  {"do": "read", "literal": base64, "type": T}   -> {"told"}
  {"do": "open", "path": a parquet file}         -> {"columns": [[name, Arrow's type, [told, ...]], ...]}
  {"do": "write", "path", "columns": [[name, Arrow's type, [V, ...]], ...], "options"}  -> {} and a parquet file
Each may instead be answered with {"error": text}.
"""

import base64
import datetime
import decimal
import enum
import json
import sys
import typing
import uuid
from dataclasses import dataclass
from datetime import timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
from flyteidl.core import literals_pb2
from flytekit import FlyteContextManager, StructuredDataset
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import Literal
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "it's blue"


@dataclass
class Point:
    i: int
    f: float
    s: str
    o: typing.Optional[int]
    l: list[int]  # noqa: E741


NAMES = {
    "Colour": Colour,
    "D": decimal.Decimal,
    "FlyteDirectory": FlyteDirectory,
    "FlyteFile": FlyteFile,
    "Optional": typing.Optional,
    "Point": Point,
    "StructuredDataset": StructuredDataset,
    "UUID": uuid.UUID,
    "Union": typing.Union,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "inf": float("inf"),
    "loads": json.loads,
    "nan": float("nan"),
    "pa": pa,
    "time": datetime.time,
    "timedelta": timedelta,
    "timezone": timezone,
    "utc": timezone.utc,
}


def evaluated(expression):
    return eval(expression, dict(NAMES))


def nanoseconds(length):
    return length // MICROSECOND * 1000


def told(value):
    """What a Python value is, wholly."""
    match value:
        case None:
            return ["none", ""]
        case bool():
            return ["bool", str(value).lower()]
        case enum.Enum():
            return ["str", value.value]
        case int():
            return ["int", str(value)]
        case float():
            return ["float", value.hex()]
        case str():
            return ["str", value]
        case bytes():
            return ["bytes", value.hex()]
        case decimal.Decimal():
            return ["decimal", str(value)]
        case uuid.UUID():
            return ["uuid", str(value)]
        case datetime.datetime():
            at = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
            return ["datetime", str(nanoseconds(at - EPOCH))]
        case datetime.date():
            return ["date", str(value.toordinal() - EPOCH.toordinal())]
        case timedelta():
            return ["timedelta", str(nanoseconds(value))]
        case list() | tuple():
            return ["list", [told(element) for element in value]]
        case dict():
            return ["dict", [[told(key), told(element)] for key, element in value.items()]]
        case Point():
            return told(vars(value))
        case FlyteFile() | FlyteDirectory():
            return ["file", value.remote_source or value.path]
    return [type(value).__name__, repr(value)]


UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}


def arrow(scalar):
    """What a scalar of pyarrow is: its Python values do not have the years, and the nanoseconds, of all its types."""
    kind = scalar.type
    if not scalar.is_valid:
        return ["none", ""]
    if isinstance(scalar, pa.ExtensionScalar):
        return told(scalar.as_py()) if kind.extension_name == "arrow.uuid" else arrow(scalar.value)
    if pa.types.is_timestamp(kind):
        return ["datetime", str(scalar.value * UNITS[kind.unit])]
    if pa.types.is_duration(kind):
        return ["timedelta", str(scalar.value * UNITS[kind.unit])]
    if pa.types.is_time(kind):
        return ["time", str(scalar.value * UNITS[kind.unit])]
    if pa.types.is_date32(kind):
        return ["date", str(scalar.value)]
    if pa.types.is_date64(kind):
        days, rest = divmod(scalar.value, 86_400_000)
        return ["date", str(days)] if not rest else ["datetime", str(scalar.value * 1_000_000)]
    if pa.types.is_interval(kind):
        months, days, nanos = scalar.as_py()
        return ["interval", f"{months},{days},{nanos}"]
    if pa.types.is_dictionary(kind):
        return arrow(scalar.value)
    if pa.types.is_union(kind):
        return arrow(scalar.value)
    if pa.types.is_map(kind):
        entries = scalar.values
        return ["dict", [[arrow(entry[0]), arrow(entry[1])] for entry in entries]]
    if pa.types.is_struct(kind):
        return ["dict", [[["str", kind.field(i).name], arrow(scalar[i])] for i in range(kind.num_fields)]]
    if isinstance(scalar, pa.ListScalar | pa.ListViewScalar):
        return ["list", [arrow(element) for element in scalar.values]]
    return told(scalar.as_py())


def encoded(model):
    return base64.b64encode(model.to_flyte_idl().SerializeToString()).decode()


def make(request, context):
    kind = evaluated(request["type"])
    declared = TypeEngine.to_literal_type(kind)
    value = evaluated(request["value"])
    return {"literal": encoded(TypeEngine.to_literal(context, value, kind, declared)), "told": told(value)}


def type_of(request, context):
    return {"type": encoded(TypeEngine.to_literal_type(evaluated(request["type"])))}


def read(request, context):
    literal = Literal.from_flyte_idl(literals_pb2.Literal.FromString(base64.b64decode(request["literal"])))
    return {"told": told(TypeEngine.to_python_value(context, literal, evaluated(request["type"])))}


def open_table(request, context):
    table = pq.ParquetFile(request["path"]).read()
    columns = zip(table.column_names, table.columns, strict=True)
    return {"columns": [[name, str(column.type), [arrow(scalar) for scalar in column]] for name, column in columns]}


def write(request, context):
    arrays, names = [], []
    for name, kind, values in request["columns"]:
        kind = evaluated(kind)
        names.append(name)
        arrays.append(pa.array([evaluated(value) for value in values], type=kind))
    pq.write_table(pa.Table.from_arrays(arrays, names=names), request["path"], **request.get("options", {}))
    return {}


DOES = {"make": make, "type": type_of, "read": read, "open": open_table, "write": write}


def answer(request, context):
    try:
        return DOES[request["do"]](request, context)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    context = FlyteContextManager.current_context()
    for line in sys.stdin:
        print(json.dumps([answer(request, context) for request in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
