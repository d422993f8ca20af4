"""Tasks of `agenthost.tasks.DataRetrieval`. The environment says where files lie on disk (DATA) and on S3 (LAKE)."""

import os
from datetime import datetime, timedelta, timezone
from typing import Optional

from flytekit import StructuredDataset, kwtypes
from flytekit.types.file import FlyteFile

from agenthost.tasks import DataRetrieval

DATA, LAKE = os.environ["DATA"], os.environ["LAKE"]


def rows(name, query, **task):
    return DataRetrieval(name=name, query_template=query, **task)


def far(name, kind, airlines):
    return rows(
        name,
        """
            select a.name, max(f.distance) as miles -- the farthest flight of each
            from flights f join airlines a on a.carrier = f.carrier
            where f.distance > {{ .inputs.least }} group by a.name order by miles desc, a.name limit 3
        """,
        inputs=kwtypes(flights=kind, least=int),
        outputs=kwtypes(name=list[str], miles=list[float]),
        sources={"airlines": airlines},
    )


def good(case):
    values = {
        "i": (int, 7),
        "f": (float, 2.5),
        "s": (str, "O'Hara; drop table x --"),
        "b": (bool, True),
        "t": (datetime, datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc)),
        "d": (timedelta, timedelta(minutes=90)),
        "l": (list[int], [1, 2, 3]),
        "o": (Optional[str], "there"),
        "nothing": (Optional[str], None),
    }
    kinds = {name: kind for name, (kind, _) in values.items()}
    everything = ", ".join(f"${name} as {name}" for name in kinds)
    moons = "select name, moons from t where moons > 0 order by name"
    mars = "select name, moons from t where name = $name"
    busiest = "select carrier, count(*) as n from flights group by carrier order by n desc, carrier limit 2"
    flights = {"flights": f"{LAKE}/flights"}
    row = kwtypes(t=FlyteFile, name=str)
    yield case(
        "parquet-and-csv-on-disk",
        far("disk", str, f"{DATA}/airlines.csv"),
        {"flights": f"{DATA}/flights.parquet", "least": 2000},
    )
    yield case(
        "parquet-and-csv-on-s3",
        far("s3", StructuredDataset, f"{LAKE}/airlines.csv"),
        {"flights": StructuredDataset(uri=f"{LAKE}/flights", file_format="parquet"), "least": 2000},
    )
    yield case(
        "json-on-disk",
        rows("json", moons, inputs=kwtypes(t=str), outputs=kwtypes(rows=list[dict])),
        {"t": f"{DATA}/planets.json"},
    )
    yield case(
        "json-on-s3",
        rows("row", mars, inputs=row, outputs=kwtypes(row=dict)),
        {"t": f"{LAKE}/planets.ndjson", "name": "Mars"},
    )
    yield case(
        "parameters",
        rows("parameters", f"select {everything}", inputs=kinds, outputs=kinds),
        {name: value for name, (_, value) in values.items()},
    )
    yield case("dataset", rows("dataset", busiest, outputs=kwtypes(busiest=StructuredDataset), sources=flights))
    yield case("file", rows("file", busiest, outputs=kwtypes(busiest=FlyteFile["csv"]), sources=flights))


def bad(case):
    for name, query, source, message in [
        ("bad-sql", "selec 1 as n", f"{DATA}/airlines.csv", "found: selec"),
        ("no-such-column", "select colour as n from t", f"{LAKE}/airlines.csv", "No field named colour"),
        ("no-such-file", "select count(*) as n from t", f"{LAKE}/gone.csv", f"NotFound: {LAKE}/gone.csv is not there"),
        ("not-allowed", "select count(*) as n from t", "/etc/passwd", "NotAllowed: /etc/passwd"),
        ("several-rows", "select 1 as n from t", f"{DATA}/airlines.csv", "OutputMismatch: "),
    ]:
        yield case(name, rows(name, query, outputs=kwtypes(n=int), sources={"t": source}), fails=message)


def cases(case):
    return [*good(case), *bad(case)]
