// Calls to a service: when it is asked again, and what it is told.
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fetch } from "agenthost/http";
import { afterEach, expect, test } from "vitest";
import { within } from "../src/context.js";
import { InvalidArgument, Unavailable } from "../src/index.js";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A service that answers with one status after the other, the last one again and again; 0 is no answer. */
async function service(statuses: number[], headers: Record<string, string> = {}) {
  const calls: { at: number; request: IncomingMessage; body: string }[] = [];
  const server = createServer(async (request, response) => {
    const at = Date.now();
    let body = "";
    for await (const part of request) body += part;
    calls.push({ at, request, body });
    const status = statuses[Math.min(calls.length, statuses.length) - 1];
    if (status) response.writeHead(status, headers).end("said");
    else request.socket.destroy();
  }).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jobs`, calls };
}

const atOnce = { "retry-after": "0" };

test.for([
  ["it answers", "GET", [200], 200, 1],
  ["busy", "POST", [429, 503, 200], 200, 3],
  ["a failed GET", "GET", [500, 502, 200], 200, 3],
  ["a failed POST may have begun a job", "POST", [500], 500, 1],
  ["what is not there will not be there", "GET", [404], 404, 1],
  ["it will never be able to", "GET", [501], 501, 1],
] as const)("a service is asked again where that does no harm: %s", async ([, method, statuses, status, calls]) => {
  const asked = await service([...statuses], atOnce);
  const response = await fetch(asked.url, { method, body: method === "POST" ? "body" : undefined });
  expect([response.status, await response.text(), asked.calls.length]).toEqual([status, "said", calls]);
  expect(asked.calls.map(({ body }) => body)).toEqual(Array(calls).fill(method === "POST" ? "body" : ""));
});

test("one that is busy for ever is given up, in its own words", async () => {
  const { url, calls } = await service([503], atOnce);
  const request = fetch(new Request(url, { method: "PUT", body: "body" }));
  await expect(request).rejects.toThrow(Unavailable);
  await expect(request).rejects.toThrow(`after 7 tries: PUT ${url} answers 503 Service Unavailable, and to be asked again after 0: said`);
  expect(calls.map(({ body }) => body)).toEqual(Array(7).fill("body"));
});

test("it waits for as long as the service says, or ever longer", async () => {
  const { url, calls } = await service([503, 0, 200]);
  await fetch(url);
  const [first = 0, second = 0, third = 0] = calls.map(({ at }) => at);
  expect(second - first).toBeGreaterThan(200);
  expect(third - second).toBeGreaterThan(450);
  const date = await service([503, 200], { "retry-after": new Date(Date.now() + 3_000).toUTCString() });
  const began = Date.now();
  await fetch(date.url);
  expect(Date.now() - began).toBeGreaterThan(900);
});

test("nobody waits for a try that comes too late", async () => {
  const { url, calls } = await service([503], { "retry-after": "60" });
  const began = Date.now();
  await expect(within({ deadline: began + 10_000 }, () => fetch(url))).rejects.toThrow("after 1 tries: GET");
  expect(Date.now() - began).toBeLessThan(5_000);
  const gone = new AbortController();
  const waiting = within({ signal: gone.signal }, () => fetch(url));
  await expect.poll(() => calls.length).toBe(2);
  gone.abort();
  await expect(waiting).rejects.toThrow(/abort/);
});

test("what goes on behind a call has time", async () => {
  const { url } = await service([503, 200], { "retry-after": "1" });
  let behind: Promise<Response> | undefined;
  await within({ deadline: Date.now() + 500 }, async () => {
    behind = Promise.resolve()
      .then(() => new Promise((resolve) => setTimeout(resolve, 10)))
      .then(() => fetch(url));
  });
  expect((await behind)?.status).toBe(200);
});

test("a service that is not there was not asked: a POST goes out again, and a stream does not", async () => {
  const { url } = await service([200]);
  await new Promise((resolve) => servers.pop()?.close(resolve));
  const soon = () => ({ deadline: Date.now() + 2_000 });
  await expect(within(soon(), () => fetch(url, { method: "POST", body: "body" }))).rejects.toThrow(
    /^after [2-7] tries: POST http.*jobs: connect ECONNREFUSED/,
  );
  const body = new Blob(["body"]).stream();
  await expect(within(soon(), () => fetch(url, { method: "PUT", body, duplex: "half" }))).rejects.toThrow(/^PUT http.*ECONNREFUSED/);
  await expect(fetch(url.replace("//", "//user:hush@"))).rejects.toThrow(/^the URL of [^h]* has a user or a password in it/);
  await expect(fetch("ftp://there")).rejects.toThrow(InvalidArgument);
  await expect(fetch("there")).rejects.toThrow('"there" is no URL of a service');
});

test("a service is told the trace of the call, and nothing else of its metadata", async () => {
  const { url, calls } = await service([200]);
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const headers = { traceparent, tracestate: "a=b", "agenthost-idempotency-key": "5555" };
  await within({ headers }, () => fetch(url));
  await fetch(url);
  expect(calls.map(({ request: { headers } }) => [headers.traceparent, headers.tracestate, headers["agenthost-idempotency-key"]])).toEqual([
    [traceparent, "a=b", undefined],
    [undefined, undefined, undefined],
  ]);
});
