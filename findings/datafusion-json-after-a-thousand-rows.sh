#!/usr/bin/env bash
# DataFusion cuts a number of JSON lines that comes after those by which it has found the type.
#
# Expected: of 1,500 lines {"a":1} and one {"a":2.5}, either the sum is 1502.5, or the query fails because 2.5 is no BIGINT.
# Seen (datafusion 55.0.0): the types are those of the first 1,000 lines, and the sum is 1502: 2.5 was read as 2.
#
# What follows for us: the retrieval plugin looks at all lines before it says what a column is (plugins/retrieval/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q datafusion==55.0.0 pyarrow==26.0.0
venv/bin/python - <<'PY'
import datafusion

with open("lines.json", "w") as file:
    file.write('{"a":1}\n' * 1500 + '{"a":2.5}\n')
context = datafusion.SessionContext()
context.register_json("lines", "lines.json")
seen = context.sql("select sum(a) as s from lines").to_pydict()["s"]
if seen != [1502]:
    raise SystemExit(f"CHANGED: the sum is {seen}")
print("seen: the sum of 1,500 times 1 and once 2.5 is 1502")
PY
