#!/usr/bin/env bash
# DataFusion's sum of BIGINTs wraps around without an error.
#
# Expected: the sum of 9223372036854775807 and 1 is an error, as in PostgreSQL and DuckDB, or a wider number.
# Seen (datafusion 55.0.0): -9223372036854775808. `+`, `-` and `*` wrap as well; avg does not, since it adds floats.
#
# What follows for us: the retrieval plugin adds up by wider numbers, and fails a task whose result does not fit
# (plugins/retrieval/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q datafusion==55.0.0 pyarrow==26.0.0
"$work/venv/bin/python" - <<'PY'
import datafusion

context = datafusion.SessionContext()
for sql in ("select sum(x) from (values (9223372036854775807), (1)) t(x)", "select x + 1 from (values (9223372036854775807)) t(x)"):
    (values,) = context.sql(sql).to_pydict().values()
    if values != [-9223372036854775808]:
        raise SystemExit(f"CHANGED: {sql} is {values}")
    print(f"seen: {sql} is {values[0]}")
PY
