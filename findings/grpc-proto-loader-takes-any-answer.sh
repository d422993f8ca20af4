#!/usr/bin/env bash
# An agent in JavaScript that misspells a phase answers UNDEFINED, and one that misspells a field leaves it out, without an error.
#
# Expected: where @grpc/proto-loader makes an answer of an object, a name that the message or the enumeration does not have is an error, as
# is a text where a number belongs.
# Seen (@grpc/proto-loader 0.8.1, protobufjs 7.6.6): phase "SUCCEDED" is UNDEFINED, which FlytePropeller takes for a failure to be tried
# again. resourceMeta beside keepCase is no resource_meta, so that the job is lost with its creation. An integer of "none" or 1.5 is 0
# and 1, and a boolean "false" is true. Only a text that is no base64 for bytes, and no list for a list, are errors.
#
# What follows for us: `agenthost verify` fails a plugin whose sample task is answered so, docs/javascript says it, and the SDK for
# TypeScript has types and checks what agents answer.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
npm install --silent --no-fund --no-audit @grpc/proto-loader@0.8.1 protobufjs@7.6.6 >/dev/null
cat >agent.proto <<'PROTO'
syntax = "proto3";
package finding;

enum Phase {
  UNDEFINED = 0;
  SUCCEEDED = 3;
}
message Answer {
  bytes resource_meta = 1;
  Phase phase = 2;
  int64 integer = 3;
  bool boolean = 4;
}
service Agent {
  rpc Call(Answer) returns (Answer);
}
PROTO
cat >finding.mjs <<'JS'
import assert from "node:assert";
import { loadSync } from "@grpc/proto-loader";

const { Call } = loadSync("agent.proto", { keepCase: true, enums: String, longs: String, defaults: true })["finding.Agent"];
const read = (answer) => Call.responseDeserialize(Call.responseSerialize(answer));
const seen = [
  [{ phase: "SUCCEDED" }, "phase", "UNDEFINED"],
  [{ resourceMeta: Buffer.from("job-7") }, "resource_meta", Buffer.alloc(0)],
  [{ integer: "none" }, "integer", "0"],
  [{ integer: 1.5 }, "integer", "1"],
  [{ boolean: "false" }, "boolean", true],
];
for (const [answer, field, value] of seen) {
  const found = read(answer)[field];
  console.log(`${JSON.stringify(answer)} has ${field} ${JSON.stringify(found)}`);
  assert.deepEqual(found, value, "CHANGED");
}
JS
node finding.mjs
