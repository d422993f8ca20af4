#!/usr/bin/env bash
# A parquet file with a NULL among DuckDB's fixed-size arrays can be read by DuckDB alone.
#
# Expected: [1, 2], NULL and [3, 4] of an INTEGER[2], written by DuckDB to parquet, are read by pyarrow as these.
# Seen (duckdb 1.5.3 and 2.0.1, pyarrow 26.0.0): DuckDB reads them, pyarrow refuses the file ("Length spanned by list offsets (5) larger
# than values array (length 4)"). Without the NULL, and as an INTEGER[], the file is read.
#
# What follows for us: the DuckDB plugin writes an ARRAY to parquet as a LIST (docs/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > finding.py <<'PY'
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


def read(kind, *values):
    rows = ", ".join(f"({value}::INTEGER{kind})" for value in values)
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {rows}) t(a)) TO 'a.parquet'")
    own = [row[0] and list(row[0]) for row in duckdb.sql("FROM 'a.parquet'").fetchall()]
    try:
        return own, pq.read_table("a.parquet")["a"].to_pylist()
    except pa.ArrowInvalid as error:
        return own, f"refused: {error}"


values = [[1, 2], None, [3, 4]]
arrays = read("[2]", "[1, 2]", "NULL", "[3, 4]")
lists = read("[]", "[1, 2]", "NULL", "[3, 4]")
whole = read("[2]", "[1, 2]", "[3, 4]")
print(f"duckdb {duckdb.__version__}, pyarrow {pa.__version__}")
print(f"INTEGER[2]: by duckdb {arrays[0]}, by pyarrow {arrays[1]}")
print(f"INTEGER[]:  by duckdb {lists[0]}, by pyarrow {lists[1]}")
assert lists == (values, values) and whole == ([[1, 2], [3, 4]],) * 2
assert arrays[0] == values and str(arrays[1]).startswith("refused: Length spanned by list offsets"), "CHANGED"
PY
for version in 1.5.3 2.0.1; do
  python3 -m venv "venv-$version"
  "venv-$version/bin/pip" install -q "duckdb==$version" pyarrow==26.0.0
  "venv-$version/bin/python" finding.py
done
