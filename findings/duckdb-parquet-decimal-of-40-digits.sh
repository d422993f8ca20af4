#!/usr/bin/env bash
# DuckDB 1.5.3 reads other numbers from parquet's DECIMALs of more than 38 digits.
#
# Expected: 1.10 in a DECIMAL(40, 2), as pyarrow 26.0.0 writes it, is read as 1.1, as DOUBLE at worst, or refused.
# Seen (duckdb 1.5.3): a DOUBLE of 7.9e16. duckdb 2.0.1 reads the DOUBLE 1.1.
#
# What follows for us: the DuckDB plugin, whose duckdb-go has 1.5.3, refuses such files by name (plugins/duckdb/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q pyarrow==26.0.0
cat > read.py <<'PY'
import decimal
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

pq.write_table(pa.table({"d": pa.array([decimal.Decimal("1.10")], pa.decimal256(40, 2))}), "d.parquet")
seen = duckdb.sql("select d from 'd.parquet'").fetchall()[0][0]
if not float(sys.argv[1]) * 0.99 < seen < float(sys.argv[1]) * 1.01:
    raise SystemExit(f"CHANGED: DuckDB {duckdb.__version__} reads 1.10 as {seen}")
print(f"seen: DuckDB {duckdb.__version__} reads 1.10 as {seen}")
PY
venv/bin/pip install -q duckdb==1.5.3 && venv/bin/python read.py 7.926e16
venv/bin/pip install -q duckdb==2.0.1 && venv/bin/python read.py 1.1
