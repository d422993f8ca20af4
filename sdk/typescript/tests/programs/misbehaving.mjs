// Agents that do to their thread what their task says, beside one that is well.
import { execFileSync } from "node:child_process";
import { asyncAgent, log, Plugin, replaced, running, Secret, succeeded, syncAgent } from "agenthost";
import prometheus from "prom-client";
import { z } from "zod";

prometheus.collectDefaultMetrics();
const calls = new prometheus.Counter({ name: "calls_total", help: "of either agent" });
const seconds = new prometheus.Summary({ name: "call_seconds", help: "that a call takes" });

const acts = {
  loop: () => {
    for (;;);
  },
  sleep: () => execFileSync("sleep", ["60"]),
  exit: () => process.exit(3),
  detached: () => void Promise.reject(new Error("nobody awaits this")),
  later: () =>
    setImmediate(() => {
      throw new Error("nobody catches this");
    }),
  print: () => {
    console.log("printed with %s", "console");
    process.stdout.write("written to stdout\n");
    log.info("logged", { secret: new Secret("hush"), big: 2n ** 60n, error: new Error("within") });
  },
};

const bad = syncAgent({
  taskType: "bad",
  execute(task) {
    calls.inc();
    seconds.observe(1);
    acts[task.input("do", z.string())]();
    return succeeded({ did: config });
  },
});

const good = syncAgent({
  taskType: "good",
  execute() {
    calls.inc();
    seconds.observe(1);
    return succeeded({ fine: true });
  },
});

const kept = {
  date: () => ({ value: new Date(0) }),
  function: () => ({ value: () => {} }),
  nothing: () => undefined,
  plain: () => ({ value: 1 }),
};

const keeping = asyncAgent({
  taskType: "keeping",
  meta: z.object({ value: z.any() }),
  create: (task) => kept[task.input("keep", z.string())](),
  get: () => running(),
  delete: () => {},
});

const stuck = asyncAgent({
  taskType: "stuck",
  meta: z.string(),
  create: (task) => task.input("do", z.string()),
  get: ({ meta }) => acts[meta](),
  delete: () => {},
});

let config = "unconfigured";
new Plugin("misbehaving", "1", [bad, good, keeping, stuck])
  .configure(z.object({ name: z.string().default("default") }), ({ name }) => {
    config = name;
    replaced().addEventListener("abort", () => log.info("hand over"));
  })
  .metrics(prometheus.register)
  .serve();
