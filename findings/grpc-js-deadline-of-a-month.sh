#!/usr/bin/env bash
# A call with a deadline in a month is over at once, at a server in grpc-js.
#
# Expected: a call whose caller waits for 30 days is answered, as one is whose caller waits for 20.
# Seen (@grpc/grpc-js 1.14.7, client and server; Node.js 20): the server counts the time that is left in milliseconds as a signed number
# of 32 bits, which ends at 24.8 days. From there to 49.7 days the deadline is in the past: the call ends with DEADLINE_EXCEEDED before
# it is answered. Beyond, the count begins again: 50 days are taken for seven hours.
#
# What follows for us: nothing for Flyte, whose calls have seconds. A tool that calls plugins in TypeScript by itself, and wants to wait
# for ever, leaves the deadline out.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-fund --no-audit @grpc/grpc-js@1.14.7 >/dev/null
cat >finding.mjs <<'JS'
import assert from "node:assert";
import grpc from "@grpc/grpc-js";

const same = (bytes) => bytes;
const wait = {
  path: "/finding.Finding/Wait", requestStream: false, responseStream: false,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
};
const day = 24 * 60 * 60 * 1000;
let left;
const server = new grpc.Server();
server.addService({ wait }, {
  wait(call, answer) {
    left = (call.getDeadline() - Date.now()) / day;
    setTimeout(() => answer(null, Buffer.from("done")), 100);
  },
});
const port = await new Promise((resolve, reject) =>
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))));
const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());

const seen = {};
for (const days of [20, 24, 25, 30, 49, 50]) {
  seen[days] = await new Promise((resolve) =>
    client.makeUnaryRequest(wait.path, same, same, Buffer.alloc(0), { deadline: Date.now() + days * day }, (error) =>
      resolve(error ? grpc.status[error.code] : "OK")));
  console.log(`a deadline in ${days} days: ${seen[days]}; the server sees ${left.toFixed(1)} days`);
}
assert.deepEqual(seen, { 20: "OK", 24: "OK", 25: "DEADLINE_EXCEEDED", 30: "DEADLINE_EXCEEDED", 49: "DEADLINE_EXCEEDED", 50: "OK" }, "CHANGED");
assert.ok(left < 1, "CHANGED: 50 days are taken for what they are");
client.close();
server.forceShutdown();
JS
node finding.mjs
