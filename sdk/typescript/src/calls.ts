// Calls agents: messages in, values out, and back. Runs in the agents' thread.
import { createHash } from "node:crypto";
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type Duration, type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { z } from "zod";
import { type Agent, type AsyncAgent, type LogPart, type Metric, SyncAgent } from "./agents.js";
import type { ConfigError } from "./config.js";
import { within } from "./context.js";
import { CallError, Code, FailedPrecondition, isExpected, NotFound, nameOf, SystemFailure, statusOf } from "./errors.js";
import {
  type CreateTaskRequest,
  CreateTaskRequestSchema,
  CreateTaskResponseSchema,
  DeleteTaskRequestSchema,
  DeleteTaskResponseSchema,
  ExecuteTaskSyncResponseSchema,
  GetTaskLogsRequestSchema,
  GetTaskLogsResponseSchema,
  GetTaskMetricsRequestSchema,
  GetTaskMetricsResponseSchema,
  GetTaskRequestSchema,
  GetTaskResponseSchema,
  LogLineOriginator,
  TaskExecutionMetadataSchema,
} from "./gen/flyteidl/admin/agent_pb.js";
import type { TaskExecutionIdentifier } from "./gen/flyteidl/core/identifier_pb.js";
import { LiteralMapSchema } from "./gen/flyteidl/core/literals_pb.js";
import { TaskTemplateSchema } from "./gen/flyteidl/core/tasks_pb.js";
import { LiteralError, toStruct } from "./literals.js";
import { log } from "./log.js";
import type { Counted } from "./metrics.js";
import type { Plugin } from "./plugin.js";
import { failed, isTerminal, Phase, type Resource, toMessage } from "./resource.js";
import { Secret } from "./secrets.js";
import { type Connection, Job, Task } from "./task.js";
import { Temporal } from "./values.js";
import type { WireCall } from "./wire.js";

/** What agents are asked, by the names that errors have. */
export const METHODS = ["Create", "Find", "Abandon", "Get", "Delete", "Metrics", "Logs", "Execute"] as const;

export type Method = (typeof METHODS)[number];

/** What a call brings besides its message. */
export interface CallInfo {
  readonly headers: Readonly<Record<string, string>>;
  /** When the caller stops waiting, in ms since 1970. */
  readonly deadline?: number;
}

/** The same in the agents' thread. */
export interface Brought extends CallInfo {
  /** Aborted when the caller has gone. */
  readonly signal: AbortSignal;
}

/** One of the calls that come many at a time. It hears of its own end, whatever ends it. */
export interface OneOfMany {
  readonly agent: number;
  readonly what: Method;
  /** When the caller stops waiting, in ms since 1970. */
  readonly deadline?: number;
  readonly wire: WireCall;
  /** The runner's, by which it finds the call again. */
  number: number;
  /** Takes the answer, as it goes to the host: a part of some bytes. */
  answered(bytes: Uint8Array, start: number, stop: number): void;
  reject(error: Error): void;
}

/** Takes calls for the agents of a plugin, wherever they run. */
export interface Runner {
  /** Answers a call to the agent of that number. Logs come in parts. Rejects with a CallError. */
  call(
    agent: number,
    method: Method,
    request: Uint8Array,
    info: CallInfo,
    signal: AbortSignal,
    part?: (part: Uint8Array) => void,
  ): Promise<Uint8Array>;
  /** Makes several calls, each as `call` does. */
  callMany(calls: readonly OneOfMany[]): void;
  /** Says that nobody waits for one of them any more. */
  gone(call: OneOfMany): void;
  /** Hands over a configuration that fits the schema. */
  configure(block: string): Promise<ConfigError[]>;
  /** Says that the plugin is being replaced: the newer process takes the new calls. */
  drain(): void;
  /** The metrics of the plugin's own, of each thread. */
  metrics(): Promise<Counted[]>;
  close(): Promise<void>;
}

const IDEMPOTENCY_KEY = "agenthost-idempotency-key";

const draining = new AbortController();

/** Aborted when the plugin is being replaced: what waits or repeats then leaves off, so that the next process can go on. */
export function replaced(): AbortSignal {
  return draining.signal;
}

/** Calls the agents of this thread. */
export class LocalRunner implements Omit<Runner, "call" | "callMany" | "gone"> {
  constructor(
    private readonly plugin: Plugin,
    /** The agents that run here, by their numbers. */
    private readonly numbers = plugin.agents.map((_, number) => number),
  ) {}

  /** Answers a call, as `Runner.call` does. */
  make(
    number: number,
    method: Method,
    request: Uint8Array,
    brought: Brought,
    part: (part: Uint8Array) => void = () => {},
  ): Promise<Uint8Array> {
    const agent = this.plugin.agents[number] as Agent;
    return within(brought, async () => {
      try {
        return await answer(agent, method, request, brought, part);
      } catch (error) {
        const status = statusOf(agent.name, method, error);
        // What an agent throws on purpose, with a code, needs no stack.
        const fields = { agent: agent.name, method, code: nameOf(status.code), error: status.message };
        if (isExpected(error)) log.info("a call failed", fields);
        else log.error("a call failed", { ...fields, stack: error instanceof Error ? error : undefined });
        throw status;
      }
    });
  }

  configure(block: string): Promise<ConfigError[]> {
    return this.plugin.applyBlock(block);
  }

  drain(): void {
    draining.abort();
  }

  async metrics(): Promise<Counted[]> {
    return [await this.plugin.metricsOfThread()];
  }

  async close(): Promise<void> {
    await Promise.all(
      this.numbers.map(async (number) => {
        const agent = this.plugin.agents[number] as Agent;
        try {
          await agent.options.close?.();
        } catch (error) {
          log.error("an agent did not close cleanly", { agent: agent.name, error });
        }
      }),
    );
  }
}

async function answer(
  agent: Agent,
  method: Method,
  request: Uint8Array,
  brought: Brought,
  part: (part: Uint8Array) => void,
): Promise<Uint8Array> {
  if (agent instanceof SyncAgent) return execute(agent, request, brought);
  const { options } = agent;
  const missing = (what: string) => new CallError(Code.UNIMPLEMENTED, `the agent ${agent.name} has no ${what}`);
  switch (method) {
    case "Create":
    case "Find": {
      const call = method === "Create" ? options.create : options.find;
      if (!call) throw missing("find: it does not find jobs by their key");
      const made = await call.call(options, taskOf(request, brought, options.inputs));
      return message(CreateTaskResponseSchema, { resourceMeta: agent.encode(made) as Uint8Array<ArrayBuffer> });
    }
    case "Abandon":
      if (!options.abandon) throw missing("abandon: it does not find jobs by their key");
      await options.abandon(taskOf(request, brought, options.inputs));
      return message(CreateTaskResponseSchema, {});
    case "Get": {
      const about = fromBinary(GetTaskRequestSchema, request);
      const resource = await options.get(jobOf(agent, about, brought));
      return message(GetTaskResponseSchema, { resource: written(resource, options.outputs) });
    }
    case "Delete": {
      const about = fromBinary(DeleteTaskRequestSchema, request);
      try {
        await options.delete(jobOf(agent, about, brought));
      } catch (error) {
        if (!(error instanceof NotFound)) throw error; // what is gone need not be ended
      }
      return message(DeleteTaskResponseSchema, {});
    }
    case "Metrics": {
      if (!options.metrics) throw missing("metrics");
      const about = fromBinary(GetTaskMetricsRequestSchema, request);
      const found = await options.metrics(jobOf(agent, about, brought), {
        queries: about.queries,
        start: about.startTime && instantOf(about.startTime),
        end: about.endTime && instantOf(about.endTime),
        step: about.step && durationOf(about.step),
      });
      const results = found.map(({ metric, data }: Metric) => ({ metric, data: toStruct(data) }));
      return message(GetTaskMetricsResponseSchema, { results });
    }
    case "Logs": {
      if (!options.logs) throw missing("logs");
      const about = fromBinary(GetTaskLogsRequestSchema, request);
      const query = { lines: Number(about.lines), token: about.token };
      for await (const one of options.logs(jobOf(agent, about, brought), query)) {
        if (brought.signal.aborted) break;
        part(logPart(one));
      }
      return new Uint8Array();
    }
  }
  throw new CallError(Code.UNIMPLEMENTED, `the agent ${agent.name} has no ${method}`);
}

async function execute(agent: SyncAgent, request: Uint8Array, brought: Brought): Promise<Uint8Array> {
  const task = taskOf(request, brought, agent.options.inputs);
  const resource: Resource = await agent.options.execute(task);
  const made = toMessage(resource, agent.options.outputs, task.outputTypes);
  if (!isTerminal(resource.phase)) {
    throw new FailedPrecondition(
      `a synchronous agent must end with a terminal phase, not ${Phase[resource.phase]}: FlytePropeller cannot ask again`,
    );
  }
  return message(ExecuteTaskSyncResponseSchema, { res: { case: "header", value: { resource: made } } });
}

/** Outputs that do not fit would not fit the next poll either: the job has failed, and says where. */
function written(resource: Resource, outputs: z.ZodType | undefined) {
  try {
    return toMessage(resource, outputs);
  } catch (error) {
    if (!(error instanceof LiteralError)) throw error;
    return toMessage(failed(new SystemFailure("BadOutputs", error.message)), undefined);
  }
}

function message<D extends DescMessage>(schema: D, init: Parameters<typeof create<D>>[1]): Uint8Array {
  return toBinary(schema, create(schema, init) as MessageShape<D>);
}

/** The task of a request. Inputs that do not fit the agent's schema are refused before it is called. */
// biome-ignore lint/suspicious/noExplicitAny: the agent's own type, which its schema has checked
function taskOf(data: Uint8Array, brought: Brought, inputs: z.ZodType | undefined): Task<any> {
  const request: CreateTaskRequest = fromBinary(CreateTaskRequestSchema, data);
  const metadata = request.taskExecutionMetadata ?? create(TaskExecutionMetadataSchema);
  const task = new Task(
    {
      template: request.template ?? create(TaskTemplateSchema),
      literals: request.inputs ?? create(LiteralMapSchema),
      outputPrefix: request.outputPrefix,
      metadata,
      idempotencyKey: brought.headers[IDEMPOTENCY_KEY] || idempotencyKey(metadata.taskExecutionId, request.outputPrefix),
      connection: connectionOf(request),
      caller: brought,
    },
    inputs,
  );
  if (inputs) void task.inputs;
  return task;
}

interface AboutJob {
  taskType: string;
  taskCategory?: { name: string; version: number };
  resourceMeta: Uint8Array;
  outputPrefix?: string;
  $unknown?: UnknownFields;
}

function jobOf(agent: AsyncAgent, request: AboutJob, brought: Brought): Job<unknown> {
  return new Job(
    agent.decode(request.resourceMeta),
    request.taskCategory?.name || request.taskType,
    request.taskCategory?.version ?? 0,
    request.outputPrefix ?? "",
    connectionOf(request),
    brought,
  );
}

function logPart(part: LogPart): Uint8Array {
  if (typeof part === "object" && "token" in part) {
    return message(GetTaskLogsResponseSchema, { part: { case: "header", value: { token: part.token } } });
  }
  const line = typeof part === "string" ? { message: part } : part;
  const structured = {
    message: line.message,
    timestamp: line.time && timestampOf(line.time),
    originator: LogLineOriginator[line.originator ?? "UNKNOWN"],
  };
  return message(GetTaskLogsResponseSchema, {
    part: { case: "body", value: { results: [line.message], structuredLines: [structured] } },
  });
}

function timestampOf(time: Date | Temporal.Instant): Timestamp {
  const nanoseconds = time instanceof Date ? BigInt(time.getTime()) * 1_000_000n : time.epochNanoseconds;
  const nanos = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return create(TimestampSchema, { seconds: (nanoseconds - nanos) / 1_000_000_000n, nanos: Number(nanos) });
}

function instantOf({ seconds, nanos }: Timestamp): Temporal.Instant {
  return Temporal.Instant.fromEpochNanoseconds(seconds * 1_000_000_000n + BigInt(nanos));
}

function durationOf({ seconds, nanos }: Duration): Temporal.Duration {
  return Temporal.Duration.from({ seconds: Number(seconds), nanoseconds: nanos });
}

type UnknownFields = readonly { no: number; wireType: number; data: Uint8Array }[];

/** flyteidl2.connector's field for the connection, which Flyte 1's messages do not have. */
const CONNECTION = 5;

function connectionOf(request: { $unknown?: UnknownFields }): Connection | undefined {
  const parts = (request.$unknown ?? []).filter(({ no, wireType }) => no === CONNECTION && wireType === WireType.LengthDelimited);
  if (parts.length === 0) return undefined;
  // flyteidl2.core.Connection: task_type = 1, secrets = 2, configs = 3, both maps of texts.
  let taskType = "";
  const secrets: [string, Secret][] = [];
  const configs: [string, string][] = [];
  for (const { data } of parts) {
    for (const [number, field] of fieldsOf(new BinaryReader(data).bytes())) {
      if (number === 1) taskType = text(field);
      if (number !== 2 && number !== 3) continue;
      const entry = new Map(fieldsOf(field));
      const [key, value] = [text(entry.get(1)), text(entry.get(2))];
      if (number === 2) secrets.push([key, new Secret(value)]);
      else configs.push([key, value]);
    }
  }
  return { taskType, secrets: Object.fromEntries(secrets), configs: Object.fromEntries(configs) };
}

function text(data: Uint8Array | undefined): string {
  return data ? Buffer.from(data).toString() : "";
}

/** The fields of a message that have a length. */
function fieldsOf(data: Uint8Array): [number, Uint8Array][] {
  const fields: [number, Uint8Array][] = [];
  const reader = new BinaryReader(data);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited) fields.push([number, reader.bytes()]);
    else reader.skip(type, number);
  }
  return fields;
}

/** Names a task attempt, as the host does: the SHA-256 of ten fields, each with its length before it. */
export function idempotencyKey(execution: TaskExecutionIdentifier | undefined, outputPrefix: string): string {
  const node = execution?.nodeExecutionId;
  const run = node?.executionId;
  if (!execution || !run?.name) return "";
  const task = execution.taskId;
  const digest = createHash("sha256");
  for (const field of [
    ...[run.project, run.domain, run.name, node?.nodeId],
    ...[task?.project, task?.domain, task?.name, task?.version, String(execution.retryAttempt), outputPrefix],
  ]) {
    const bytes = Buffer.from(field ?? "");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    digest.update(length).update(bytes);
  }
  return digest.digest("hex");
}
