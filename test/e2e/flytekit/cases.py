"""The tasks that real flytekit makes for the end-to-end test: each with inputs to run it on and what must come out."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Optional

import numpy as np
import pandas as pd
from flytekit import FlyteContextManager, FlyteFile, StructuredDataset, TaskMetadata, kwtypes
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.data_persistence import FileAccessProvider
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin

from agenthost.tasks import DuckDBQuery

DEMO = pathlib.Path(__file__).resolve().parents[3] / "demo"
UTC = timezone.utc

SETTINGS = SerializationSettings(
    project="e2e",
    domain="development",
    version="v1",
    env={"TZ": "UTC"},
    image_config=ImageConfig(Image("default", "example.com/flytekit", "v1")),
)


@dataclass
class Case:
    """One task and one run of it: it ends with `outputs`, or fails with a message that contains `fails`."""

    name: str
    task: PythonTask
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] | None = None
    fails: str = ""
    # flytekit wrote dataclasses and dicts as protobuf Structs before 1.14, and still does when asked to.
    old_structs: bool = False
    # The input files vanish after flytekit has uploaded them.
    lost_files: bool = False


def all_cases(scratch: pathlib.Path) -> list[Case]:
    """Every case. Input files that no repository has are written below scratch."""
    scratch.mkdir(parents=True, exist_ok=True)
    cases = [*hello(), *scalars(), *collections(), *structures(), *tables(scratch), *the_demo(), *failures()]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), f"two cases share a name: {names}"
    return cases


@contextmanager
def storing_below(directory: pathlib.Path) -> Iterator[Any]:
    """A flytekit context that puts what it uploads into a directory, as it would into a task's bucket."""
    files = FileAccessProvider(str(directory / "sandbox"), str(directory / "raw"))
    builder = FlyteContextManager.current_context().with_file_access(files)
    with FlyteContextManager.with_context(builder) as context:
        yield context


class Hello(AsyncConnectorExecutorMixin, PythonTask[None]):
    """A task of a type of its own, written as the smallest flytekit plugins are."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        interface = Interface(inputs=kwtypes(name=str), outputs=kwtypes(greeting=str))
        super().__init__(task_type="hello", name=name, task_config=None, interface=interface, **kwargs)

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:
        return {"language": "en"}  # Flyte 2 takes no connector's task without a custom part


def hello() -> Iterator[Case]:
    yield Case("hello", Hello("hello"), {"name": "Flyte"}, {"greeting": "Hello, Flyte"})
    yield Case("hello_in_another_script", Hello("hello_again"), {"name": "wörld 🌍"}, {"greeting": "Hello, wörld 🌍"})


def query(
    name: str, sql: str, inputs: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None
) -> DuckDBQuery:
    return DuckDBQuery(name=name, query_template=sql, inputs=inputs, outputs=outputs)


EVERY_SCALAR = kwtypes(i=int, f=float, s=str, b=bool, t=datetime, d=timedelta)


def same(name: str, **values: Any) -> Case:
    """Scalars that go through the database come back as they went in."""
    return Case(
        name,
        query(name, "select $i as i, $f as f, $s as s, $b as b, $t as t, $d as d", EVERY_SCALAR, EVERY_SCALAR),
        values,
        values,
    )


def scalars() -> Iterator[Case]:
    yield Case(
        "scalars_are_computed_with",
        query(
            "compute",
            """
            select $i + 1 as i, $f * 2 as f, upper($s) as s, not $b as b, -- every kind there is
                   $t + interval 1 day as t, $d * 2 as d
            """,
            EVERY_SCALAR,
            EVERY_SCALAR,
        ),
        {
            "i": 41,
            "f": 0.25,
            "s": "flyte",
            "b": True,
            "t": datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
            "d": timedelta(hours=1, microseconds=5),
        },
        {
            "i": 42,
            "f": 0.5,
            "s": "FLYTE",
            "b": False,
            "t": datetime(2024, 3, 1, 12, 30, 15, 123456, tzinfo=UTC),
            "d": timedelta(hours=2, microseconds=10),
        },
    )
    yield same(
        "the_largest_scalars",
        i=2**63 - 1,
        f=1.7976931348623157e308,
        s="x" * 100_000,
        b=True,
        t=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        d=timedelta(days=100_000, microseconds=1),
    )
    yield same(
        "the_smallest_scalars",
        i=-(2**63),
        f=-math.inf,
        s="",
        b=False,
        t=datetime(1, 1, 1, tzinfo=UTC),
        d=timedelta(days=-3, microseconds=-1),
    )
    yield same(
        "text_that_could_be_sql",
        i=0,
        f=math.nan,
        s="Robert'); drop table students; -- $i {{ .inputs.i }} \" \\ \n\t naïve 東京 🛫",
        b=True,
        t=datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        d=timedelta(0),
    )
    yield Case(
        "whole_numbers_become_floats_where_floats_are_declared",
        query("as_float", "select 3 as f, 1.5::decimal(9, 2) as g", outputs=kwtypes(f=float, g=float)),
        {},
        {"f": 3.0, "g": 1.5},
    )
    yield Case(
        "dates_become_datetimes_where_datetimes_are_declared",
        query(
            "as_datetime", "select date '2024-02-29' as t, date '2024-03-01' as d", outputs=kwtypes(t=datetime, d=date)
        ),
        {},
        {"t": datetime(2024, 2, 29, tzinfo=UTC), "d": date(2024, 3, 1)},
    )
    yield Case(
        "values_can_stand_where_constants_must",
        query(
            "limit",
            "select count(*) as n from (select * from range(100) limit {{ .inputs.limit }})",
            kwtypes(limit=int),
            kwtypes(n=int),
        ),
        {"limit": 7},
        {"n": 7},
    )


class Origin(Enum):
    EWR = "EWR"
    JFK = "JFK"


@dataclass
class Threshold:
    minutes: int
    share: float


@dataclass
class Filter:
    carriers: list[str]
    threshold: Threshold
    note: str | None = None


def collections() -> Iterator[Case]:
    lists = kwtypes(i=list[int], f=list[float], s=list[str], b=list[bool], t=list[datetime])
    yield Case(
        "lists",
        query(
            "lists",
            "select list_reverse($i) as i, list_reverse($f) as f, list_reverse($s) as s, "
            "list_reverse($b) as b, list_reverse($t) as t",
            lists,
            lists,
        ),
        {
            "i": [1, 2, 2**62],
            "f": [0.5, 1e300],
            "s": ["it's", "", "ü"],
            "b": [True, False],
            "t": [datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
        },
        {
            "i": [2**62, 2, 1],
            "f": [1e300, 0.5],
            "s": ["ü", "", "it's"],
            "b": [False, True],
            "t": [datetime(2014, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC)],
        },
    )
    yield Case(
        "lists_without_elements_and_lists_of_lists",
        query(
            "more_lists",
            "select $empty as empty, len($empty) as n, list_reverse($nested) as nested",
            kwtypes(empty=list[int], nested=list[list[int]]),
            kwtypes(empty=list[int], n=int, nested=list[list[int]]),
        ),
        {"empty": [], "nested": [[1, 2], [], [3]]},
        {"empty": [], "n": 0, "nested": [[3], [], [1, 2]]},
    )
    yield Case(
        "rows_are_chosen_by_a_list",
        query(
            "choose",
            "select sum(x) as n from range(10) as t(x) where list_contains($of, x)",
            kwtypes(of=list[int]),
            kwtypes(n=int),
        ),
        {"of": [2, 3, 5, 7, 11]},
        {"n": 17},
    )
    yield Case(
        "a_map",
        query("map", "select $m['b'] as b, len(map_keys($m)) as n", kwtypes(m=dict[str, int]), kwtypes(b=int, n=int)),
        {"m": {"a": 1, "b": 2, "c d": 3}},
        {"b": 2, "n": 3},
    )
    for value, expected in ((5, 5), (None, -1)):
        yield Case(
            f"an_optional_that_is_{value}".lower(),
            query("optional", "select coalesce($n, -1) as n", kwtypes(n=Optional[int]), kwtypes(n=int)),
            {"n": value},
            {"n": expected},
        )
    yield Case(
        "optional_outputs",
        query(
            "optional_outputs",
            "select null as nothing, 'x' as something",
            outputs=kwtypes(nothing=Optional[int], something=Optional[str]),
        ),
        {},
        {"nothing": None, "something": "x"},
    )
    yield Case(
        "an_enum",
        query("enum", "select $o || '!' as s, $o as o", kwtypes(o=Origin), kwtypes(s=str, o=Origin)),
        {"o": Origin.JFK},
        {"s": "JFK!", "o": Origin.JFK},
    )
    yield Case(
        "a_list_of_all_rows",
        query("all_rows", "select x * x as squares from range(1, 4) as t(x)", outputs=kwtypes(squares=list[int])),
        {},
        {"squares": [1, 4, 9]},
    )
    yield Case(
        "one_value_whatever_its_columns_name",
        query("nameless", "select count(*) from range(5)", outputs=kwtypes(n=int)),
        {},
        {"n": 5},
    )


def structures() -> Iterator[Case]:
    for old in (False, True):
        era = "as_protobuf_structs" if old else "as_msgpack"
        yield Case(
            f"a_dataclass_{era}",
            query(
                f"dataclass_{era}",
                "select $f->>'$.carriers[1]' as carrier, ($f->>'$.threshold.minutes')::int + 1 as minutes, "
                "($f->'threshold'->>'share')::double as share, $f->>'note' is null as unnoted",
                kwtypes(f=Filter),
                kwtypes(carrier=str, minutes=int, share=float, unnoted=bool),
            ),
            {"f": Filter(["UA", "it's"], Threshold(15, 0.25))},
            {"carrier": "it's", "minutes": 16, "share": 0.25, "unnoted": True},
            old_structs=old,
        )
        yield Case(
            f"a_dict_{era}",
            query(
                f"dict_{era}",
                "select $d->>'name' as name, ($d->>'$.inner.n')::int as n, json_array_length($d, '$.list') as length",
                kwtypes(d=dict),
                kwtypes(name=str, n=int, length=int),
            ),
            {"d": {"name": "O'Hare", "inner": {"n": 3}, "list": [1, 2, 3]}},
            {"name": "O'Hare", "n": 3, "length": 3},
            old_structs=old,
        )
    yield Case(
        "a_list_of_dataclasses",
        query(
            "thresholds",
            "select sum((t->>'minutes')::int) as minutes from (select unnest($ts) as t)",
            kwtypes(ts=list[Threshold]),
            kwtypes(minutes=int),
        ),
        {"ts": [Threshold(15, 0.25), Threshold(30, 0.5)]},
        {"minutes": 45},
    )
    yield Case(
        "outputs_with_a_structure",
        query(
            "structured_outputs",
            "select {'minutes': 15, 'share': 0.25} as threshold, {'a': ['x', 'y'], 'b': {'c': null}} as anything, "
            "map {'EWR': 1, 'JFK': 2} as counts",
            outputs=kwtypes(threshold=Threshold, anything=dict, counts=dict[str, int]),
        ),
        {},
        {
            "threshold": Threshold(15, 0.25),
            "anything": {"a": ["x", "y"], "b": {"c": None}},
            "counts": {"EWR": 1, "JFK": 2},
        },
    )


PEOPLE = pd.DataFrame(
    {
        "name": ["Ada", "Grace", None, "Edsger"],
        "born": [1815, 1906, 0, 1930],
        "score": [1.5, np.nan, -math.inf, 0.1],
        "alive": [False, False, True, False],
        "at": pd.to_datetime(
            ["1815-12-10", "1906-12-09 01:02:03.456789", None, "1930-05-11"], format="ISO8601"
        ).as_unit("us"),
    }
)


def tables(scratch: pathlib.Path) -> Iterator[Case]:
    sorted_people = PEOPLE.sort_values("born").reset_index(drop=True)
    by_year = "select * from people order by born"
    for name, kind, value in (
        ("a_structured_dataset", StructuredDataset, StructuredDataset(dataframe=PEOPLE)),
        ("a_pandas_dataframe", pd.DataFrame, PEOPLE),
        (
            "a_structured_dataset_in_csv",
            Annotated[StructuredDataset, "csv"],
            StructuredDataset(dataframe=PEOPLE[["name", "born"]]),
        ),
    ):
        columns = ["name", "born"] if "csv" in name else list(PEOPLE)
        yield Case(
            f"from_{name}",
            query(
                name,
                by_year,
                kwtypes(people=kind),
                kwtypes(results=pd.DataFrame if kind is pd.DataFrame else StructuredDataset),
            ),
            {"people": value},
            {"results": sorted_people[columns]},
        )

    types = """
        select 1::tinyint as tiny, 2::integer as int, 3::bigint as big, 4::ubigint as unsigned,
            0.5::float as single, 0.25::double as double, true as yes, 'x' as text,
            date '2024-02-29' as day, timestamp '2024-02-29 01:02:03.456789' as at,
            timestamptz '2024-02-29 01:02:03+00' as instant, 12.34::decimal(9, 2) as money,
            [1, 2]::bigint[] as list, {'a': 1, 'b': 'y'} as struct, 'ab'::blob as bytes, null::integer as nothing
    """
    yield Case(
        "every_column_type",
        query("types", types, outputs=kwtypes(results=StructuredDataset)),
        {},
        {
            "results": pd.DataFrame(
                {
                    "tiny": np.array([1], "int8"),
                    "int": np.array([2], "int32"),
                    "big": np.array([3], "int64"),
                    "unsigned": np.array([4], "uint64"),
                    "single": np.array([0.5], "float32"),
                    "double": [0.25],
                    "yes": [True],
                    "text": ["x"],
                    "day": [date(2024, 2, 29)],
                    "at": pd.to_datetime(["2024-02-29 01:02:03.456789"]).as_unit("us"),
                    "instant": pd.to_datetime(["2024-02-29 01:02:03"], utc=True).as_unit("us"),
                    "money": [Decimal("12.34")],
                    "list": [np.array([1, 2])],
                    "struct": [{"a": 1, "b": "y"}],
                    "bytes": [b"ab"],
                    "nothing": [np.nan],
                }
            )
        },
    )
    yield Case(
        "a_result_without_rows",
        query("no_rows", "select 1::bigint as n, 'x' as s where false", outputs=kwtypes(results=StructuredDataset)),
        {},
        {"results": pd.DataFrame({"n": np.array([], "int64"), "s": np.array([], "object")})},
    )
    yield Case(
        "a_result_of_many_rows",
        query(
            "many_rows",
            "select x as n, md5(x::varchar) as hash from range($rows) as t(x) order by x",
            kwtypes(rows=int),
            kwtypes(results=StructuredDataset),
        ),
        {"rows": 300_000},
        {"results": many_rows(300_000)},
    )

    some = Annotated[StructuredDataset, kwtypes(born=int)]
    yield Case(
        "a_dataset_read_by_declared_columns",
        query("columns", by_year, kwtypes(people=StructuredDataset), kwtypes(results=some)),
        {"people": StructuredDataset(dataframe=PEOPLE)},
        {"results": sorted_people[["born"]]},
    )

    csv = scratch / "origins.csv"
    csv.write_text('code,city\nEWR,Newark\nJFK,"New York, Queens"\n')
    json = scratch / "origins.json"
    json.write_text('[{"code": "EWR", "city": "Newark"}, {"code": "JFK", "city": "New York, Queens"}]\n')
    lines = scratch / "origins.jsonl"
    lines.write_text('{"code": "EWR", "city": "Newark"}\n{"code": "JFK", "city": "New York, Queens"}\n')
    parquet = scratch / "origins.parquet"
    pd.read_csv(csv).to_parquet(parquet)
    for file in (csv, json, lines, parquet):
        form = file.suffix[1:]
        yield Case(
            f"from_a_{form}_file",
            query(
                f"file_{form}",
                "select city from origins where code = $code",
                kwtypes(origins=FlyteFile[form], code=str),
                kwtypes(city=str),
            ),
            {"origins": FlyteFile(str(file)), "code": "JFK"},
            {"city": "New York, Queens"},
        )
    yield Case(
        "several_statements_the_last_ones_result",
        query(
            "script",
            """
            create temp table squares as select x, x * x as y from range($n) as t(x); -- one
            delete from squares where x % 2 = 0;
            select sum(y) as total from squares;
            """,
            kwtypes(n=int),
            kwtypes(total=int),
        ),
        {"n": 6},
        {"total": 1 + 9 + 25},
    )
    yield Case(
        "no_outputs",
        query("nothing", "select count(*) from people", kwtypes(people=StructuredDataset)),
        {"people": StructuredDataset(dataframe=PEOPLE)},
        {},
    )


def many_rows(n: int) -> pd.DataFrame:
    from hashlib import md5

    return pd.DataFrame(
        {"n": np.arange(n, dtype="int64"), "hash": [md5(str(i).encode()).hexdigest() for i in range(n)]}
    )


def the_demo() -> Iterator[Case]:
    """The demo's query on its data, against what pandas makes of the same files."""
    airlines = pd.read_csv(DEMO / "data" / "airlines.csv")
    flights = pd.read_parquet(DEMO / "data" / "flights.parquet").merge(airlines, on="carrier")
    groups = flights.groupby("name")
    left = groups["dep_delay"].count()
    expected = pd.DataFrame(
        {
            "flights": groups.size(),
            "cancelled": groups["dep_time"].apply(lambda times: times.isna().sum()),
            "late_percent": (100 * groups["dep_delay"].apply(lambda delays: (delays > 15).sum()) / left).round(1),
            "mean_delay": groups["dep_delay"].mean().round(1),
            "median_delay": groups["dep_delay"].median(),
            "p95_delay": groups["dep_delay"].quantile(0.95, interpolation="higher").astype("int16"),
            "busiest_destination": groups["dest"].agg(lambda airports: airports.mode()[0]),
        }
    )
    expected = expected[expected.flights >= 1000].reset_index(names="airline")
    expected = expected.sort_values(["late_percent", "airline"], ascending=[False, True]).reset_index(drop=True)
    yield Case(
        "the_demo",
        DuckDBQuery(
            name="delays_by_airline",
            query_template=(DEMO / "query.sql").read_text(),
            inputs=kwtypes(flights=StructuredDataset, airlines=FlyteFile["csv"], min_flights=int),
            output_structured_dataset_type=StructuredDataset,
            metadata=TaskMetadata(retries=1, timeout=timedelta(minutes=1), cache=True, cache_version="1"),
        ),
        {
            "flights": StructuredDataset(uri=str(DEMO / "data" / "flights.parquet"), file_format="parquet"),
            "airlines": FlyteFile(str(DEMO / "data" / "airlines.csv")),
            "min_flights": 1000,
        },
        {"results": expected},
    )


def failures() -> Iterator[Case]:
    one = kwtypes(n=int)
    yield Case("sql_that_is_no_sql", query("typo", "selct 1 as n", outputs=one), fails="syntax error")
    yield Case(
        "a_table_that_is_no_input", query("absent", "select count(*) as n from nowhere", outputs=one), fails="nowhere"
    )
    yield Case(
        "a_value_that_does_not_fit", query("cast", "select $s::int as n", kwtypes(s=str), one), {"s": "x1"}, fails="x1"
    )
    yield Case(
        "a_scalar_from_two_rows",
        query("rows", "select x as n from range(2) as t(x)", outputs=one),
        fails="several rows",
    )
    yield Case("a_scalar_from_no_rows", query("none", "select 1 as n where false", outputs=one), fails="no rows")
    yield Case("an_output_without_a_column", query("column", "select 1 as m, 2 as k", outputs=one), fails='"n"')
    yield Case("a_null_where_a_value_is_declared", query("null", "select null::int as n", outputs=one), fails="is NULL")
    yield Case(
        "a_file_that_is_gone",
        query("gone", "select count(*) as n from people", kwtypes(people=StructuredDataset), one),
        {"people": StructuredDataset(dataframe=PEOPLE)},
        fails="no such file",
        lost_files=True,
    )
