// The call that an agent's code works for: what logs, requests and retries ask about it, wherever they are called.
import { AsyncLocalStorage } from "node:async_hooks";

/** The trace that a call belongs to, by W3C Trace Context. */
export interface Trace {
  readonly traceId: string;
  readonly spanId: string;
  /** What the call's own requests carry to continue the trace: `fetch(url, { headers: traceHeaders() })`. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a call brings that its work asks about. */
interface Brought {
  readonly headers?: Readonly<Record<string, string>>;
  /** When the caller stops waiting, in ms since 1970. */
  readonly deadline?: number;
  /** Aborted when the caller has gone. */
  readonly signal?: AbortSignal;
}

/** What is known of the call under way. What goes on behind a call keeps its trace, and nothing else of it. */
class Context {
  #call?: Brought;
  #headers?: Brought["headers"];

  constructor(call: Brought = {}) {
    this.#call = call;
    this.#headers = call.headers;
  }

  get trace(): Trace | undefined {
    return this.#headers && traceOf(this.#headers);
  }

  get deadline(): number | undefined {
    return this.#call?.deadline;
  }

  get signal(): AbortSignal | undefined {
    return this.#call?.signal;
  }

  end(): void {
    this.#call = undefined;
  }
}

const current = new AsyncLocalStorage<Context>();
const outside = new Context();

/** Does a call's work, which can ask about the call. */
export async function within<T>(call: Brought, work: () => Promise<T>): Promise<T> {
  const context = new Context(call);
  try {
    return await current.run(context, work);
  } finally {
    context.end();
  }
}

/** The call under way; empty outside of one. */
export function context(): Context {
  return current.getStore() ?? outside;
}

/** The headers by which a request to another service continues the trace of the call under way; none outside of one. */
export function traceHeaders(): Record<string, string> {
  return { ...context().trace?.headers };
}

const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$/;

/** The trace that a call's metadata says. */
function traceOf(headers: Readonly<Record<string, string>>): Trace | undefined {
  const { traceparent = "", tracestate } = headers;
  const found = TRACEPARENT.exec(traceparent);
  if (!found) return undefined;
  // Nothing else of the call's metadata: it is for nobody but the plugin.
  return { traceId: found[1] as string, spanId: found[2] as string, headers: { traceparent, ...(tracestate && { tracestate }) } };
}
