// A receiver of webhooks, for the example's verify.yaml: it makes one job of an Idempotency-Key, is busy when it first hears of one, and
// listens at the port that it is given.
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";

const [port, tokenFile = ""] = process.argv.slice(2);
const authorization = `Bearer ${readFileSync(tokenFile, "utf8").trim()}`;

/** How long a job takes, in ms. */
const TAKES = 300;

interface Job {
  readonly begun: number;
  readonly order: { name?: string };
}

const jobs = new Map<string, Job>();
const heard = new Set<string>();

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const part of request) body += part;
  return body;
}

function stateOf({ begun, order: { name } }: Job) {
  const progress = Math.min(1, (Date.now() - begun) / TAKES);
  if (progress < 1) return { state: "running", message: "is being greeted", progress };
  return name ? { state: "succeeded", outputs: { greeting: `Hello, ${name}` } } : { state: "failed", message: "nobody to greet" };
}

const server = createServer(async (request, response) => {
  const say = (status: number, said: unknown = {}, headers: Record<string, string> = {}) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(said));
  const body = await bodyOf(request);
  if (request.headers.authorization !== authorization) return say(401, { error: "who are you?" });
  const { pathname } = new URL(request.url ?? "", "http://receiver");
  if (request.method === "POST") {
    const key = String(request.headers["idempotency-key"] ?? "");
    if (!key) return say(400, { error: "a job needs an Idempotency-Key" });
    if (!heard.has(key)) {
      heard.add(key);
      return say(503, { error: "busy" }, { "retry-after": "0" });
    }
    const order: Job["order"] = JSON.parse(body);
    if (pathname === "/hooks/quiet") return response.writeHead(200, { "content-type": "text/plain" }).end("ok");
    if (pathname === "/hooks/now") return say(200, { greeting: `Hello, ${order.name}` });
    if (pathname !== "/hooks/later") return say(404, { error: `there is no ${pathname}` });
    if (!jobs.has(key)) jobs.set(key, { begun: Date.now(), order });
    return say(202, {}, { location: `/hooks/jobs/${key}` });
  }
  const key = pathname.replace("/hooks/jobs/", "");
  const job = jobs.get(key);
  if (!job) return say(404);
  if (request.method === "DELETE") jobs.delete(key);
  return say(200, stateOf(job));
});

server.listen(Number(port), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
