// The threads that agents run in, seen from the plugin's main thread, which serves, and which no agent can block.
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { apart, together } from "./batch.js";
import type { CallInfo, Method, OneOfMany, Runner } from "./calls.js";
import type { ConfigError } from "./config.js";
import { CallError, Code, LoadError, reasonOf } from "./errors.js";
import { log } from "./log.js";
import type { Counted } from "./metrics.js";
import type { Plugin } from "./plugin.js";
import type { Asked, Said } from "./thread.js";

/** How often a thread with calls under way is asked whether it still lives, in ms. */
const PING = 1_000;
/** How long a thread's metrics are waited for, in ms: the host waits for a second. */
const METRICS = 700;
/** When one that has not answered is said to be blocked, in ms. */
const BLOCKED = 3_000;

/** Runs each agent in a thread of its own, or with those that it shares one with. */
export class Threads implements Runner {
  readonly #threads: AgentThread[];
  readonly #byAgent: AgentThread[];

  private constructor(plugin: Plugin, program: string) {
    const byName = new Map<string, number[]>();
    plugin.agents.forEach((agent, number) => {
      const name = agent.options.thread ? `shared ${agent.options.thread}` : `agent ${number}`;
      byName.set(name, [...(byName.get(name) ?? []), number]);
    });
    this.#byAgent = [];
    this.#threads = [...byName.values()].map((numbers) => {
      const names = numbers.map((number) => plugin.agents[number]?.name ?? "");
      const thread = new AgentThread(program, numbers, names.join(", "));
      for (const number of numbers) this.#byAgent[number] = thread;
      return thread;
    });
  }

  /** Begins the threads, each of which loads the program. Rejects where one cannot. */
  static async begin(plugin: Plugin, program: string): Promise<Threads> {
    const threads = new Threads(plugin, program);
    await Promise.all(threads.#threads.map((thread) => thread.ready()));
    return threads;
  }

  async call(
    agent: number,
    method: Method,
    request: Uint8Array,
    info: CallInfo,
    signal: AbortSignal,
    part?: (part: Uint8Array) => void,
  ): Promise<Uint8Array> {
    const thread = this.#byAgent[agent] as AgentThread;
    const plain = new Uint8Array(request); // a Buffer may share its memory with others
    const call = (id: number): Asked => ({ is: "call", id, agent, method, request: plain, info });
    return (await thread.ask(call, method, signal, part)) as Uint8Array;
  }

  callMany(calls: readonly OneOfMany[]): void {
    const byThread = new Map<AgentThread, OneOfMany[]>();
    for (const call of calls) {
      const thread = this.#byAgent[call.agent] as AgentThread;
      const others = byThread.get(thread);
      if (others) others.push(call);
      else byThread.set(thread, [call]);
    }
    for (const [thread, own] of byThread) void thread.askMany(own);
  }

  gone(call: OneOfMany): void {
    this.#byAgent[call.agent]?.gone(call).catch(() => {}); // the call has heard why
  }

  async configure(block: string): Promise<ConfigError[]> {
    const found = await Promise.all(this.#threads.map((thread) => thread.configure(block)));
    // Each thread says the same of the same block, unless what it tried was there for one and not for another.
    const errors = new Map(found.flat().map((error) => [JSON.stringify(error), error]));
    return [...errors.values()];
  }

  drain(): void {
    for (const thread of this.#threads) thread.tell({ is: "drain" });
  }

  async metrics(): Promise<Counted[]> {
    return (await Promise.all(this.#threads.map((thread) => thread.metrics()))).flat();
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.ask((id) => ({ is: "close", id }), "close")));
  }

  /** Ends the threads, whatever they do. Resolves to whether they have ended within a time in ms. */
  async terminate(limit: number): Promise<boolean> {
    const ended = Promise.all(this.#threads.map((thread) => thread.terminate())).then(() => true);
    return Promise.race([ended, new Promise<boolean>((resolve) => setTimeout(resolve, limit, false).unref())]);
  }
}

interface Pending {
  readonly what: string;
  resolve(answer: unknown): void;
  reject(error: Error): void;
  part?: (part: Uint8Array) => void;
}

/** One thread. Where it ends, whoever ended it, its calls fail, and another takes its place. */
class AgentThread {
  #worker!: Worker;
  #ready!: Promise<void>;
  #pending = new Map<number, Pending | OneOfMany>();
  #next = 0;
  #block?: string;
  #ending = false;
  #answered = Date.now();
  #saidBlocked = false;
  #counted: Counted[] = [];
  #counting?: Promise<void>;

  constructor(
    private readonly program: string,
    private readonly numbers: readonly number[],
    private readonly agents: string,
  ) {
    this.#begin();
    setInterval(() => this.#watch(), PING).unref();
  }

  ready(): Promise<void> {
    return this.#ready;
  }

  tell(asked: Asked): void {
    this.#worker.postMessage(asked);
  }

  async ask(asked: (id: number) => Asked, what: string, signal?: AbortSignal, part?: (part: Uint8Array) => void): Promise<unknown> {
    await this.#ready;
    const id = this.#next++;
    const gone = () => this.tell({ is: "gone", id });
    try {
      return await new Promise((resolve, reject) => {
        this.#wait(id, { what, resolve, reject, part });
        this.tell(asked(id));
        signal?.addEventListener("abort", gone, { once: true });
      });
    } finally {
      signal?.removeEventListener("abort", gone);
    }
  }

  /** Hands calls over in one message. */
  async askMany(calls: readonly OneOfMany[]): Promise<void> {
    try {
      await this.#ready;
    } catch (error) {
      for (const call of calls) call.reject(error as Error);
      return;
    }
    for (const call of calls) {
      call.number = this.#next++;
      this.#wait(call.number, call);
    }
    this.tell({ is: "calls", calls: together(calls) });
  }

  async gone(call: OneOfMany): Promise<void> {
    await this.#ready; // by then it is handed over
    this.tell({ is: "gone", id: call.number });
  }

  #wait(id: number, pending: Pending | OneOfMany): void {
    if (this.#pending.size === 0) this.#answered = Date.now();
    this.#pending.set(id, pending);
  }

  async configure(block: string): Promise<ConfigError[]> {
    const errors = (await this.ask((id) => ({ is: "configure", id, block }), "configure")) as ConfigError[];
    if (errors.length === 0) this.#block = block;
    return errors;
  }

  /** What the thread has counted; where it is blocked, what it had when it answered last: a counter never falls. */
  async metrics(): Promise<Counted[]> {
    this.#counting ??= this.ask((id) => ({ is: "metrics", id }), "metrics")
      .then(
        (counted) => {
          this.#counted = counted as Counted[];
        },
        () => {}, // that the thread has ended is told already
      )
      .finally(() => {
        this.#counting = undefined;
      });
    await Promise.race([this.#counting, sleep(METRICS, undefined, { ref: false })]);
    return this.#counted;
  }

  terminate(): Promise<unknown> {
    this.#ending = true;
    return this.#worker.terminate();
  }

  #begin(): void {
    const worker = new Worker(this.program, {
      workerData: { agenthost: this.numbers },
      argv: process.argv.slice(2),
      execArgv: [...process.execArgv, "--enable-source-maps"], // errors name the lines that the author wrote
    });
    this.#worker = worker;
    this.#answered = Date.now();
    let loaded = false;
    let why: unknown = "it ended without a call of serve";
    this.#ready = new Promise((resolve, reject) => {
      worker.on("message", (said: Said) => {
        if (said.is !== "ready") return this.#hear(said);
        loaded = true;
        resolve();
      });
      worker.on("error", (error) => {
        why = error;
      });
      worker.on("exit", (code) => {
        if (loaded) this.#ended(code, why);
        else reject(new LoadError(`the program ${this.program} cannot be loaded for the agents ${this.agents}: ${reasonOf(why)}`));
      });
    });
    this.#ready.catch(() => {}); // told to whoever asks next
  }

  #hear(said: Exclude<Said, { is: "ready" }>): void {
    this.#answered = Date.now();
    this.#saidBlocked = false;
    if (said.is === "answers") {
      return apart(said.answers, (id, bytes, start, stop) => {
        const call = this.#pending.get(id) as OneOfMany | undefined;
        this.#pending.delete(id);
        call?.answered(bytes, start, stop);
      });
    }
    const pending = this.#pending.get(said.id) as Pending | undefined;
    if (!pending) return;
    if (said.is === "part") return pending.part?.(said.part);
    this.#pending.delete(said.id);
    if (said.is === "answer") pending.resolve(said.answer);
    else pending.reject(new CallError(said.code, said.message));
  }

  /** An agent has called process.exit, or what it needs of memory is not there. The other agents do not notice. */
  #ended(code: number, why: unknown): void {
    if (this.#ending) return;
    const reason = why instanceof Error ? why.message : `process.exit(${code}) was called, and no call must ever end the process`;
    log.error("an agent's thread has ended", { agents: this.agents, reason });
    for (const [id, pending] of this.#pending) {
      this.#pending.delete(id);
      pending.reject(new CallError(Code.INTERNAL, `agent ${this.agents}: ${pending.what}: its thread has ended: ${reason}`));
    }
    this.#begin();
    const loaded = this.#ready;
    const block = this.#block;
    this.#ready = loaded.then(async () => {
      if (block === undefined) return;
      const id = this.#next++;
      const errors = await new Promise((resolve, reject) => {
        this.#pending.set(id, { what: "configure", resolve, reject });
        this.tell({ is: "configure", id, block });
      });
      if ((errors as ConfigError[]).length > 0) throw new CallError(Code.INTERNAL, JSON.stringify(errors));
    });
    this.#ready.catch((error) => log.error("an agent's thread does not begin again", { agents: this.agents, error }));
  }

  #watch(): void {
    if (this.#pending.size === 0) return;
    if (!this.#saidBlocked && Date.now() - this.#answered > BLOCKED) {
      this.#saidBlocked = true;
      const calls = [...this.#pending.values()].filter(({ what }) => what !== "ping").map(({ what }) => what);
      log.warn("an agent blocks its thread: its other calls wait", { agents: this.agents, calls: [...new Set(calls)] });
    }
    const pinged = [...this.#pending.values()].some(({ what }) => what === "ping");
    if (pinged) return;
    const id = this.#next++;
    this.#pending.set(id, { what: "ping", resolve: () => {}, reject: () => {} });
    this.tell({ is: "ping", id });
  }
}
