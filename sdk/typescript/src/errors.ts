// What an agent throws: errors of a call, with a code; and failures of a job, with a name and somebody to mend them.

/** gRPC's status codes. (grpc-js has them too, and is not loaded in the agents' threads.) */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** One of gRPC's status codes. */
export type Code = (typeof Code)[keyof typeof Code];

/** A code's name, such as "NOT_FOUND". */
export function nameOf(code: Code): string {
  return Object.entries(Code).find(([, one]) => one === code)?.[0] ?? String(code);
}

/** The plugin cannot be served; the message is for people. */
export class LoadError extends Error {
  override name = "LoadError";
}

/** An error with a status code of its own, which reaches the caller as it is. */
export class CallError extends Error {
  override name = "CallError";

  constructor(
    readonly code: Code,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The job does not exist. In `delete` it counts as success. */
export class NotFound extends CallError {
  constructor(message: string, options?: ErrorOptions) {
    super(Code.NOT_FOUND, message, options);
  }
}

/** The attempt was given up, and no job may be made for it: see `abandon` of an agent. */
export class Abandoned extends CallError {
  constructor(message: string, options?: ErrorOptions) {
    super(Code.ABORTED, message, options);
  }
}

/** The task can never run as it is. */
export class InvalidArgument extends CallError {
  constructor(message: string, options?: ErrorOptions) {
    super(Code.INVALID_ARGUMENT, message, options);
  }
}

/** Something must be put right outside, such as a missing secret. */
export class FailedPrecondition extends CallError {
  constructor(message: string, options?: ErrorOptions) {
    super(Code.FAILED_PRECONDITION, message, options);
  }
}

/** It will work again by itself. */
export class Unavailable extends CallError {
  constructor(message: string, options?: ErrorOptions) {
    super(Code.UNAVAILABLE, message, options);
  }
}

/** The system that the agent works for does not accept its credentials. */
export class Unauthenticated extends CallError {
  constructor(message: string, options?: ErrorOptions) {
    super(Code.UNAUTHENTICATED, message, options);
  }
}

/** A job's failure with a code, a short name that groups failures, such as "BadSQL": Flyte shows it before the message. */
abstract class Failure extends Error {
  abstract readonly origin: "USER" | "SYSTEM";

  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type { Failure };

/** A job's failure that the task's author can mend; for `failed` and `retryableFailed`. */
export class UserFailure extends Failure {
  override name = "UserFailure";
  readonly origin = "USER";
}

/** A job's failure that the task's author cannot mend; for `failed` and `retryableFailed`. */
export class SystemFailure extends Failure {
  override name = "SystemFailure";
  readonly origin = "SYSTEM";
}

/** Bounds a status's message, in bytes: it travels in a header, for which clients have limits. */
const MAX_STATUS = 4 << 10;

/** Turns whatever an agent's call threw into a status that names the agent. */
export function statusOf(agent: string, method: string, error: unknown): CallError {
  return new CallError(codeOf(error), cut(`agent ${agent}: ${method}: ${described(error)}`, MAX_STATUS), { cause: error });
}

function described(error: unknown): string {
  if (!(error instanceof Error)) return `it threw ${String(error)}`;
  if (error instanceof CallError) return error.message;
  if (codeOf(error) !== Code.INTERNAL) return error.message || error.name;
  const place = placeOf(error);
  return `${error.name}: ${error.message}${place && ` (${place})`}`;
}

/** Where in the author's own code an error was thrown, as "warehouse.ts:53"; empty where that is not known. */
function placeOf({ stack = "" }: Error): string {
  const frames = stack.matchAll(/^ +at .*?((?:file:|\/)[^()\n]*\/)([^/()\n]+):(\d+):\d+\)?$/gm);
  for (const [, folder = "", file, line] of frames) {
    if (!folder.includes("/node_modules/") && !folder.includes(OWN)) return `${file}:${line}`;
  }
  return "";
}

/** The folder of the SDK's own code. */
const OWN = new URL(".", import.meta.url).pathname;

function codeOf(error: unknown): Code {
  if (!(error instanceof Error)) return Code.INTERNAL;
  if (error instanceof CallError) return error.code;
  if (error.name === "TimeoutError") return Code.DEADLINE_EXCEEDED; // AbortSignal.timeout's
  if (error.name === "AbortError") return Code.CANCELLED;
  // The error of a gRPC client, grpc-js or connect, has its code as a number.
  const { code } = error as { code?: unknown };
  const known = typeof code === "number" && Number.isInteger(code) && code > Code.OK && code <= Code.UNAUTHENTICATED;
  return known ? (code as Code) : Code.INTERNAL;
}

/** Whether an error is what an agent throws on purpose, and needs no stack in the log. */
export function isExpected(error: unknown): boolean {
  return error instanceof CallError;
}

/** What an error says, whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}

/** Keeps the head and the tail of a long text, where the reasons are. */
export function cut(text: string, limit: number): string {
  if (3 * text.length <= limit) return text; // whatever its characters
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return text;
  const half = limit >> 1;
  const head = bytes
    .subarray(0, half)
    .toString()
    .replace(/\uFFFD+$/, "");
  const tail = bytes
    .subarray(-half)
    .toString()
    .replace(/^\uFFFD+/, "");
  return `${head}\n… (${bytes.length - 2 * half} bytes cut) …\n${tail}`;
}
