// A plugin: some agents in one program.
import { isMainThread, workerData } from "node:worker_threads";
import type { z } from "zod";
import { type Agent, AsyncAgent, type Awaitable } from "./agents.js";
import { type ConfigError, Configuration } from "./config.js";
import { CallError, FailedPrecondition, LoadError, reasonOf } from "./errors.js";
import { version as sdkVersion } from "./gen/version.js";
import { log } from "./log.js";
import type { Counted } from "./metrics.js";

/** What a plugin promises for one of its task categories. */
interface CategoryCapabilities {
  name: string;
  version: number;
  capabilities: string[];
}

/** @internal What a plugin says of itself. */
export interface Description {
  name: string;
  version: string;
  sdk: { name: string; version: string; language: string };
  capabilities: string[];
  categoryCapabilities: CategoryCapabilities[];
  configSchema: string;
}

/** What is called with the configuration. What it returns may be a list of what is wrong with it. */
// biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing has accepted it
export type Configure<C> = (config: C) => Awaitable<readonly ConfigError[] | void>;

/** A registry of the package prom-client, such as its `register`. */
export interface MetricsRegistry {
  getMetricsAsJSON(): Promise<unknown[]>;
}

/** Some agents, and what the host is told of them: `new Plugin("warehouse", "1.0.0", [warehouse]).serve()`. */
export class Plugin {
  #configuration?: { type: Configuration<z.ZodType>; apply: Configure<unknown> };

  #registry?: MetricsRegistry;

  constructor(
    readonly name: string,
    readonly version: string,
    readonly agents: readonly Agent[],
  ) {}

  /**
   * Takes a configuration, the plugin's `config:` block in the host's file, by a schema.
   *
   * Wrong keys and values are reported by key, all at once, before the function is called. What the function throws is an error of the
   * configuration as a whole. Tasks are refused until the configuration has come. The function is called once in the thread of each
   * agent, and may make the clients that the agent uses.
   */
  configure<S extends z.ZodType>(schema: S, apply: Configure<z.output<S>>): this {
    if (this.#configuration) throw new LoadError(`plugin ${this.name} has two configurations: a plugin takes one`);
    this.#configuration = { type: new Configuration<z.ZodType>(schema), apply: apply as Configure<unknown> };
    return this;
  }

  /**
   * Has metrics of the plugin's own come out at the host's /metrics: rows_total of a plugin "duckdb" as
   * plugin_rows_total{plugin="duckdb",…}. Those of all threads are added up, or put together as their `aggregator` says. Quantiles of a
   * summary cannot be: they are left out where several threads have them, so that a histogram is the better choice.
   */
  metrics(registry: MetricsRegistry): this {
    this.#registry = registry;
    return this;
  }

  /**
   * Serves the plugin until the host stops it, and ends the process. It is the last call of a program, which is loaded once more in each
   * agent's thread.
   */
  serve(): void {
    // Imported where it is needed: an agent's thread has no use for a server.
    if (isAgentsThread()) void import("./thread.js").then(({ attend }) => attend(this));
    else void import("./serve.js").then(({ serve }) => serve(this));
  }

  /** @internal Throws a LoadError where agents contradict each other. */
  check(): void {
    if (!this.name || !this.version || this.agents.length === 0) {
      throw new LoadError("a plugin needs a name, a version and at least one agent: new Plugin(name, version, [agent, …])");
    }
    const kinds = new Map<string, boolean>();
    const seen = new Set<string>();
    for (const agent of this.agents) {
      for (const { taskType, version } of agent.categories) {
        const category = `task category "${taskType}"`;
        if (seen.has(`${taskType} ${version}`)) {
          throw new LoadError(`plugin ${this.name}: ${category} version ${version} has two agents`);
        }
        seen.add(`${taskType} ${version}`);
        if ((kinds.get(taskType) ?? agent.isSync) !== agent.isSync) {
          throw new LoadError(`plugin ${this.name}: ${category} has agents of both kinds: Flyte keeps one kind per name`);
        }
        kinds.set(taskType, agent.isSync);
      }
    }
    this.describe();
  }

  /** @internal */
  describe(): Description {
    const promised = this.agents.filter((agent) => agent instanceof AsyncAgent).map((agent) => ({ agent, names: agent.promises() }));
    // What every async agent promises is the plugin's promise, so that hosts that know no others hear of it too.
    const known = [...new Set(promised.flatMap(({ names }) => names))];
    const whole = known.filter((name) => promised.every(({ names }) => names.includes(name)));
    return {
      name: this.name,
      version: this.version,
      sdk: { name: "agenthost-typescript", version: sdkVersion, language: runtime() },
      capabilities: whole,
      categoryCapabilities: promised.flatMap(({ agent, names }) => {
        const capabilities = names.filter((name) => !whole.includes(name));
        if (capabilities.length === 0) return [];
        return agent.categories.map(({ taskType, version }) => ({ name: taskType, version, capabilities }));
      }),
      configSchema: this.#configuration?.type.schema ?? "",
    };
  }

  /** @internal Whether tasks are refused until the configuration has come. */
  get takesConfiguration(): boolean {
    return this.#configuration !== undefined;
  }

  /** @internal What is wrong with a block by the schema alone. */
  checkBlock(block: string): ConfigError[] {
    if (this.#configuration) {
      const found = this.#configuration.type.read(block);
      return "errors" in found ? found.errors : [];
    }
    if (["", "{}"].includes(block.trim())) return [];
    return [{ key: "", message: `the plugin ${this.name} takes no configuration: remove the \`config:\` block` }];
  }

  /** @internal Hands a block that is right over to the plugin's function. */
  async applyBlock(block: string): Promise<ConfigError[]> {
    if (!this.#configuration) return [];
    const found = this.#configuration.type.read(block);
    if ("errors" in found) return found.errors;
    try {
      return [...((await this.#configuration.apply(found.config)) ?? [])];
    } catch (error) {
      if (error instanceof CallError) throw error;
      log.warn("the configuration was refused", { error });
      return [{ key: "", message: reasonOf(error) }];
    }
  }

  /** @internal */
  get hasMetrics(): boolean {
    return this.#registry !== undefined;
  }

  /** @internal What this thread has counted. It may go to another thread: what cannot is left out. */
  async metricsOfThread(): Promise<Counted> {
    return JSON.parse(JSON.stringify((await this.#registry?.getMetricsAsJSON()) ?? []));
  }

  /** @internal */
  get notConfigured(): FailedPrecondition {
    return new FailedPrecondition(`plugin ${this.name} has no configuration yet: the host must call Configure before the first task`);
  }
}

/** Whether this is a thread that a plugin has begun for its agents, rather than the program itself. */
function isAgentsThread(): boolean {
  return !isMainThread && Array.isArray((workerData as { agenthost?: unknown } | null)?.agenthost);
}

function runtime(): string {
  const { bun, deno, node } = process.versions as Record<string, string | undefined>;
  return bun ? `bun${bun}` : deno ? `deno${deno}` : `node${node}`;
}
