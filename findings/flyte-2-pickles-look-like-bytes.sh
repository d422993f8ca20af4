#!/usr/bin/env bash
# What Flyte 2 pickles, bytes among it, is the literal of other bytes.
#
# Expected: b"\x00\xff" is a binary literal of these two bytes, as Flyte's types have it, or one whose tag says what is in it, as the tag of
# a dataclass says msgpack.
# Seen (flyte 2.12.1): the binary has a pickle of 17 bytes and no tag; likewise a Decimal, a set, a time, Any, and Literal["a"], up to
# 10 KiB. That it is a pickle stands in the declared type alone. flytekit 1.16.31 has a file of format PythonPickle for such values, and
# a text for Literal["a"].
#
# What follows for us: the host tags such inputs of Flyte 2's tasks, so that no agent takes the pickle for the value (G12).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flyte==2.12.1
cat > finding.py <<'PY'
import asyncio
import decimal
import pickle
import typing

import flytekit
from flyte.types import TypeEngine as Flyte
from flytekit.core.type_engine import TypeEngine as Flytekit

for python_type, value in ((bytes, b"\x00\xff"), (decimal.Decimal, decimal.Decimal("1.10")), (typing.Literal["a"], "a")):
    declared = Flyte.to_literal_type(python_type)
    binary = asyncio.run(Flyte.to_literal(value, python_type, declared)).scalar.binary
    variants = [variant.structure.tag for variant in declared.union_type.variants]
    print(f"{python_type}: {len(binary.value)} bytes, tag {binary.tag!r}, of a union of {variants}")
    assert pickle.loads(binary.value) == value and not binary.tag and variants == ["FlytePickle"] * 2, "CHANGED"

context = flytekit.FlyteContextManager.current_context()
declared = Flytekit.to_literal_type(bytes)
scalar = Flytekit.to_literal(context, b"\x00\xff", bytes, declared).to_flyte_idl().scalar
print(f"flytekit, {bytes}: a file of format {scalar.blob.metadata.type.format}")
assert scalar.blob.metadata.type.format == "PythonPickle", "CHANGED"
PY
venv/bin/python finding.py 2>/dev/null
