// Lines of the log as the host reads them: hclog's JSON, one a line, on standard error.
import { writeSync } from "node:fs";
import { format } from "node:util";
import { context } from "./context.js";

export type Level = "trace" | "debug" | "info" | "warn" | "error";

/** Fields of a line: anything that JSON can hold, and errors, with their stack. */
export type Fields = Readonly<Record<string, unknown>>;

/** The plugin's log: level and fields arrive in the host's log. */
export const log = {
  trace: (message: string, fields?: Fields) => line("trace", message, fields),
  debug: (message: string, fields?: Fields) => line("debug", message, fields),
  info: (message: string, fields?: Fields) => line("info", message, fields),
  warn: (message: string, fields?: Fields) => line("warn", message, fields),
  error: (message: string, fields?: Fields) => line("error", message, fields),
};

function line(level: Level, message: string, fields: Fields = {}): void {
  const { trace } = context();
  const time = new Date().toISOString().replace("Z", "000Z"); // hclog wants six digits, always
  const said = {
    ...fields,
    ...(trace && { trace_id: trace.traceId, span_id: trace.spanId }),
    "@level": level,
    "@message": message,
    "@timestamp": time,
  };
  write(`${json(said)}\n`);
}

function json(fields: Fields): string {
  try {
    return JSON.stringify(fields, plain);
  } catch {
    // What contains itself, or throws while it is read, is said as it would be printed.
    const texts = Object.entries(fields).map(([key, value]) => [key, typeof value === "object" ? format("%o", value) : value]);
    return JSON.stringify(Object.fromEntries(texts), plain);
  }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Error) return value.stack ?? String(value);
  return value;
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Writes to standard error at once: what is said before an end, or by a thread that blocks afterwards, is not lost. */
function write(text: string): void {
  let rest: Uint8Array = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(2, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return; // nobody reads any more
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

const CONSOLE = { log: "info", info: "info", debug: "debug", trace: "debug", warn: "warn", error: "error" } as const;

/** Sends what is printed to the log: standard output belongs to the handshake. */
export function takeOverPrints(): void {
  for (const [method, level] of Object.entries(CONSOLE)) {
    console[method as keyof typeof CONSOLE] = (...said: unknown[]) => line(level, format(...said));
  }
  process.stdout.write = ((chunk: string | Uint8Array, encoding?: unknown, done?: () => void): boolean => {
    write(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString());
    const called = typeof encoding === "function" ? encoding : done;
    if (called) queueMicrotask(called as () => void);
    return true;
  }) as typeof process.stdout.write;
}
