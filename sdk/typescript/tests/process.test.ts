// The real program: threads, prints, the end.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { run } from "agenthost/testing";
import { test } from "agenthost/vitest";
import { expect } from "vitest";
import { z } from "zod";
import { asyncAgent, failed, Plugin, Secret, succeeded, syncAgent, UserFailure } from "../src/index.js";

const program = [process.execPath, fileURLToPath(new URL("programs/misbehaving.mjs", import.meta.url))] as const;
const does = (what: string) => ({ inputs: { do: what } });

test.for(["loop", "sleep"])("an agent that blocks its thread (%s) holds up nothing else", async (what, { agenthostCommand }) => {
  const client = await agenthostCommand(program, { tls: what === "loop" });
  expect(await client.configure({})).toEqual([]);
  const blocked = client.execute("bad", does(what)).catch((error: Error) => error);
  expect((await client.execute("good")).outputs).toEqual({ fine: true });
  expect(await client.wrote("blocks its thread")).toContain('"agents":"bad"');
  expect((await client.execute("good")).outputs).toEqual({ fine: true });
  if (what === "loop") {
    await client.stop(); // in good order, though the thread still loops
    expect(await blocked).toBeInstanceOf(Error);
  } else {
    // The system's call is over before its thread can end: the process is killed.
    await expect(client.stop()).rejects.toThrow("SIGKILL");
  }
});

test("an agent that ends its thread fails its call and begins again, configured", async ({ agenthostCommand }) => {
  const client = await agenthostCommand(program);
  expect(await client.configure({ name: "kept" })).toEqual([]);
  await expect(client.execute("bad", does("exit"))).rejects.toThrow("process.exit(3) was called");
  expect((await client.execute("good")).outputs).toEqual({ fine: true });
  expect((await client.execute("bad", does("print"))).outputs).toEqual({ did: "kept" });
});

test.for(["detached", "later"])("an error that nobody handles (%s) is logged, and ends nothing", async (what, { agenthostCommand }) => {
  const client = await agenthostCommand(program);
  await client.configure({});
  await client.execute("bad", does(what));
  expect(await client.wrote("nobody has handled an error")).toContain('"@level":"error"');
  expect((await client.execute("bad", does("print"))).outputs).toEqual({ did: "default" });
});

test("metrics of several threads come to what the plugin has done, also while one of them is blocked", async ({ agenthostCommand }) => {
  const client = await agenthostCommand(program);
  await client.configure({});
  await client.execute("good");
  await client.execute("bad", does("print"));
  const openFiles = readFileSync("/proc/self/limits", "utf8").match(/Max open files +(\d+)/)?.[1];
  const counted = async () => (await client.metrics()).split("\n");
  const before = await counted();
  expect(before).toEqual(expect.arrayContaining(["calls_total 2", "call_seconds_count 2", `process_max_fds ${openFiles}`]));
  expect(before.filter((line) => line.includes("quantile"))).toEqual([]); // those of two threads make none of both
  void client.execute("bad", does("loop")).catch(() => {});
  await client.wrote("blocks its thread");
  expect(await counted()).toContain("calls_total 2");
});

test("prints and fields go to the log, secrets do not", async ({ agenthostCommand }) => {
  const client = await agenthostCommand(program);
  await client.configure({});
  await client.execute("bad", does("print"));
  expect(JSON.parse(await client.wrote("printed with console"))).toMatchObject({ "@level": "info", "@message": "printed with console" });
  await client.wrote("written to stdout");
  const line = JSON.parse(await client.wrote('"logged"'));
  expect(line).toMatchObject({ secret: "[secret]", big: String(2n ** 60n), error: expect.stringContaining("Error: within") });
  expect(client.output.join()).not.toContain("hush");
});

test("metadata that would come back as another value is refused at its creation", async ({ agenthostCommand }) => {
  const client = await agenthostCommand(program);
  await client.configure({});
  for (const keep of ["date", "function"]) {
    await expect(client.create("keeping", { inputs: { keep } })).rejects.toThrow("cannot be kept as the job's metadata");
  }
  await expect(client.create("keeping", { inputs: { keep: "nothing" } })).rejects.toThrow("by which no poll finds the job");
  await client.create("keeping", { inputs: { keep: "plain" } });
});

test("a task that does not fit is refused by name, and outputs that do not fit fail the job", async () => {
  const agent = asyncAgent({
    taskType: "typed",
    inputs: z.object({ n: z.int(), label: z.string().default("none") }),
    meta: z.object({ n: z.number(), types: z.string() }),
    create: (task) => ({ n: task.inputs.n, types: task.outputTypes }),
    get: (job) =>
      job.meta.n < 0 ? failed(new UserFailure("Negative", "below zero")) : succeeded({ m: job.meta.n }, { types: job.meta.types }),
    delete: () => {},
  });
  await using client = await run(new Plugin("typed", "1", [agent]));
  await expect(client.create("typed", { inputs: { n: "1", label: 2 } })).rejects.toThrow(/3 INVALID_ARGUMENT.*n: .*label: /);
  expect(await client.runTask("typed", { inputs: { n: 1 }, outputs: { m: "FLOAT" } })).toMatchObject({
    phase: "SUCCEEDED",
    outputs: { m: 1 },
  });
  const wrong = await client.runTask("typed", { inputs: { n: 1 }, outputs: { other: "FLOAT" } });
  expect(wrong).toMatchObject({
    phase: "FAILED",
    message: expect.stringContaining("other"),
    resource: { agentError: { code: "BadOutputs" } },
  });
  expect(await client.runTask("typed", { inputs: { n: -1 } })).toMatchObject({ phase: "FAILED", message: "below zero" });
});

test("a secret shows itself to nobody who did not ask", () => {
  const secret = new Secret("hush");
  expect(`${secret} ${JSON.stringify({ secret })} ${Object.values(secret)}`).not.toContain("hush");
  expect(secret.reveal()).toBe("hush");
});

test("agents that contradict each other are not served", () => {
  const agent = syncAgent({ taskType: "same", execute: () => succeeded() });
  expect(() => new Plugin("twice", "1", [agent, agent]).check()).toThrow("has two agents");
});
