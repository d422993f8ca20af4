// Many calls in one message: each is what it is by itself, and holds up no other.
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import grpc from "@grpc/grpc-js";
import type { Client } from "agenthost/testing";
import { test } from "agenthost/vitest";
import { expect } from "vitest";
import { z } from "zod";
import { type Answer, type Answers, AnswersSchema, CallSchema, CallsSchema } from "../src/gen/agenthost/plugin/v1/plugin_pb.js";
import { CreateTaskRequestSchema, GetTaskRequestSchema, GetTaskResponseSchema } from "../src/gen/flyteidl/admin/agent_pb.js";
import { asyncAgent, InvalidArgument, type Job, NotFound, Plugin, running, traceHeaders } from "../src/index.js";
import { Reader } from "../src/wire.js";

const CREATE = "/flyteidl.service.AsyncAgentService/CreateTask";
const GET = "/flyteidl.service.AsyncAgentService/GetTask";
const DELETE = "/flyteidl.service.AsyncAgentService/DeleteTask";
const METRICS = "/flyteidl.service.AsyncAgentService/GetTaskMetrics";

/** How long a status' message may be. */
const LONG = 16 << 10;

const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const bytes = (data: Uint8Array) => Buffer.from(data);

/** Something that a test waits for, or has others wait for. */
class Moment<T = void> {
  come!: (value: T) => void;
  readonly came = new Promise<T>((resolve) => {
    this.come = resolve;
  });
}

/** A call to be made. */
interface Sent {
  method: string;
  request: Uint8Array;
  timeout?: bigint;
  maxAnswer?: bigint;
  headers?: Record<string, string>;
}

/** The host's end of a stream of calls. */
class Stream {
  readonly messages: Answers[] = [];
  /** The status that the stream ends with. */
  readonly ended = new Moment<grpc.StatusObject>();
  readonly greeting = new Moment<Answers>();
  readonly #stream: grpc.ClientDuplexStream<Uint8Array, Uint8Array>;
  readonly #answers = new Map<bigint, Moment<Answer>>();
  #last = 0n;

  constructor(client: Client) {
    this.#stream = client.client.makeBidiStreamRequest("/agenthost.plugin.v1.CallService/Exchange", bytes, (data) => data);
    this.#stream.on("data", (data: Uint8Array) => {
      const message = fromBinary(AnswersSchema, data);
      if (this.messages.push(message) === 1) this.greeting.come(message);
      for (const answer of message.answers) this.#answers.get(answer.id)?.come(answer);
    });
    this.#stream.on("error", () => {}); // the status says it, too
    this.#stream.on("status", this.ended.come);
  }

  /** Makes calls with one message, and cancels others. */
  send(calls: Sent[], canceled: bigint[] = []): { id: bigint; answer: Promise<Answer> }[] {
    const begun = this.expect(calls.length);
    const sent = calls.map(({ headers = {}, ...call }, i) => ({
      ...call,
      id: begun[i]?.id ?? 0n,
      headers: Object.entries(headers).map(([name, value]) => ({ name, value: Buffer.from(value) })),
    }));
    this.write(toBinary(CallsSchema, create(CallsSchema, { calls: sent, canceled })));
    return begun;
  }

  /** The ids of the next calls, with their answers. */
  expect(calls: number): { id: bigint; answer: Promise<Answer> }[] {
    return Array.from({ length: calls }, () => {
      const moment = new Moment<Answer>();
      this.#answers.set(++this.#last, moment);
      return { id: this.#last, answer: moment.came };
    });
  }

  /** Makes calls with one message, and waits for their answers. */
  call(...calls: Sent[]): Promise<Answer[]> {
    return Promise.all(this.send(calls).map(({ answer }) => answer));
  }

  write(data: Uint8Array): void {
    this.#stream.write(data);
  }

  halfClose(): void {
    this.#stream.end();
  }

  reset(): void {
    this.#stream.cancel();
  }
}

const encoder = new TextEncoder();

function poll(meta: unknown, taskType = "job"): Sent {
  const request = { taskCategory: { name: taskType, version: 0 }, resourceMeta: encoder.encode(JSON.stringify(meta)) };
  return { method: GET, request: toBinary(GetTaskRequestSchema, create(GetTaskRequestSchema, request)) };
}

function creation(taskType = "job"): Sent {
  return { method: CREATE, request: toBinary(CreateTaskRequestSchema, create(CreateTaskRequestSchema, { template: { type: taskType } })) };
}

/** What a call gets by itself, in the words of the stream. */
function alone(client: Client, { method, request, headers = {} }: Sent): Promise<Said> {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return new Promise((resolve) => {
    let message: Uint8Array = new Uint8Array();
    const call = client.client.makeUnaryRequest(
      method,
      bytes,
      (data) => data,
      request,
      metadata,
      (_error, value) => {
        message = value ?? message;
      },
    );
    call.on("status", ({ code, details, metadata }) => {
      resolve({ message: bytes(message).toString("hex"), code, details, trailers: metadata.getMap() });
    });
  });
}

interface Said {
  message: string;
  code: number;
  details: string;
  trailers: Record<string, unknown>;
}

function said(answer: Answer): Said {
  const { code, details } = statusOf(answer);
  const trailers = Object.fromEntries(answer.trailers.map(({ name, value }) => [name, bytes(value).toString()]));
  return { message: bytes(answer.message).toString("hex"), code, details, trailers };
}

/** What a google.rpc.Status says. */
function statusOf({ status }: Answer): { code: number; details: string } {
  const said = { code: 0, details: "OK" };
  const fields = new Reader(bytes(status));
  while (fields.next()) {
    if (fields.tag === 0x08) said.code = fields.varint();
    else if (fields.tag === 0x12) said.details = fields.text();
    else fields.skip();
  }
  return said;
}

function messageOf(answer: Answer): string | undefined {
  return fromBinary(GetTaskResponseSchema, answer.message).resource?.message;
}

/** A plugin whose polls say what a function makes of a job and its metadata. */
function plugin(get: (meta: string, job: Job<string>) => string | Promise<string>): Plugin {
  const agent = asyncAgent({
    taskType: "job",
    meta: z.string(),
    create: (task) => JSON.stringify([task.idempotencyKey, traceHeaders()]),
    get: async (job) => {
      const text = await get(job.meta, job);
      return running(text).withInfo(text.length > LONG ? { text } : {});
    },
    delete: () => {},
  });
  return new Plugin("jobs", "1", [agent]);
}

test("the stream begins with the methods that it takes", async ({ agenthostRun }) => {
  const stream = new Stream(await agenthostRun(plugin((meta) => meta)));
  const { methods, answers } = await stream.greeting.came;
  expect(methods.sort()).toEqual([CREATE, DELETE, GET, METRICS].sort());
  expect(answers).toEqual([]);
});

test("many polls of one message are all answered, and leave together", async ({ agenthostRun }) => {
  const stream = new Stream(await agenthostRun(plugin((meta) => meta)));
  const answers = await stream.call(...Array.from({ length: 500 }, (_, i) => poll(`job ${i}`)));
  expect(answers.map(messageOf)).toEqual(answers.map((_, i) => `job ${i}`));
  expect(stream.messages.length).toBeLessThan(250);
});

test("large answers are spread over messages, and one that is larger than a message goes by itself", async ({ agenthostRun }) => {
  const stream = new Stream(await agenthostRun(plugin((meta) => meta)));
  const sizes = () => stream.messages.map(({ answers }) => answers.reduce((sum, { message }) => sum + message.length, 0));
  const large = "x".repeat(LONG);
  const answers = await stream.call(...Array.from({ length: 50 }, () => poll(large)));
  expect(answers.map(messageOf)).toEqual(answers.map(() => large));
  expect(Math.max(...sizes())).toBeLessThanOrEqual(256 << 10);
  expect(Math.max(...sizes())).toBeGreaterThan(128 << 10);
  const [larger] = await stream.call(poll("x".repeat(300 << 10)), poll("beside it"));
  expect(stream.messages.find(({ answers }) => answers.some(({ id }) => id === larger?.id))?.answers).toHaveLength(1);
});

test("a call of many gets what it gets by itself", async ({ agenthostRun }) => {
  const client = await agenthostRun(
    plugin((meta) => {
      if (meta === "gone") throw new NotFound("there is no such job, and the reason is long: ".repeat(9));
      if (meta === "wrong") throw new InvalidArgument("it can never run");
      if (meta === "broken") throw new Error("something is broken");
      return `${meta} ${JSON.stringify(traceHeaders())}`;
    }),
  );
  const stream = new Stream(client);
  const headers = { traceparent: TRACE, "agenthost-idempotency-key": "5".repeat(64) };
  const calls: Sent[] = [
    { ...poll("plain"), headers },
    { ...poll("nothing known") },
    ...["gone", "wrong", "broken"].map((meta) => poll(meta)),
    poll(1), // no metadata of this agent's
    poll("x", "nobody's"),
    { ...creation(), headers },
    creation("nobody's"),
    { ...creation(), headers: { "agenthost-find-only": "1" } }, // which the agent does not have
    { ...creation(), headers: { "agenthost-abandon": "" } },
    { ...poll("x"), method: DELETE },
    { ...poll("x"), method: METRICS, request: new Uint8Array() },
    { method: GET, request: bytes(Buffer.from("no message")) },
    { method: GET, request: poll("x").request.subarray(0, 4) },
    { ...poll("x"), method: "/flyteidl.service.AsyncAgentService/Unheard" },
  ];
  const answers = await stream.call(...calls);
  const byThemselves = await Promise.all(calls.map((call) => alone(client, call)));
  const own = byThemselves.map(({ trailers, ...rest }) => ({ ...rest, trailers: withoutOwn(trailers) }));
  expect(answers.map(said)).toEqual(own);
  const codes = [0, 0, 5, 3, 13, 3, 5, 0, 5, 12, 12, 0, 5, 13, 13, 12];
  expect(answers.map((answer) => statusOf(answer).code)).toEqual(codes);
  expect(messageOf(answers[0] as Answer)).toBe(`plain ${JSON.stringify({ traceparent: TRACE })}`);
  expect((await stream.call(poll("on it goes")))[0]?.status).toHaveLength(0);
});

/** Trailers that grpc-js itself sends are none of the call's. */
function withoutOwn(trailers: Record<string, unknown>) {
  return Object.fromEntries(Object.entries(trailers).filter(([name]) => name.startsWith("agenthost-")));
}

test("a call that takes its time holds up no other", async ({ agenthostRun }) => {
  const enough = new Moment();
  const stream = new Stream(await agenthostRun(plugin(async (meta) => (meta === "slow" ? enough.came.then(() => meta) : meta))));
  const [slow, fast] = stream.send([poll("slow"), poll("fast")]);
  expect(messageOf((await fast?.answer) as Answer)).toBe("fast");
  expect((await stream.call(poll("later"))).map(messageOf)).toEqual(["later"]);
  enough.come();
  expect(messageOf((await slow?.answer) as Answer)).toBe("slow");
});

/** Waits until nobody waits for it. */
function untilGone(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve("gone")));
}

test("an agent hears of a call that is canceled, and of all when the host has gone", async ({ agenthostRun }) => {
  const begun = { one: new Moment(), other: new Moment() };
  const gone = { one: new Moment<string>(), other: new Moment<string>() };
  const stream = new Stream(
    await agenthostRun(
      plugin(async (meta, { signal }) => {
        const [job, rest] = [meta as "one" | "other", untilGone(signal)];
        begun[job].come();
        gone[job].come(await rest);
        return meta;
      }),
    ),
  );
  const [one] = stream.send([poll("one"), poll("other")]);
  await Promise.all([begun.one.came, begun.other.came]);
  stream.send([], [one?.id as bigint]);
  expect(await gone.one.came).toBe("gone");
  stream.reset();
  expect(await gone.other.came).toBe("gone");
});

test("a call that is canceled before its agent looks is gone when it does", async ({ agenthostRun }) => {
  const found = new Moment<boolean>();
  const stream = new Stream(
    await agenthostRun(
      plugin((meta, { signal }) => {
        if (meta === "canceled") found.come(signal.aborted);
        return meta;
      }),
    ),
  );
  stream.send([poll("canceled")], [1n]);
  expect(await found.came).toBe(true);
});

test("a call ends when its time is over, and not before", async ({ agenthostRun }) => {
  const heard = new Moment<string>();
  const stream = new Stream(
    await agenthostRun(
      plugin(async (meta, { signal, deadline }) => {
        if (meta === "slow") heard.come(await untilGone(signal));
        return String(deadline?.getTime());
      }),
    ),
  );
  const began = Date.now();
  const times = [20_000n, 60_000_000n, 2n ** 64n - 1n, undefined];
  const [over, ...others] = await stream.call(...times.map((timeout, i) => ({ ...poll(i === 0 ? "slow" : "fast"), timeout })));
  expect(statusOf(over as Answer)).toEqual({ code: grpc.status.DEADLINE_EXCEEDED, details: "Deadline exceeded" });
  expect(Date.now() - began).toBeGreaterThanOrEqual(20);
  expect(await heard.came).toBe("gone");
  const [minute, ages, never] = others.map(messageOf);
  expect(Number(minute)).toBeGreaterThanOrEqual(began + 60_000);
  expect(Number(minute)).toBeLessThanOrEqual(Date.now() + 60_000);
  expect(Number(ages)).toBeGreaterThan(Number(minute));
  expect(never).toBe("undefined");
});

test("of an answer that is too large its size is said", async ({ agenthostRun }) => {
  const stream = new Stream(await agenthostRun(plugin((meta) => meta)));
  const [whole] = await stream.call(poll("some text"));
  const { length } = (whole as Answer).message;
  const limits = [length, length - 1].map((limit) => ({ ...poll("some text"), maxAnswer: BigInt(limit) }));
  const [fits, tooLarge] = await stream.call(...limits);
  expect(fits).toMatchObject({ message: whole?.message, oversize: 0n });
  expect(tooLarge).toMatchObject({ message: new Uint8Array(), status: new Uint8Array(), oversize: BigInt(length) });
});

test("what is no message of calls ends the stream, and nothing else", async ({ agenthostRun }) => {
  const client = await agenthostRun(plugin((meta) => meta));
  const stream = new Stream(client);
  await stream.greeting.came;
  stream.write(Buffer.from("no message"));
  expect((await stream.ended.came).code).toBe(grpc.status.INTERNAL);
  expect((await new Stream(client).call(poll("another stream"))).map(messageOf)).toEqual(["another stream"]);
});

test("metadata that is none is an error of its call", async ({ agenthostRun }) => {
  const stream = new Stream(await agenthostRun(plugin((meta) => meta)));
  const [wrong, right] = stream.expect(2);
  const header = [0x2a, 2, 0x0a, 5]; // its name of five bytes is not there
  const calls = [1n, 2n].map((id) => bytes(toBinary(CallSchema, create(CallSchema, { id, ...poll("right"), headers: [] }))));
  const parts = calls.map((call, i) => [...call, ...(i === 0 ? header : [])]).flatMap((call) => [0x0a, call.length, ...call]);
  stream.write(Buffer.from(parts));
  expect(statusOf((await wrong?.answer) as Answer).code).toBe(grpc.status.INTERNAL);
  expect(messageOf((await right?.answer) as Answer)).toBe("right");
});

test("a host that makes no more calls gets the answers to those that it has made", async ({ agenthostRun }) => {
  const stream = new Stream(await agenthostRun(plugin((meta) => meta)));
  const [one] = stream.send([poll("the last")]);
  stream.halfClose();
  expect(messageOf((await one?.answer) as Answer)).toBe("the last");
  expect((await stream.ended.came).code).toBe(grpc.status.OK);
});

test("a plugin that stops answers what it has begun, refuses the rest, and says where it ended", async ({ agenthostRun }) => {
  const [begun, enough] = [new Moment(), new Moment()];
  const client = await agenthostRun(
    plugin(async (meta) => {
      begun.come();
      return enough.came.then(() => meta);
    }),
  );
  const stream = new Stream(client);
  const idle = new Stream(client);
  await idle.greeting.came;
  const [under] = stream.send([poll("under way")]);
  await begun.came;
  const stopping = client.stop();
  const [refused] = await stream.call(poll("too late"));
  expect(said(refused as Answer)).toEqual({
    message: "",
    code: grpc.status.UNAVAILABLE,
    details: "plugin jobs is stopping",
    trailers: { "agenthost-not-taken": "1" },
  });
  expect(await alone(client, poll("too late"))).toMatchObject(said(refused as Answer));
  enough.come();
  expect(messageOf((await under?.answer) as Answer)).toBe("under way");
  expect((await stream.ended.came).code).toBe(grpc.status.OK);
  expect(stream.messages.at(-1)).toMatchObject({ answers: [], last: 2n });
  expect((await idle.ended.came).code).toBe(grpc.status.OK);
  expect(idle.messages.at(-1)).toMatchObject({ answers: [], last: 0n });
  await stopping;
});

const program = [process.execPath, fileURLToPath(new URL("programs/misbehaving.mjs", import.meta.url))] as const;

test("an agent that blocks its thread, or ends it, holds up no other agent's calls", async ({ agenthostCommand }) => {
  const client = await agenthostCommand(program);
  const stream = new Stream(client);
  const job = { ...poll({ value: 1 }, "keeping") };
  expect(statusOf((await stream.call(job))[0] as Answer).code).toBe(grpc.status.FAILED_PRECONDITION);
  await client.configure({ name: "kept" });
  const [ended, beside] = await stream.call(poll("exit", "stuck"), job);
  expect(statusOf(ended as Answer)).toMatchObject({
    code: grpc.status.INTERNAL,
    details: expect.stringContaining("agent stuck: Get: its thread has ended: process.exit(3) was called"),
  });
  expect(beside?.status).toHaveLength(0);
  const [, other] = stream.send([poll("loop", "stuck"), job]);
  expect((await other?.answer)?.status).toHaveLength(0);
  await client.wrote("blocks its thread");
  expect((await stream.call(job))[0]?.status).toHaveLength(0);
  await client.stop(); // in good order, though the thread still loops
  expect(stream.messages.at(-1)?.last).toBe(6n);
});

test("log lines of a call of many have its trace", async ({ agenthostCommand }) => {
  const client = await agenthostCommand(program);
  await client.configure({});
  await new Stream(client).call({ ...poll("print", "stuck"), headers: { traceparent: TRACE } });
  expect(JSON.parse(await client.wrote('"logged"'))).toMatchObject({ trace_id: TRACE.split("-")[1] });
});
