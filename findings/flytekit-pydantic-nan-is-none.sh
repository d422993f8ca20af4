#!/usr/bin/env bash
# Floats that are no numbers are lost in pydantic models, in Flyte 1 and in Flyte 2.
#
# Expected: nan, inf and -inf are in a model what they are in a dataclass, and in a plain float: themselves.
# Seen (flytekit 1.16.31, flyte 2.12.1, pydantic 2.14.4): both write a model as JSON, which has no such numbers, and read that again: msgpack
# has nil in their place. An Optional[float] comes back as None, without a word; a float cannot be read at all.
#
# What follows for us: an agent that gets a model sees null where the task had nan or infinity, and cannot know. docs/compatibility.md says
# so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flyte==2.12.1 pydantic==2.14.4
cat > finding.py <<'PY'
import asyncio
import dataclasses
import math
from typing import Optional

import flytekit
import msgpack
import pydantic
from flyte.types import TypeEngine as Flyte
from flytekit.core.type_engine import TypeEngine as Flytekit


@dataclasses.dataclass
class Record:
    mean: Optional[float]


class Model(pydantic.BaseModel):
    mean: Optional[float]


class Strict(pydantic.BaseModel):
    mean: float


def by_flytekit(value):
    context, kind = flytekit.FlyteContextManager.current_context(), type(value)
    literal = Flytekit.to_literal(context, value, kind, Flytekit.to_literal_type(kind))
    return msgpack.unpackb(literal.scalar.binary.value)["mean"], lambda: Flytekit.to_python_value(context, literal, kind).mean


def by_flyte(value):
    kind = type(value)
    literal = asyncio.run(Flyte.to_literal(value, kind, Flyte.to_literal_type(kind)))
    return msgpack.unpackb(literal.scalar.binary.value)["mean"], lambda: asyncio.run(Flyte.to_python_value(literal, kind)).mean


for name, through in (("flytekit", by_flytekit), ("flyte", by_flyte)):
    for value in (math.nan, math.inf, -math.inf):
        written, read = through(Record(value))
        assert repr(written) == repr(read()) == repr(value), f"CHANGED: a dataclass is written with {written}"
        written, read = through(Model(mean=value))
        assert written is None and read() is None, f"CHANGED: a model is written with {written}"
        written, read = through(Strict(mean=value))
        try:
            raise SystemExit(f"CHANGED: it is read as {read()}")
        except pydantic.ValidationError:
            print(f"{name}: {value} is {value} in a dataclass, None in a model's Optional[float], and what cannot be read in its float")
PY
venv/bin/python finding.py
