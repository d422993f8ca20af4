// An agents' thread: what the plugin's main thread asks of it. Both ends of the conversation are in this folder; the other is
// threads.ts.
import { parentPort, workerData } from "node:worker_threads";
import { type Answers, Batches, type Calls } from "./batch.js";
import { type CallInfo, LocalRunner, type Method } from "./calls.js";
import { CallError, Code, reasonOf } from "./errors.js";
import { log, takeOverPrints } from "./log.js";
import type { Plugin } from "./plugin.js";

/** What the main thread says. */
export type Asked =
  | { is: "call"; id: number; agent: number; method: Method; request: Uint8Array; info: CallInfo }
  | { is: "calls"; calls: Calls }
  | { is: "gone"; id: number }
  | { is: "configure"; id: number; block: string }
  | { is: "close"; id: number }
  | { is: "metrics"; id: number }
  | { is: "ping"; id: number }
  | { is: "drain" };

/** What the agents' thread says. */
export type Said =
  | { is: "ready" }
  | { is: "part"; id: number; part: Uint8Array }
  | { is: "answers"; answers: Answers }
  | { is: "answer"; id: number; answer: unknown }
  | { is: "error"; id: number; code: Code; message: string };

/** Calls the agents of this thread for as long as it lives. */
export function attend(plugin: Plugin): void {
  const port = parentPort;
  if (!port) throw new Error("this is no thread of a plugin");
  takeOverPrints();
  // A promise that nobody awaits, or a client's event that nobody handles, is no reason to lose the jobs under way.
  for (const event of ["unhandledRejection", "uncaughtException"] as const) {
    process.on(event, (error: unknown) => log.error("nobody has handled an error", { error, event }));
  }
  const runner = new LocalRunner(plugin, (workerData as { agenthost: number[] }).agenthost);
  const calls = new Map<number, AbortController>();
  const say = (said: Said) => port.postMessage(said);
  const batches = new Batches(runner, (answers) => say({ is: "answers", answers }));
  const reply = async (id: number, work: () => Promise<unknown>) => {
    try {
      say({ is: "answer", id, answer: await work() });
    } catch (error) {
      const code = error instanceof CallError ? error.code : Code.INTERNAL;
      say({ is: "error", id, code, message: reasonOf(error) });
    } finally {
      calls.delete(id);
    }
  };
  port.on("message", (asked: Asked) => {
    switch (asked.is) {
      case "call": {
        const { id, agent, method, request, info } = asked;
        const gone = new AbortController();
        calls.set(id, gone);
        return void reply(id, () =>
          runner.make(agent, method, request, { ...info, signal: gone.signal }, (part) => say({ is: "part", id, part })),
        );
      }
      case "calls":
        return batches.begin(asked.calls);
      case "gone":
        calls.get(asked.id)?.abort();
        return batches.gone(asked.id);
      case "configure":
        return void reply(asked.id, () => runner.configure(asked.block));
      case "close":
        return void reply(asked.id, () => runner.close());
      case "metrics":
        return void reply(asked.id, () => runner.metrics());
      case "ping":
        return void reply(asked.id, async () => undefined);
      case "drain":
        return runner.drain();
    }
  });
  say({ is: "ready" });
}
