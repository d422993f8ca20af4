// The call that an agent's code works for: what logs, requests and retries ask about it, wherever they are called.
import { AsyncLocalStorage } from "node:async_hooks";

/** The trace that a call belongs to, by W3C Trace Context. */
export interface Trace {
  readonly traceId: string;
  readonly spanId: string;
  /** What the call's own requests carry to continue the trace: `fetch(url, { headers: traceHeaders() })`. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What is known of the call under way. What goes on behind a call keeps its trace, and nothing else of it. */
export interface Context {
  readonly trace?: Trace;
  /** When the caller stops waiting, in ms since 1970. */
  deadline?: number;
  /** Aborted when the caller has gone. */
  signal?: AbortSignal;
}

const current = new AsyncLocalStorage<Context>();

/** Does a call's work, which can ask about the call. */
export async function within<T>(context: Context, work: () => Promise<T>): Promise<T> {
  try {
    return await current.run(context, work);
  } finally {
    context.deadline = undefined;
    context.signal = undefined;
  }
}

/** The call under way; empty outside of one. */
export function context(): Readonly<Context> {
  return current.getStore() ?? {};
}

/** The headers by which a request to another service continues the trace of the call under way; none outside of one. */
export function traceHeaders(): Record<string, string> {
  return { ...context().trace?.headers };
}

const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$/;

/** The trace that a call's metadata says. */
export function traceOf(headers: Readonly<Record<string, string>>): Trace | undefined {
  const { traceparent = "", tracestate } = headers;
  const found = TRACEPARENT.exec(traceparent);
  if (!found) return undefined;
  // Nothing else of the call's metadata: it is for nobody but the plugin.
  return { traceId: found[1] as string, spanId: found[2] as string, headers: { traceparent, ...(tracestate && { tracestate }) } };
}
