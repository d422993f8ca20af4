#!/usr/bin/env bash
# A whole number that JavaScript has as a BigInt is 0 for Flyte, by way of Flyte's own package for JavaScript.
#
# Expected: the integer 9007199254740993n in a Literal, for which the message has 64 bits, arrives as that, or create or encode refuses it.
# Seen (@flyteorg/flyteidl 1.16.5, with protobufjs 7.5.4 and 8.8.1): 0 arrives, for any BigInt, and 1 for 1.5. Only verify, which nothing
# calls by itself, says "integer|Long expected". Texts and protobufjs' Longs arrive as they are.
#
# What follows for us: the SDK for TypeScript is built on @bufbuild/protobuf, whose 64 bits are BigInts; its plugins need none of this
# package. Who uses it without the SDK calls verify, and passes whole numbers as Long.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > finding.cjs <<'JS'
const assert = require("node:assert");
const { flyteidl } = require("@flyteorg/flyteidl/gen/pb-js/flyteidl.js");
const { Primitive } = flyteidl.core;

const arrives = (integer) => String(Primitive.decode(Primitive.encode(Primitive.create({ integer })).finish()).integer);
const seen = [9007199254740993n, 5n, 1.5, "9007199254740993", 5].map((value) => [value, arrives(value), Primitive.verify({ integer: value })]);
console.log("protobufjs", require("protobufjs/package.json").version);
for (const [value, arrived, verified] of seen) console.log(`  ${typeof value} ${value} arrives as ${arrived}; verify: ${verified ?? "is content"}`);
assert.deepEqual(seen.map(([, arrived]) => arrived), ["0", "0", "1", "9007199254740993", "5"], "CHANGED");
JS
for protobufjs in 7.5.4 8.8.1; do
  npm install --silent --no-fund --no-audit @flyteorg/flyteidl@1.16.5 "protobufjs@$protobufjs" >/dev/null
  node finding.cjs
done
