// What a test says to a plugin.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import grpc from "@grpc/grpc-js";
import type { LogLine, NextToken } from "../agents.js";
import type { ConfigError } from "../config.js";
import * as plugin from "../gen/agenthost/plugin/v1/plugin_pb.js";
import * as admin from "../gen/flyteidl/admin/agent_pb.js";
import type { Literal } from "../gen/flyteidl/core/literals_pb.js";
import { type LiteralType, LiteralTypeSchema, SimpleType } from "../gen/flyteidl/core/types_pb.js";
import { toLiterals, toStruct, toValue } from "../literals.js";
import { isTerminal, Phase } from "../resource.js";
import type { Value } from "../values.js";

/** How long a call may take, in ms: what FlytePropeller allows by default. */
const TIMEOUT = 10_000;

/** What a test gives a task to run. */
export interface TestTask {
  /** By name, as values. */
  readonly inputs?: Readonly<Record<string, unknown>>;
  /** The outputs that the task declares, with their types. */
  readonly outputs?: Readonly<Record<string, keyof typeof SimpleType | LiteralType>>;
  /** The template's custom part. */
  readonly custom?: Readonly<Record<string, unknown>>;
  /** The template's config part. */
  readonly config?: Readonly<Record<string, string>>;
  /** The version of the task type. */
  readonly version?: number;
  /** The attempt's; the plugin makes one for each call if it is not given. */
  readonly idempotencyKey?: string;
  readonly outputPrefix?: string;
}

/** How a job is, as a caller sees it. */
export interface Result {
  /** The phase's name, such as "SUCCEEDED". */
  readonly phase: keyof typeof Phase;
  readonly message: string;
  readonly outputs?: Readonly<Record<string, Value>>;
  /** The whole. */
  readonly resource: admin.Resource;
}

/** A plugin that runs. Stops it at the end of its block: `await using client = await run(plugin)`. */
export class Client implements AsyncDisposable {
  readonly #tests = randomUUID().slice(0, 8);
  #attempts = 0;
  #stopped = false;

  /** @internal */
  constructor(
    /** @internal */
    readonly client: grpc.Client,
    /** The lines that the plugin has written, where it is a process of its own. */
    readonly output: readonly string[],
    private readonly end: () => Promise<void>,
  ) {}

  /** Stops the plugin, and throws if that does not go in good order. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    try {
      await this.end();
    } finally {
      this.client.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Waits until the plugin has written a line with a text. Returns the line. */
  async wrote(text: string, timeout = TIMEOUT): Promise<string> {
    for (const end = Date.now() + timeout; ; await sleep(10)) {
      const found = this.output.find((line) => line.includes(text));
      if (found !== undefined) return found;
      if (Date.now() > end)
        throw new Error(`the plugin has not written ${JSON.stringify(text)} after ${timeout} ms:\n${this.output.join("\n")}`);
    }
  }

  /** What the plugin says of itself. */
  describe(): Promise<plugin.DescribeResponse> {
    return this.#plugin("Describe", plugin.DescribeRequestSchema, {}, plugin.DescribeResponseSchema);
  }

  /** Hands a configuration over. Returns what the plugin has against it. */
  async configure(config: unknown): Promise<ConfigError[]> {
    const request = { config: typeof config === "string" ? config : JSON.stringify(config) };
    const { errors } = await this.#plugin("Configure", plugin.ConfigureRequestSchema, request, plugin.ConfigureResponseSchema);
    return errors.map(({ key, message }) => ({ key, message }));
  }

  /** The metrics of the plugin's own, in Prometheus' text format. */
  async metrics(): Promise<string> {
    const { text } = await this.#plugin("Metrics", plugin.MetricsRequestSchema, {}, plugin.MetricsResponseSchema);
    return Buffer.from(text).toString();
  }

  /** The agents that the plugin lists. */
  async agents(): Promise<admin.Agent[]> {
    const path = "/flyteidl.service.AgentMetadataService/ListAgents";
    return (await this.call(path, admin.ListAgentsRequestSchema, {}, admin.ListAgentsResponseSchema)).agents;
  }

  /** Creates a job. */
  create(taskType: string, task: TestTask = {}): Promise<TestJob> {
    return this.#create(taskType, task, {});
  }

  /** The job that an earlier `create` with the same idempotency key has made. */
  find(taskType: string, task: TestTask = {}): Promise<TestJob> {
    return this.#create(taskType, task, { "agenthost-find-only": "1" });
  }

  /** Gives an attempt up. */
  async abandon(taskType: string, task: TestTask = {}): Promise<void> {
    await this.#create(taskType, task, { "agenthost-abandon": "1" });
  }

  async #create(taskType: string, task: TestTask, headers: Record<string, string>): Promise<TestJob> {
    const path = "/flyteidl.service.AsyncAgentService/CreateTask";
    const request = this.#request(taskType, task);
    const sent = { ...headers, ...keyOf(task) };
    const made = await this.call(path, admin.CreateTaskRequestSchema, request, admin.CreateTaskResponseSchema, sent);
    return this.job(taskType, made.resourceMeta, task.version);
  }

  /** A job by its metadata, perhaps of another plugin or version. */
  job(taskType: string, meta: Uint8Array, version = 0): TestJob {
    return new TestJob(this, { name: taskType, version }, meta);
  }

  /** Calls a sync agent. */
  async execute(taskType: string, task: TestTask = {}): Promise<Result> {
    const { inputs, ...header } = this.#request(taskType, task);
    const parts: MessageInitShape<typeof admin.ExecuteTaskSyncRequestSchema>[] = [
      { part: { case: "header", value: header } },
      { part: { case: "inputs", value: inputs } },
    ];
    const path = "/flyteidl.service.SyncAgentService/ExecuteTaskSync";
    const call = this.client.makeBidiStreamRequest(path, bytes, same, metadataOf(keyOf(task)), deadline());
    for (const part of parts) call.write(encoded(admin.ExecuteTaskSyncRequestSchema, part));
    call.end();
    const answers = await all(call);
    if (answers.length !== 1) throw new Error(`the plugin gave ${answers.length} answers`);
    const { res } = fromBinary(admin.ExecuteTaskSyncResponseSchema, answers[0] as Uint8Array);
    if (res.case !== "header" || !res.value.resource) throw new Error("the answer has no resource");
    return resultOf(res.value.resource);
  }

  /** Creates a job, waits for its end, and deletes it as Flyte does. */
  async runTask(taskType: string, task: TestTask = {}, timeout?: number): Promise<Result> {
    const job = await this.create(taskType, task);
    try {
      return await job.wait(timeout);
    } finally {
      await job.delete();
    }
  }

  /** @internal */
  call<I extends DescMessage, O extends DescMessage>(
    path: string,
    request: I,
    init: MessageInitShape<I>,
    answer: O,
    headers: Record<string, string> = {},
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(path, bytes, same, encoded(request, init), metadataOf(headers), deadline(), (error, value) =>
        error ? reject(error) : resolve(fromBinary(answer, value as Uint8Array)),
      );
    });
  }

  /** @internal */
  stream(path: string, request: Uint8Array): Promise<Uint8Array[]> {
    return all(this.client.makeServerStreamRequest(path, bytes, same, request, deadline()));
  }

  #plugin<I extends DescMessage, O extends DescMessage>(method: string, request: I, init: MessageInitShape<I>, answer: O) {
    return this.call(`/agenthost.plugin.v1.PluginService/${method}`, request, init, answer);
  }

  #request(taskType: string, task: TestTask) {
    const { inputs = {}, outputs = {}, custom, config = {}, version = 0, outputPrefix = "" } = task;
    const literals = toLiterals(inputs);
    const id = { name: taskType, version: "test" };
    // An execution of its own for every task, as in Flyte.
    const executionId = { project: "test", domain: "development", name: `${this.#tests}-${this.#attempts++}` };
    return {
      inputs: literals,
      outputPrefix,
      template: {
        id,
        type: taskType,
        taskTypeVersion: version,
        config: { ...config },
        custom: custom && toStruct(custom),
        interface: {
          inputs: { variables: mapped(literals.literals, (literal) => ({ type: typeOf(literal) })) },
          outputs: { variables: mapped(outputs, (type) => ({ type: typeof type === "string" ? simple(SimpleType[type]) : type })) },
        },
      },
      taskExecutionMetadata: { taskExecutionId: { taskId: id, nodeExecutionId: { nodeId: "n0", executionId } } },
    } satisfies MessageInitShape<typeof admin.CreateTaskRequestSchema>;
  }
}

/** A job that a plugin has made. */
export class TestJob {
  constructor(
    private readonly client: Client,
    readonly category: { readonly name: string; readonly version: number },
    readonly meta: Uint8Array,
  ) {}

  /** How the job is. */
  async get(outputPrefix = ""): Promise<Result> {
    const request = { ...this.#about(), outputPrefix };
    const { resource } = await this.client.call(
      "/flyteidl.service.AsyncAgentService/GetTask",
      admin.GetTaskRequestSchema,
      request,
      admin.GetTaskResponseSchema,
    );
    if (!resource) throw new Error("the answer has no resource");
    return resultOf(resource);
  }

  /** Polls until the job has ended. */
  async wait(timeout = 60_000): Promise<Result> {
    for (const end = Date.now() + timeout; ; await sleep(20)) {
      const found = await this.get();
      if (isTerminal(Phase[found.phase])) return found;
      if (Date.now() > end) throw new Error(`the job is ${found.phase} after ${timeout} ms: ${found.message}`);
    }
  }

  /** Ends the job. */
  async delete(): Promise<void> {
    const path = "/flyteidl.service.AsyncAgentService/DeleteTask";
    await this.client.call(path, admin.DeleteTaskRequestSchema, this.#about(), admin.DeleteTaskResponseSchema);
  }

  /** The job's log. */
  async logs(query: { lines?: number; token?: string } = {}): Promise<(LogLine | NextToken)[]> {
    const request = encoded(admin.GetTaskLogsRequestSchema, {
      ...this.#about(),
      lines: BigInt(query.lines ?? 0),
      token: query.token ?? "",
    });
    const parts = await this.client.stream("/flyteidl.service.AsyncAgentService/GetTaskLogs", request);
    return parts.flatMap((data): (LogLine | NextToken)[] => {
      const { part } = fromBinary(admin.GetTaskLogsResponseSchema, data);
      if (part.case === "header") return [{ token: part.value.token }];
      return (part.value?.structuredLines ?? []).map(({ message, timestamp, originator }) => ({
        message,
        ...(timestamp && { time: timestampDate(timestamp) }),
        ...(originator && { originator: admin.LogLineOriginator[originator] as "USER" | "SYSTEM" }),
      }));
    });
  }

  #about() {
    return { taskCategory: this.category, resourceMeta: this.meta as Uint8Array<ArrayBuffer> };
  }
}

const bytes = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const same = (data: Uint8Array) => data;
const deadline = () => ({ deadline: Date.now() + TIMEOUT });

function encoded<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Uint8Array {
  return toBinary(schema, create(schema, init));
}

function keyOf({ idempotencyKey }: TestTask): Record<string, string> {
  return idempotencyKey ? { "agenthost-idempotency-key": idempotencyKey } : {};
}

function metadataOf(headers: Record<string, string>): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  return metadata;
}

function all(call: grpc.ClientReadableStream<Uint8Array> | grpc.ClientDuplexStream<Uint8Array, Uint8Array>): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  return new Promise((resolve, reject) => {
    call.on("data", (data: Uint8Array) => found.push(data));
    call.on("error", reject);
    call.on("end", () => resolve(found));
  });
}

function resultOf(resource: admin.Resource): Result {
  const outputs = resource.outputs && mapped(resource.outputs.literals, toValue);
  return { phase: Phase[resource.phase] as keyof typeof Phase, message: resource.message, outputs, resource };
}

function mapped<T, U>(values: Readonly<Record<string, T>>, one: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, one(value)]));
}

function simple(value: SimpleType): LiteralType {
  return create(LiteralTypeSchema, { type: { case: "simple", value } });
}

const PRIMITIVES = {
  integer: SimpleType.INTEGER,
  floatValue: SimpleType.FLOAT,
  stringValue: SimpleType.STRING,
  boolean: SimpleType.BOOLEAN,
  datetime: SimpleType.DATETIME,
  duration: SimpleType.DURATION,
};

/** The type that a task would declare for an input like this. */
function typeOf({ value: literal }: Literal): LiteralType {
  if (literal.case === "collection") {
    const value = literal.value.literals[0] ? typeOf(literal.value.literals[0]) : simple(SimpleType.NONE);
    return create(LiteralTypeSchema, { type: { case: "collectionType", value } });
  }
  if (literal.case === "map") {
    const first = Object.values(literal.value.literals)[0];
    return create(LiteralTypeSchema, { type: { case: "mapValueType", value: first ? typeOf(first) : simple(SimpleType.NONE) } });
  }
  const scalar = literal.case === "scalar" ? literal.value.value : undefined;
  switch (scalar?.case) {
    case "primitive":
      return simple(scalar.value.value.case ? PRIMITIVES[scalar.value.value.case] : SimpleType.NONE);
    case "blob":
      return create(LiteralTypeSchema, { type: { case: "blob", value: scalar.value.metadata?.type ?? {} } });
    case "structuredDataset": {
      const value = scalar.value.metadata?.structuredDatasetType ?? {};
      return create(LiteralTypeSchema, { type: { case: "structuredDatasetType", value } });
    }
    case "binary":
      return simple(scalar.value.tag === "msgpack" ? SimpleType.STRUCT : SimpleType.BINARY);
  }
  return simple(SimpleType.NONE);
}
