import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StructuredDataset } from "agenthost";
import { test } from "agenthost/vitest";
import { afterEach, beforeEach, expect, vi } from "vitest";
import { plugin } from "./plugin.js";

const jobs = new Map<string, number>();

/** What the reports are made by: it is busy at first, and a job is done when it is asked for a third time. */
let service: Server;
let busy: boolean;

beforeEach(async () => {
  jobs.clear();
  busy = true;
  service = createServer((request, response) => {
    const say = (status: number, said = {}) => response.writeHead(status, { "retry-after": "0" }).end(JSON.stringify(said));
    const path = request.url ?? "";
    const asked = jobs.get(path);
    if (request.headers.authorization !== "Bearer hush") return say(403);
    if (busy) {
      busy = false;
      return say(503);
    }
    if (request.method === "PUT") {
      jobs.set(path, asked ?? 0);
      return say(200);
    }
    if (asked === undefined) return say(404);
    if (request.method === "DELETE") jobs.delete(path);
    else jobs.set(path, asked + 1);
    return say(200, asked < 2 ? { state: "running", rows: 4, of: 10 } : { state: "done", rows: 10 });
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
});
afterEach(() => void service.close());

const url = () => `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
const program = [process.execPath, "build/examples/reports/main.js"] as const;
const env = { _FSEC_REPORT_TOKEN: "hush" }; // as the host gives it a secret

test("a report is made across a restart", async ({ agenthostCommand }) => {
  const config = { service: url(), token: "report_token", patience: "5m" };
  const task = { inputs: { statement: "select 1" }, outputPrefix: "s3://outputs/0", idempotencyKey: "5".repeat(64) };
  const first = await agenthostCommand(program, { env });
  expect(await first.configure(config)).toEqual([]);
  const { meta } = await first.create("report", task);
  expect(await first.job("report", meta).get()).toMatchObject({ message: "40%: 4 of 10 rows" });
  await first.stop();

  const second = await agenthostCommand(program, { env }); // the next process has the job's metadata alone
  expect(await second.configure(config)).toEqual([]);
  const { outputs } = await second.job("report", meta).wait();
  expect(outputs).toEqual({ rows: 10, table: new StructuredDataset("s3://outputs/0/report.parquet", "parquet", { city: "STRING" }) });
  await second.create("report", task); // the same attempt again makes no other job
  expect([...jobs.keys()]).toEqual([`/jobs/${"5".repeat(64)}`]);
  await second.job("report", meta).delete();
  await second.job("report", meta).delete();
});

test("a wrong configuration is named", async ({ agenthostRun }) => {
  const client = await agenthostRun(plugin());
  const errors = await client.configure({ service: url(), token: "absent", patience: "soon" });
  expect(errors.map(({ key }) => key)).toEqual(["patience", "token"]);
});

test("an approval waits in a file until somebody gives it", async ({ agenthostRun, agenthostCommand }) => {
  vi.stubEnv("_FSEC_REPORT_TOKEN", "hush");
  const config = { service: url(), token: "report_token", approvals: mkdtempSync(join(tmpdir(), "approvals-")) };
  const first = await agenthostRun(plugin());
  expect(await first.configure(config)).toEqual([]);
  const job = await first.create("approval", { inputs: { question: "Ship it?" }, idempotencyKey: "6".repeat(64) });
  expect(await job.get()).toMatchObject({ phase: "QUEUED", message: expect.stringContaining("Ship it?") });

  const second = await agenthostCommand(program, { env }); // beside it, as while it drains
  expect(await second.configure(config)).toEqual([]);
  await second.execute("approve", { inputs: { id: "6".repeat(64), by: "Ada" } });
  expect((await job.wait()).outputs).toEqual({ by: "Ada" });
});
