#!/usr/bin/env bash
# A timestamp in seconds that DataFusion writes to parquet is a plain number for every reader.
#
# Expected: to_timestamp_seconds(0), written to parquet, is read back as a timestamp. Parquet has none in seconds; pyarrow, for one, writes
# milliseconds in their place.
# Seen (datafusion 55.0.0): a column of INT64 without a logical type, which pyarrow 26.0.0 reads as int64 and DuckDB 1.5.3 as BIGINT. A
# Date64 is written likewise.
#
# What follows for us: the retrieval plugin writes both as milliseconds (plugins/retrieval/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q datafusion==55.0.0 pyarrow==26.0.0 duckdb==1.5.3
venv/bin/python - <<'PY'
import glob

import datafusion
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

context = datafusion.SessionContext()
for i, sql in enumerate(("to_timestamp_seconds(0)", "arrow_cast(0, 'Date64')")):
    context.sql(f"select {sql} as t").write_parquet(f"out{i}")
    (file,) = glob.glob(f"out{i}/*.parquet")
    seen = (str(pq.read_table(file).schema.field("t").type), duckdb.sql(f"select typeof(t) from '{file}'").fetchone()[0])
    if seen != ("int64", "BIGINT"):
        raise SystemExit(f"CHANGED: {sql} is read as {seen}")
    print(f"seen: pyarrow and DuckDB read {sql} as {seen[0]} and {seen[1]}")
pq.write_table(pa.table({"t": pa.array([0], pa.timestamp("s"))}), "arrow.parquet")
seen = str(pq.read_table("arrow.parquet").schema.field("t").type)
if seen != "timestamp[ms]":
    raise SystemExit(f"CHANGED: pyarrow reads its own timestamp in seconds as {seen}")
print(f"seen: pyarrow reads its own timestamp in seconds as {seen}")
PY
