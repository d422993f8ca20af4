// For an agent's calls to a service: fetch, which asks a busy service again and tells it the trace of the call.
import { setTimeout as sleep } from "node:timers/promises";
import fetchRetry from "fetch-retry";
import { context, traceHeaders } from "./context.js";
import { cut, InvalidArgument, reasonOf, Unavailable } from "./errors.js";

const TRIES = 7;
/** Before the second try and the longest, in ms, where the service does not say how long. */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 10_000;
/** How much of a last answer's body its error has. */
const REJECTED = 4 << 10;

/** The methods that may be called again whatever became of the first call. */
const HARMLESS = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];
const BUSY = [429, 503];
/** What comes before there is a connection to send a request on, as Node.js, Deno and Bun call it. */
const UNBEGUN = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT", "ConnectionRefused"];

/**
 * Asks a service over HTTP, like the global `fetch`: `await fetch(url, { method: "POST", body })`.
 *
 * A service that is busy (429, 503) is asked again when it says so (Retry-After), or else after 250 ms, 500 ms, …, and so is one that
 * cannot be reached or fails (5xx) where asking again does no harm: GET, HEAD, OPTIONS, PUT and DELETE. A body that is a stream is sent
 * once. All that is within the deadline of the agent's call, and ends when its caller has gone: where the next try would come too late,
 * there is none. Requests carry the trace that the call belongs to (W3C Trace Context).
 *
 * What is left is thrown as Unavailable, which says that it is the service's fault, and Flyte's to repeat. All other answers are the
 * caller's, also those that say 404. Throws InvalidArgument for what is no URL of HTTP, or has a password in it.
 */
export async function fetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
  const given = input instanceof Request ? input : undefined;
  const method = (init.method ?? given?.method ?? "GET").toUpperCase();
  const asked = `${method} ${nameOf(given?.url ?? String(input))}`;
  const signal = init.signal ?? given?.signal ?? context().signal;
  const headers = new Headers(init.headers ?? given?.headers);
  for (const [name, value] of Object.entries(traceHeaders())) {
    if (!headers.has(name)) headers.set(name, value); // or instrumentation did it, with a span of its own
  }
  const once = init.body instanceof ReadableStream || (typeof init.body === "object" && init.body && Symbol.asyncIterator in init.body);
  /** Waits, where a request is to be made once more. Throws where it would have been, if there were time. */
  const again = async (before: number, error: Error | null, response: Response | null): Promise<boolean> => {
    if (once || signal?.aborted || !(error ? mayFail(method, error) : response && mayAnswer(method, response))) return false;
    const wait = saidWait(response) ?? Math.min(FIRST_WAIT * 2 ** before, LONGEST_WAIT);
    const { deadline } = context();
    if (before + 1 >= TRIES || (deadline !== undefined && Date.now() + wait > deadline)) {
      const what = response ? await answered(response) : `: ${causeOf(error)}`;
      throw new Unavailable(`after ${before + 1} tries: ${asked}${what}`, { cause: error });
    }
    await response?.body?.cancel();
    await sleep(wait, undefined, { signal: signal ?? undefined });
    return true;
  };
  try {
    return await fetchRetry(globalThis.fetch)(input, { ...init, headers, signal, retryOn: again, retryDelay: 0 });
  } catch (error) {
    if (error instanceof Unavailable || signal?.aborted) throw error;
    throw new Unavailable(`${asked}: ${causeOf(error)}`, { cause: error });
  }
}

/** An address for messages. */
function nameOf(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.username || url?.password) {
    throw new InvalidArgument(`the URL of ${url.host} has a user or a password in it: they belong into the header "authorization"`);
  }
  if (!url || !["http:", "https:"].includes(url.protocol)) {
    throw new InvalidArgument(`${JSON.stringify(address)} is no URL of a service: it must begin with http:// or https://`);
  }
  return String(url);
}

/** Whether a request without an answer may be made again. */
function mayFail(method: string, error: Error): boolean {
  const { code } = (error.cause ?? error) as { code?: string };
  return HARMLESS.includes(method) || UNBEGUN.includes(code ?? "");
}

/** Whether a request with such an answer is worth another. */
function mayAnswer(method: string, { status }: Response): boolean {
  return BUSY.includes(status) || (HARMLESS.includes(method) && status >= 500 && status !== 501);
}

/** How long the service wants to be left alone, in ms, if it says so: in seconds, or until a date. */
function saidWait(response: Response | null): number | undefined {
  const said = response?.headers.get("retry-after") ?? "";
  if (/^\d+$/.test(said)) return Number(said) * 1_000;
  const until = Date.parse(said);
  return Number.isNaN(until) ? undefined : Math.max(0, until - Date.now());
}

async function answered(response: Response): Promise<string> {
  const after = response.headers.get("retry-after");
  const later = after ? `, and to be asked again after ${after}` : "";
  const body = await response.text().catch(() => ""); // the status is what counts
  return ` answers ${response.status} ${response.statusText}${later}: ${cut(body, REJECTED)}`;
}

/** Why there is no answer: fetch itself says only that it failed. */
function causeOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  return cause ? reasonOf(cause) || String((cause as { code?: string }).code) : reasonOf(error);
}
