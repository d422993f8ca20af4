// What an author writes: an object for each agent.
import type { z } from "zod";
import { InvalidArgument, LoadError } from "./errors.js";
import { kept } from "./kept.js";
import type { Resource } from "./resource.js";
import type { Category, Job, Task } from "./task.js";
import { read, SchemaError } from "./typed.js";
import { nameOfType, type Temporal, type Value } from "./values.js";

export type Awaitable<T> = T | Promise<T>;

/** Which part of a job's log is asked for. */
export interface LogQuery {
  /** The most lines to send; 0 means all. */
  readonly lines: number;
  /** Where an earlier answer left off; empty for the beginning. */
  readonly token: string;
}

/** One line of a job's log. */
export interface LogLine {
  readonly message: string;
  readonly time?: Date | Temporal.Instant;
  /** Who wrote it: the user's code, or the system that runs it. */
  readonly originator?: "USER" | "SYSTEM";
}

/** Tells the caller of `logs` where to go on next time. */
export interface NextToken {
  readonly token: string;
}

/** What `logs` yields: a line, or where to go on. */
export type LogPart = string | LogLine | NextToken;

/** Which measurements are asked for. */
export interface MetricsQuery {
  readonly queries: readonly string[];
  readonly start?: Temporal.Instant;
  readonly end?: Temporal.Instant;
  readonly step?: Temporal.Duration;
}

/** A measurement: its name, and what was measured, as anything that JSON can hold. */
export interface Metric {
  readonly metric: string;
  readonly data: Readonly<Record<string, unknown>>;
}

type Inputs<I> = I extends z.ZodType ? z.output<I> : Record<string, Value>;
type Outputs<O> = O extends z.ZodType ? z.input<O> : Readonly<Record<string, unknown>>;

interface Common<I, O> {
  /** The task type that the agent handles. */
  readonly taskType: string;
  /** The version of the task type; 0 if it is left out. */
  readonly version?: number;
  /** More categories of the same agent. */
  readonly also?: readonly Category[];
  /** What Flyte calls the agent; the task type if it is left out. */
  readonly name?: string;
  /**
   * Agents of a plugin that give the same name here run in one thread, and share what the program keeps in its modules. By default
   * each has a thread of its own, and goes on while another's is blocked.
   */
  readonly thread?: string;
  /** The inputs' schema: what does not fit is refused by name before the agent is called. */
  readonly inputs?: I;
  /** The outputs' schema: what the compiler holds the agent to, and the types of outputs that the task declares none for. */
  readonly outputs?: O;
  /** Called when the plugin stops, behind the last call. */
  close?(): Awaitable<void>;
}

/** What `asyncAgent` takes. M is the schema of the job's metadata, which Flyte keeps as JSON. */
export interface AsyncAgentOptions<M extends z.ZodType, I, O> extends Common<I, O> {
  /**
   * The schema of a job's metadata: everything needed to find the job again, by a newer process too. Only ever add fields with
   * defaults to it; never put a secret there.
   */
  readonly meta: M;
  /** Two calls of `create` with one idempotency key make one job, whatever other agents of the plugin do. */
  readonly idempotentCreate?: boolean;
  /**
   * Starts a job, and returns at once what is needed to find it again. Flyte repeats a call whose answer it did not get:
   * `task.idempotencyKey` is the same each time. Name the external job by it.
   */
  create(task: Task<Inputs<I>>): Awaitable<z.output<M>>;
  /** How the job is. */
  get(job: Job<z.output<M>>): Awaitable<Resource<Outputs<O>>>;
  /** Ends the job. Fine if it is gone, or has ended. */
  delete(job: Job<z.output<M>>): Awaitable<void>;
  /**
   * What `create` returned for the attempt of `task.idempotencyKey`. Makes nothing; throws NotFound where no job was made, and
   * Abandoned after `abandon`.
   *
   * An agent that has this method and `abandon` declares the capability find_by_key. With `idempotentCreate` it lets the host accept a
   * task whose job cannot be made at once. Both methods must be right in every process of the plugin, also on another machine, for as
   * long as Flyte may ask about the task, and at the same time as a `create` of the same attempt.
   */
  find?(task: Task<Inputs<I>>): Awaitable<z.output<M>>;
  /**
   * Gives the attempt up: a job that was made for it ends as by `delete`, and none is made from now on. `create` and `find` throw
   * Abandoned then, so something has to stay where they look. A second call succeeds too.
   */
  abandon?(task: Task<Inputs<I>>): Awaitable<void>;
  /** The job's log: yields lines, each sent at once, and where to go on. */
  logs?(job: Job<z.output<M>>, query: LogQuery): AsyncIterable<LogPart> | Iterable<LogPart>;
  /** The job's metrics. */
  metrics?(job: Job<z.output<M>>, query: MetricsQuery): Awaitable<readonly Metric[]>;
  /** A job's metadata back, where it may be another program's: `fallback` reads what this agent wrote. */
  decode?(data: Uint8Array, fallback: (data: Uint8Array) => z.output<M>): z.output<M>;
}

/** What `syncAgent` takes. */
export interface SyncAgentOptions<I, O> extends Common<I, O> {
  /** Does the work, within the call. The resource must be terminal: FlytePropeller cannot ask again. */
  execute(task: Task<Inputs<I>>): Awaitable<Resource<Outputs<O>>>;
}

// biome-ignore lint/suspicious/noExplicitAny: a plugin's agents are of different types
type AnyAsync = AsyncAgentOptions<any, any, any>;
// biome-ignore lint/suspicious/noExplicitAny: the same
type AnySync = SyncAgentOptions<any, any>;

/** An agent of a plugin: made by `asyncAgent` or `syncAgent`. */
export type Agent = AsyncAgent | SyncAgent;

abstract class Base<T extends AnyAsync | AnySync> {
  readonly name: string;
  readonly categories: readonly Category[];

  constructor(readonly options: T) {
    if (!options.taskType) throw new LoadError("an agent needs a taskType");
    this.name = options.name || options.taskType;
    this.categories = [{ taskType: options.taskType, version: options.version ?? 0 }, ...(options.also ?? [])];
  }

  abstract readonly isSync: boolean;
}

export class SyncAgent extends Base<AnySync> {
  readonly isSync = true;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

export class AsyncAgent extends Base<AnyAsync> {
  readonly isSync = false;

  /** The capabilities that the agent declares. */
  promises(): string[] {
    const { find, abandon, idempotentCreate } = this.options;
    if (Boolean(find) !== Boolean(abandon)) {
      throw new LoadError(`the agent ${this.name} has ${find ? "find" : "abandon"}, of find and abandon: it needs both or neither`);
    }
    return [...(idempotentCreate ? ["idempotent_create"] : []), ...(find ? ["find_by_key"] : [])];
  }

  /** A job's metadata as Flyte keeps it. What would not come back as it is, is refused while the job can still be named. */
  encode(meta: unknown): Uint8Array {
    if (meta === undefined || meta === null)
      throw new TypeError(`it returned ${meta}, by which no poll finds the job: return its metadata`);
    try {
      return Buffer.from(kept(meta, (json) => read(this.options.meta as z.ZodType, JSON.parse(json))));
    } catch (error) {
      throw new TypeError(
        `the ${nameOfType(meta)} that it returned cannot be kept as the job's metadata: ${(error as Error).message}; ` +
          "metadata has ids and places, by which any process finds the job",
      );
    }
  }

  /** A job's metadata back; fields that this version does not know are ignored. */
  decode(data: Uint8Array): unknown {
    const own = (bytes: Uint8Array) => this.#decode(bytes);
    return this.options.decode ? this.options.decode(data, own) : own(data);
  }

  #decode(data: Uint8Array): unknown {
    try {
      return read(this.options.meta as z.ZodType, JSON.parse(utf8.decode(data)));
    } catch (error) {
      if (!(error instanceof SchemaError || error instanceof SyntaxError || error instanceof TypeError)) throw error;
      throw new InvalidArgument(`the job's metadata is not what this agent wrote: ${error.message}`);
    }
  }
}

/**
 * An agent for jobs that outlast a call.
 *
 * Between `create` and `get` the process may have been replaced by a newer one: what a job needs to be found again is its metadata.
 */
export function asyncAgent<M extends z.ZodType, I extends z.ZodType | undefined = undefined, O extends z.ZodType | undefined = undefined>(
  options: AsyncAgentOptions<M, I, O>,
): AsyncAgent {
  return new AsyncAgent(options);
}

/** An agent for work that fits within a call. */
export function syncAgent<I extends z.ZodType | undefined = undefined, O extends z.ZodType | undefined = undefined>(
  options: SyncAgentOptions<I, O>,
): SyncAgent {
  return new SyncAgent(options);
}
