#!/usr/bin/env bash
# An enumeration's member is its value in Flyte 1, and its name in Flyte 2.
#
# Expected: Color.RED = "red", an input of one task in either Flyte, is the same literal, of the same type.
# Seen (flytekit 1.16.31, flyte 2.12.1): flytekit writes "red", of an enumeration of red and blue; flyte writes "RED", of RED and BLUE. Neither
# reads the other's. Within flyte a member of a dataclass is "red", and one of a pydantic model "RED".
#
# What follows for us: agents get the text that Flyte has: a query's parameter is 'red' or 'RED' by the Flyte that asks. docs/types.md says
# so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flyte==2.12.1
cat > finding.py <<'PY'
import asyncio
import dataclasses
import enum

import flytekit
import msgpack
import pydantic
from flyte.types import TypeEngine as Flyte
from flytekit.core.type_engine import TypeEngine as Flytekit


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Paint:
    color: Color


class Coat(pydantic.BaseModel):
    color: Color


def by_flytekit(value):
    declared = Flytekit.to_literal_type(type(value))
    context = flytekit.FlyteContextManager.current_context()
    return declared.to_flyte_idl(), Flytekit.to_literal(context, value, type(value), declared).to_flyte_idl()


def by_flyte(value):
    declared = Flyte.to_literal_type(type(value))
    return declared, asyncio.run(Flyte.to_literal(value, type(value), declared))


seen = {}
for name, write in (("flytekit", by_flytekit), ("flyte", by_flyte)):
    declared, literal = write(Color.RED)
    within = [msgpack.unpackb(write(value)[1].scalar.binary.value)["color"] for value in (Paint(Color.RED), Coat(color=Color.RED))]
    seen[name] = [literal.scalar.primitive.string_value, *declared.enum_type.values, *within]
    print(f"{name}: {seen[name][0]} of {seen[name][1:3]}; in a dataclass {within[0]}, in a pydantic model {within[1]}")
assert seen == {"flytekit": ["red", "red", "blue", "red", "red"], "flyte": ["RED", "RED", "BLUE", "red", "RED"]}, "CHANGED"
PY
venv/bin/python finding.py
