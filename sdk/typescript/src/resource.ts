// How a job is.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { z } from "zod";
import { cut, type Failure, reasonOf, SystemFailure, UserFailure } from "./errors.js";
import { AgentError_Kind, type Resource as Message, ResourceSchema } from "./gen/flyteidl/admin/agent_pb.js";
import { ExecutionError_ErrorKind, TaskExecution_Phase as Phase } from "./gen/flyteidl/core/execution_pb.js";
import { type LiteralType, LiteralTypeSchema, SimpleType } from "./gen/flyteidl/core/types_pb.js";
import { toLiterals, toStruct } from "./literals.js";
import { declaredTypes } from "./task.js";
import { isInteger } from "./typed.js";

export { Phase };

/** Leads to a page about the job. */
export interface Link {
  readonly name: string;
  readonly uri: string;
  /** Shown also while the task waits for its start. */
  readonly showWhilePending?: boolean;
  /** No longer shown once the task has ended. */
  readonly hideOnceFinished?: boolean;
}

/** When a link is shown. */
export type LinkOptions = Pick<Link, "showWhilePending" | "hideOnceFinished">;

interface Parts {
  message?: string;
  outputs?: Readonly<Record<string, unknown>>;
  types?: string;
  links?: readonly Link[];
  info?: Readonly<Record<string, unknown>>;
  failure?: Failure;
}

/** How a job is. Make one with `running`, `succeeded`, `failed` and so on. O are the outputs of one that succeeded. */
export class Resource<O = unknown> {
  /** The outputs' type, for the compiler alone. */
  declare readonly $outputs?: O;

  /** @internal */
  constructor(
    readonly phase: Phase,
    /** @internal */
    readonly parts: Parts = {},
  ) {}

  /** Adds a link that is shown with the task. */
  withLink(name: string, uri: string, options: LinkOptions = {}): Resource<O> {
    return this.#with({ links: [...(this.parts.links ?? []), { name, uri, ...options }] });
  }

  /** Adds what is kept with the task execution: anything that JSON can hold. */
  withInfo(info: Readonly<Record<string, unknown>>): Resource<O> {
    return this.#with({ info: { ...this.parts.info, ...info } });
  }

  /** Sets the message that is shown to the user. */
  withMessage(message: string): Resource<O> {
    return this.#with({ message });
  }

  /**
   * Says how far the job is: a fraction from 0 to 1, and in words, such as "4 of 10 files". The message becomes "40%: 4 of 10 files", and
   * the custom info has the fraction as "progress".
   */
  withProgress(fraction: number, text = ""): Resource<O> {
    const progress = fraction > 0 ? Math.min(fraction, 1) : 0; // NaN is nothing, too
    const percent = `${Math.floor(progress * 100 + 1e-9)}%`;
    return this.withInfo({ progress }).withMessage(text ? `${percent}: ${text}` : percent);
  }

  #with(parts: Parts): Resource<O> {
    return new Resource(this.phase, { ...this.parts, ...parts });
  }
}

/** The job waits for its turn. */
export const queued = (message?: string): Resource<never> => new Resource(Phase.QUEUED, { message });
/** The job waits for capacity or quota. */
export const waitingForResources = (message?: string): Resource<never> => new Resource(Phase.WAITING_FOR_RESOURCES, { message });
/** The job is being set up. */
export const initializing = (message?: string): Resource<never> => new Resource(Phase.INITIALIZING, { message });
/** The job runs, and how far it is. */
export const running = (message?: string): Resource<never> => new Resource(Phase.RUNNING, { message });
/** Somebody ended the job from outside. */
export const aborted = (message?: string): Resource<never> => new Resource(Phase.ABORTED, { message });

/**
 * The job is done. Without outputs it wrote outputs.pb below the output prefix itself, or the task has none.
 *
 * `types` is what the outputs are written as: `task.outputTypes`, kept in the job's metadata. A sync agent's outputs take the task's
 * types by themselves. Without any, the agent's schema for its outputs says it, and what is natural for the value.
 */
export function succeeded(): Resource<never>;
export function succeeded<O extends Readonly<Record<string, unknown>>>(outputs: O, options?: { types?: string }): Resource<O>;
export function succeeded(outputs?: Record<string, unknown>, options: { types?: string } = {}): Resource<unknown> {
  return new Resource(Phase.SUCCEEDED, { outputs, ...options });
}

/** The job went wrong and would go wrong again. A UserFailure or SystemFailure shows its code. */
export const failed = (reason: unknown): Resource<never> => failure(Phase.FAILED, reason);

/** The job went wrong and a repetition may help: spends one of the task's retries. Flyte knows it since 1.16. */
export const retryableFailed = (reason: unknown): Resource<never> => failure(Phase.RETRYABLE_FAILED, reason);

function failure(phase: Phase, reason: unknown): Resource<never> {
  const known = reason instanceof UserFailure || reason instanceof SystemFailure ? reason : undefined;
  return new Resource<never>(phase, { message: reasonOf(reason) || "the agent gave no reason", failure: known });
}

/** Whether a job in a phase has ended. */
export function isTerminal(phase: Phase): boolean {
  return [Phase.SUCCEEDED, Phase.ABORTED, Phase.FAILED, Phase.RETRYABLE_FAILED].includes(phase);
}

/** Bounds a resource's message, in bytes: Flyte keeps it with the execution. */
const MAX_MESSAGE = 64 << 10;

/** A resource as Flyte has it. Outputs take its own types, or else the declared ones, or else what the schema says. */
export function toMessage(resource: unknown, schema: z.ZodType | undefined, declared = ""): Message {
  if (!(resource instanceof Resource)) {
    throw new TypeError(`it returned ${typeof resource}, not a Resource: use running, succeeded, failed, …`);
  }
  const { message = "", outputs, types = "", links = [], info, failure } = resource.parts;
  const written: MessageInitShape<typeof ResourceSchema> = {
    phase: resource.phase,
    message: cut(message, MAX_MESSAGE),
    logLinks: links.map(({ name, uri, showWhilePending, hideOnceFinished }) => ({
      name,
      uri,
      ShowWhilePending: showWhilePending,
      HideOnceFinished: hideOnceFinished,
    })),
  };
  const made = create(ResourceSchema, written);
  if (outputs) {
    const wanted = types || declared;
    made.outputs = toLiterals(outputs, wanted ? declaredTypes(wanted) : undefined, schema && hints(schema));
  }
  if (info) made.customInfo = toStruct(info);
  if (failure) made.agentError = create(ResourceSchema, { agentError: blame(resource.phase, failure) }).agentError;
  return made;
}

function blame(phase: Phase, { code, origin }: Failure) {
  const kind = phase === Phase.RETRYABLE_FAILED ? AgentError_Kind.RECOVERABLE : AgentError_Kind.NON_RECOVERABLE;
  return { code, kind, origin: ExecutionError_ErrorKind[origin] };
}

/** The types of outputs, as far as a schema says them. */
function hints(schema: z.ZodType): Record<string, LiteralType> {
  const { type, shape = {} } = schema._zod.def as { type: string; shape?: Record<string, z.ZodType> };
  if (type !== "object") return {};
  return Object.fromEntries(
    Object.entries(shape).flatMap(([name, field]) => {
      const found = literalType(field);
      return found ? [[name, found]] : [];
    }),
  );
}

const SIMPLE: Readonly<Record<string, SimpleType>> = {
  bigint: SimpleType.INTEGER,
  string: SimpleType.STRING,
  boolean: SimpleType.BOOLEAN,
  date: SimpleType.DATETIME,
  object: SimpleType.STRUCT,
};

function literalType(schema: z.ZodType): LiteralType | undefined {
  // biome-ignore lint/suspicious/noExplicitAny: zod's own definitions, read by their type
  const def = schema._zod.def as any;
  const simple = (value: SimpleType) => create(LiteralTypeSchema, { type: { case: "simple", value } });
  switch (def.type) {
    case "number":
      return simple(isInteger(schema) ? SimpleType.INTEGER : SimpleType.FLOAT);
    case "array": {
      const value = literalType(def.element);
      return value && create(LiteralTypeSchema, { type: { case: "collectionType", value } });
    }
    case "record": {
      const value = literalType(def.valueType);
      return value && create(LiteralTypeSchema, { type: { case: "mapValueType", value } });
    }
  }
  const value = SIMPLE[def.type];
  return value === undefined ? undefined : simple(value);
}
