// What an agent is asked: to run a task, or about a job.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import type { z } from "zod";
import { InvalidArgument } from "./errors.js";
import type { TaskExecutionMetadata } from "./gen/flyteidl/admin/agent_pb.js";
import type { TaskExecutionIdentifier } from "./gen/flyteidl/core/identifier_pb.js";
import { VariableMapSchema } from "./gen/flyteidl/core/interface_pb.js";
import type { LiteralMap } from "./gen/flyteidl/core/literals_pb.js";
import type { TaskTemplate } from "./gen/flyteidl/core/tasks_pb.js";
import type { LiteralType } from "./gen/flyteidl/core/types_pb.js";
import { LiteralError, toValue } from "./literals.js";
import { secret as ownSecret, type Secret } from "./secrets.js";
import { read, SchemaError } from "./typed.js";
import type { Value } from "./values.js";

/** What calls are routed by: a task type in one of its versions. */
export interface Category {
  readonly taskType: string;
  readonly version: number;
}

/** What Flyte 2 sends with a call so that an agent can reach the system it works for. */
export interface Connection {
  readonly taskType: string;
  readonly configs: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, Secret>>;
}

/** A call under way. */
export interface Call {
  /** When the caller stops waiting, if it said so. */
  readonly deadline?: Date;
  /** Aborted when the caller has gone: `fetch(url, { signal: task.signal })`. */
  readonly signal: AbortSignal;
}

/** What a call brings: when its caller stops waiting, in ms since 1970, and a signal that is made when it is asked for. */
interface Caller {
  readonly deadline?: number;
  readonly signal: AbortSignal;
}

interface TaskParts {
  template: TaskTemplate;
  literals: LiteralMap;
  outputPrefix: string;
  metadata: TaskExecutionMetadata;
  idempotencyKey: string;
  connection?: Connection;
  caller: Caller;
}

/** What an agent is asked to run. Its inputs have the type of the agent's schema. */
export class Task<I = Record<string, Value>> implements Call {
  /** The task as it was registered: `task.template.target`, … */
  readonly template: TaskTemplate;
  /** The inputs as Flyte sent them; `input` and `inputs` read them. */
  readonly literals: LiteralMap;
  /** The storage location for the attempt's outputs, such as "s3://bucket/metadata/…/0". */
  readonly outputPrefix: string;
  /** What Flyte says of the execution. */
  readonly metadata: TaskExecutionMetadata;
  /**
   * The same for every call for one attempt, another for every other attempt: 64 hex digits, good as (part of) the name of an
   * external job. Empty where the caller sent no execution id.
   */
  readonly idempotencyKey: string;
  readonly connection?: Connection;
  readonly #caller: Caller;
  readonly #inputs?: z.ZodType;
  #read?: I;

  /** @internal */
  constructor(parts: TaskParts, inputs?: z.ZodType) {
    this.template = parts.template;
    this.literals = parts.literals;
    this.outputPrefix = parts.outputPrefix;
    this.metadata = parts.metadata;
    this.idempotencyKey = parts.idempotencyKey;
    this.connection = parts.connection;
    this.#caller = parts.caller;
    this.#inputs = inputs;
  }

  get deadline(): Date | undefined {
    return dateOf(this.#caller);
  }

  get signal(): AbortSignal {
    return this.#caller.signal;
  }

  get taskType(): string {
    return this.template.type;
  }

  get version(): number {
    return this.template.taskTypeVersion;
  }

  /** Flyte's name of the attempt. The uses of one subworkflow share it; `idempotencyKey` tells them apart. */
  get executionId(): TaskExecutionIdentifier | undefined {
    return this.metadata.taskExecutionId;
  }

  /** All inputs, as the agent's schema for them says. Throws InvalidArgument that names each that does not fit. */
  get inputs(): I {
    this.#read ??= (this.#inputs ? this.inputsAs(this.#inputs) : this.#values()) as I;
    return this.#read;
  }

  #values(): Record<string, Value> {
    return Object.fromEntries(Object.keys(this.literals.literals).map((name) => [name, this.input(name)]));
  }

  /** All inputs, as a schema says. */
  inputsAs<S extends z.ZodType>(schema: S): z.output<S> {
    try {
      return read(schema, this.#values());
    } catch (error) {
      if (error instanceof SchemaError) throw new InvalidArgument(`the inputs do not fit: ${error.message}`);
      throw error;
    }
  }

  /** One input, as a schema says if one is given. Throws InvalidArgument where it is missing, or does not fit. */
  input(name: string): Value;
  input<S extends z.ZodType>(name: string, schema: S): z.output<S>;
  input(name: string, schema?: z.ZodType): unknown {
    const literal = Object.hasOwn(this.literals.literals, name) ? this.literals.literals[name] : undefined;
    if (!literal && !schema?.safeParse(undefined).success) {
      const known = Object.keys(this.literals.literals).sort().join(", ") || "none";
      throw new InvalidArgument(`the task has no input "${name}"; its inputs are: ${known}`);
    }
    try {
      const value = literal && toValue(literal);
      return schema ? read(schema, value) : value;
    } catch (error) {
      if (error instanceof LiteralError || error instanceof SchemaError) {
        throw new InvalidArgument(`input "${name}": ${error.message}`);
      }
      throw error;
    }
  }

  /** The template's custom part, as a schema says if one is given. */
  custom(): Record<string, unknown>;
  custom<S extends z.ZodType>(schema: S): z.output<S>;
  custom(schema?: z.ZodType): unknown {
    const custom = this.template.custom ?? {};
    try {
      return schema ? read(schema, custom) : custom;
    } catch (error) {
      if (!(error instanceof SchemaError)) throw error;
      throw new InvalidArgument(`the custom part of the ${this.taskType} template does not fit: ${error.message}`);
    }
  }

  /** The template's config part. */
  get config(): Readonly<Record<string, string>> {
    return this.template.config;
  }

  /** A secret from the task's connection, or else the plugin's own secret of that name. */
  secret(key: string): Secret {
    return secretOf(this.connection, key);
  }

  /** The types that the task declares for its outputs, as text that a job's metadata can keep for `succeeded`. */
  get outputTypes(): string {
    const outputs = this.template.interface?.outputs;
    return outputs ? base64Encode(toBinary(VariableMapSchema, outputs)) : "";
  }
}

/** The declared types by name, from what `Task.outputTypes` gave. */
export function declaredTypes(outputTypes: string): Record<string, LiteralType> {
  const { variables } = fromBinary(VariableMapSchema, base64Decode(outputTypes));
  return Object.fromEntries(Object.entries(variables).flatMap(([name, { type }]) => (type ? [[name, type]] : [])));
}

/** A job that `create` made. */
export class Job<M> implements Call {
  readonly #caller: Caller;

  /** @internal */
  constructor(
    /** What `create` returned. */
    readonly meta: M,
    readonly taskType: string,
    readonly version: number,
    /** The storage location for the attempt's outputs, where the caller says it. */
    readonly outputPrefix: string,
    readonly connection: Connection | undefined,
    caller: Caller,
  ) {
    this.#caller = caller;
  }

  get deadline(): Date | undefined {
    return dateOf(this.#caller);
  }

  get signal(): AbortSignal {
    return this.#caller.signal;
  }

  /** A secret from the job's connection, or else the plugin's own secret of that name. */
  secret(key: string): Secret {
    return secretOf(this.connection, key);
  }
}

function dateOf({ deadline }: Caller): Date | undefined {
  return deadline === undefined ? undefined : new Date(deadline);
}

function secretOf(connection: Connection | undefined, key: string): Secret {
  const sent = connection && Object.hasOwn(connection.secrets, key) ? connection.secrets[key] : undefined;
  return sent ?? ownSecret(key);
}
