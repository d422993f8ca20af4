#!/usr/bin/env bash
# The quantiles of a summary are added up, where a Node.js program has its metrics of several workers aggregated.
#
# Expected: four workers, each of whose calls take one second, have a median of one second together; or none is given, since quantiles
# cannot be put together.
# Seen (prom-client 15.1.3, AggregatorRegistry.aggregate): the median is four seconds. What a program says of itself is counted once for
# each worker, too, where these are threads: process_resident_memory_bytes of two threads is twice the process's memory.
#
# What follows for us: the SDK for TypeScript, whose agents have a thread each, leaves the quantiles out where several threads have a
# summary, and says process_… of one thread.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-fund --no-audit prom-client@15.1.3 >/dev/null
cat >finding.mjs <<'JS'
import assert from "node:assert";
import { AggregatorRegistry, collectDefaultMetrics, Registry, Summary } from "prom-client";

async function worker() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const summary = new Summary({ name: "call_seconds", help: "of calls", percentiles: [0.5], registers: [registry] });
  for (let call = 0; call < 100; call++) summary.observe(1);
  return registry.getMetricsAsJSON();
}

const valueOf = (text, series) => Number(text.split("\n").find((line) => line.startsWith(series + " ")).split(" ")[1]);
const together = await AggregatorRegistry.aggregate([await worker(), await worker(), await worker(), await worker()]).metrics();
const median = valueOf(together, 'call_seconds{quantile="0.5"}');
const memory = valueOf(together, "process_resident_memory_bytes") / process.memoryUsage.rss();
console.log(`four workers, whose calls take 1 s each: the median is ${median} s, of ${valueOf(together, "call_seconds_count")} calls`);
console.log(`the process's memory, said by four threads of it: ${memory.toFixed(1)} times what it has`);
assert.equal(median, 4, "CHANGED");
assert.ok(memory > 3, "CHANGED");
JS
node finding.mjs
