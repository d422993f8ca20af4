// A plugin's gRPC server: Flyte's agent services in front of a runner, what go-plugin and the host ask, and the end.
import { create, type DescMessage, type DescMethod, type DescService, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import grpc from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import type { Agent } from "./agents.js";
import type { CallInfo, Method, Runner } from "./calls.js";
import { CallError, Code, cut, reasonOf } from "./errors.js";
import { Exchange } from "./exchange.js";
import {
  CallService,
  ConfigureRequestSchema,
  ConfigureResponseSchema,
  DescribeResponseSchema,
  DrainResponseSchema,
  MetricsResponseSchema,
  PluginService,
} from "./gen/agenthost/plugin/v1/plugin_pb.js";
import {
  AgentSchema,
  CreateTaskRequestSchema,
  ExecuteTaskSyncRequestSchema,
  GetAgentRequestSchema,
  GetAgentResponseSchema,
  ListAgentsResponseSchema,
} from "./gen/flyteidl/admin/agent_pb.js";
import { AgentMetadataService, AsyncAgentService, SyncAgentService } from "./gen/flyteidl/service/agent_pb.js";
import { GRPCController, GRPCStdio } from "./gen/goplugin/goplugin_pb.js";
import type { Certificate } from "./handshake.js";
import { log } from "./log.js";
import { textOf } from "./metrics.js";
import type { Plugin } from "./plugin.js";
import { type CategoryOf, categoryOfJob, categoryOfTask, Reader, type WireCall } from "./wire.js";

/** What a plugin takes at most, from being asked to stop, for its calls under way and its agents' close, in ms. */
const STOP_GRACE = 5_000;
/** What it then takes at most for the last answers to leave, in ms. */
const ANSWER_GRACE = 1_000;

type Unary = grpc.ServerUnaryCall<Uint8Array, Uint8Array>;
type Answer = grpc.sendUnaryData<Uint8Array>;
type Streamed = grpc.ServerWritableStream<Uint8Array, Uint8Array>;
type Both = grpc.ServerDuplexStream<Uint8Array, Uint8Array>;

/** An asynchronous agent's call: what the agent is asked, and where the request says which agent. */
interface Routed {
  readonly what: Method;
  readonly category: CategoryOf;
}

const LOGS: Routed = { what: "Logs", category: categoryOfJob(5) };

/** Those with one answer, by their names in grpc-js. */
const UNARY: Readonly<Record<string, Routed>> = {
  createTask: { what: "Create", category: categoryOfTask },
  getTask: { what: "Get", category: categoryOfJob(3) },
  deleteTask: { what: "Delete", category: categoryOfJob(3) },
  getTaskMetrics: { what: "Metrics", category: categoryOfJob(7) },
};

/** The same by their full names. */
const BY_PATH = new Map(Object.entries(UNARY).map(([name, routed]) => [definitionOf(AsyncAgentService)[name]?.path as string, routed]));

/** A service as grpc-js takes it, whose messages stay bytes: agents decode them in their own threads. */
export function definitionOf(service: DescService): grpc.ServiceDefinition {
  const bytes = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const one = (method: DescMethod): [string, grpc.MethodDefinition<Uint8Array, Uint8Array>] => [
    method.localName,
    {
      path: `/${service.typeName}/${method.name}`,
      requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
      responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
      requestSerialize: bytes,
      requestDeserialize: (data) => data,
      responseSerialize: bytes,
      responseDeserialize: (data) => data,
    },
  ];
  return Object.fromEntries(service.methods.map(one));
}

/** A running server. */
export class PluginServer {
  readonly #server: grpc.Server;
  readonly #agents: Agents;
  readonly #held = new Set<Streamed>();
  readonly #exchanges = new Set<Exchange>();
  #configured: boolean;
  #configuring = false;
  #running = 0;
  #draining = false;
  #drained = false;
  #idle = () => {};
  #ending?: Promise<void>;
  /** Resolves when the calls under way have ended and the agents are closed. */
  readonly closed: Promise<void>;
  #closed = () => {};

  constructor(
    private readonly plugin: Plugin,
    private readonly runner: Runner,
  ) {
    this.#agents = new Agents(plugin.agents);
    this.#configured = !plugin.takesConfiguration;
    this.closed = new Promise((resolve) => {
      this.#closed = resolve;
    });
    this.#server = new grpc.Server({
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
    this.#register();
  }

  /** Listens at an address; with the plugin's certificate and the client's, only for that client. */
  listen(address: string, tls?: { own: Certificate; client: Buffer }): Promise<void> {
    const credentials = tls
      ? grpc.ServerCredentials.createSsl(tls.client, [{ private_key: tls.own.key, cert_chain: tls.own.certificate }], true)
      : grpc.ServerCredentials.createInsecure();
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, credentials, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Begins the end; once, however often it is asked for. */
  end(maxWait = STOP_GRACE): Promise<void> {
    this.#ending ??= this.#end(Math.min(maxWait, STOP_GRACE));
    return this.#ending;
  }

  /** Waits for the end, answers that are on their way included. */
  async ended(): Promise<void> {
    await this.closed;
    for (const stream of this.#held) stream.end();
    await Promise.race([new Promise((resolve) => this.#server.tryShutdown(resolve)), pause(ANSWER_GRACE)]);
    this.#server.forceShutdown();
  }

  /** Calls under way get three quarters of the time, the agents' close the rest. */
  async #end(maxWait: number): Promise<void> {
    this.#draining = true;
    this.runner.drain();
    if (this.#running > 0) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#idle = resolve;
        }),
        pause((maxWait * 3) / 4),
      ]);
    }
    if (this.#running > 0) log.error("the plugin stops with calls under way", { calls: this.#running });
    this.#drained = true;
    for (const exchange of this.#exchanges) exchange.end();
    try {
      await Promise.race([this.runner.close(), pause(maxWait / 4)]);
    } catch (error) {
      log.error("the plugin did not stop cleanly", { error });
    }
    this.#closed();
  }

  #register(): void {
    const unary = (routed: Routed) => (call: Unary, answer: Answer) =>
      this.#unary(call, answer, async (signal) => {
        const { agent, what } = this.#route(routed, fieldsOf(call), (header) => call.metadata.get(header).length > 0);
        return this.runner.call(agent, what, call.request, infoOf(call), signal);
      });
    this.#server.addService(definitionOf(AsyncAgentService), {
      ...Object.fromEntries(Object.entries(UNARY).map(([name, routed]) => [name, unary(routed)])),
      getTaskLogs: (call: Streamed) =>
        this.#stream(call, async (signal) => {
          const { agent, what } = this.#route(LOGS, fieldsOf(call));
          await this.runner.call(agent, what, call.request, infoOf(call), signal, (part) => void call.write(part));
        }),
    });
    this.#server.addService(definitionOf(CallService), { exchange: (call: Both) => this.#exchange(call) });
    this.#server.addService(definitionOf(SyncAgentService), {
      executeTaskSync: (call: Both) => this.#stream(call, async (signal) => void call.write(await this.#execute(call, signal))),
    });
    this.#server.addService(definitionOf(AgentMetadataService), {
      listAgents: (_call: Unary, answer: Answer) => answer(null, encoded(ListAgentsResponseSchema, { agents: this.#agents.listed })),
      getAgent: (call: Unary, answer: Answer) => {
        const { name } = fromBinary(GetAgentRequestSchema, call.request);
        const agent = this.#agents.listed.find((one) => one.name === name);
        if (agent) answer(null, encoded(GetAgentResponseSchema, { agent }));
        else answer({ code: Code.NOT_FOUND, details: `this plugin has no agent "${name}"` });
      },
    });
    this.#server.addService(definitionOf(PluginService), {
      describe: (_call: Unary, answer: Answer) => answer(null, encoded(DescribeResponseSchema, this.plugin.describe())),
      configure: (call: Unary, answer: Answer) => this.#configure(call, answer),
      drain: (_call: Unary, answer: Answer) => {
        this.runner.drain();
        answer(null, encoded(DrainResponseSchema, {}));
      },
      metrics: (_call: Unary, answer: Answer) =>
        void this.#metrics().then(
          (text) => answer(null, encoded(MetricsResponseSchema, { text: Buffer.from(text) })),
          (error) => answer(statusObject(error)),
        ),
    });
    this.#server.addService(definitionOf(GRPCController), {
      shutdown: (call: Unary, answer: Answer) => {
        // Four fifths of what the host waits, so that the answer still reaches it.
        const left = (deadlineOf(call) ?? Number.POSITIVE_INFINITY) - Date.now();
        void this.end((left * 4) / 5).then(() => answer(null, encoded(EmptySchema, {})));
      },
    });
    // Held open and empty: what is printed goes to standard error.
    this.#server.addService(definitionOf(GRPCStdio), {
      streamStdio: (call: Streamed) => {
        this.#held.add(call);
        call.on("cancelled", () => this.#held.delete(call));
      },
    });
    new HealthImplementation({ plugin: "SERVING" }).addToServer(this.#server);
  }

  /** Finds the agent for a call, if there is one that may be called. */
  #route({ what, category }: Routed, request: Reader, asked: (header: string) => boolean = () => false): { agent: number; what: Method } {
    const { taskType, version } = category(request);
    const agent = this.#agents.find(taskType, version, false);
    if (!this.#configured) throw this.plugin.notConfigured;
    // Whatever the values: what asks for less than a creation must not make a job.
    if (what === "Create" && asked("agenthost-find-only")) return { agent, what: "Find" };
    if (what === "Create" && asked("agenthost-abandon")) return { agent, what: "Abandon" };
    return { agent, what };
  }

  /** Takes calls many at a time. The stream is no call under way; its calls are. */
  #exchange(stream: Both): void {
    const exchange = new Exchange(stream, {
      methods: [...BY_PATH.keys()],
      runner: this.runner,
      begin: (call) => this.#begin(call),
      end: () => this.#ended(),
      status: statusObject,
    });
    this.#exchanges.add(exchange);
    stream.on("cancelled", () => this.#exchanges.delete(exchange));
    if (this.#drained) exchange.end();
  }

  #begin(call: WireCall): { agent: number; what: Method } {
    const routed = BY_PATH.get(call.method);
    // grpc-js' words.
    if (!routed) throw new CallError(Code.UNIMPLEMENTED, `The server does not implement the method ${call.method}`);
    if (this.#draining) throw this.#notTaken();
    const found = this.#route(routed, call.requestFields(), (header) => call.headers[header] !== undefined);
    this.#running++;
    return found;
  }

  #ended(): void {
    this.#running--;
    if (this.#running === 0) this.#idle();
  }

  #notTaken(): NotTaken {
    return new NotTaken(`plugin ${this.plugin.name} is stopping`);
  }

  /** Answers with one message, the header with the resource and its outputs: FlytePropeller reads no more. */
  async #execute(call: Both, signal: AbortSignal): Promise<Uint8Array> {
    const request = create(CreateTaskRequestSchema);
    let begun = false;
    for (const data of await received(call)) {
      const { part } = fromBinary(ExecuteTaskSyncRequestSchema, data);
      if (part.case === "header") {
        begun = true;
        request.template = part.value.template;
        request.outputPrefix = part.value.outputPrefix;
        request.taskExecutionMetadata = part.value.taskExecutionMetadata;
        request.$unknown = part.value.$unknown; // Flyte 2's connection
      } else if (part.case === "inputs") {
        request.inputs ??= part.value;
        Object.assign(request.inputs.literals, part.value.literals);
      }
    }
    if (!begun) {
      throw new CallError(Code.INVALID_ARGUMENT, "the call has no header: ExecuteTaskSync needs a header with the task's template first");
    }
    const agent = this.#agents.find(request.template?.type ?? "", request.template?.taskTypeVersion ?? 0, true);
    if (!this.#configured) throw this.plugin.notConfigured;
    return this.runner.call(agent, "Execute", toBinary(CreateTaskRequestSchema, request), infoOf(call), signal);
  }

  async #unary(call: Unary, answer: Answer, work: (signal: AbortSignal) => Promise<Uint8Array>): Promise<void> {
    try {
      answer(null, await this.#counted(call, work));
    } catch (error) {
      answer(statusObject(error));
    }
  }

  async #stream(call: Streamed | Both, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    try {
      await this.#counted(call, work);
      call.end();
    } catch (error) {
      call.emit("error", statusObject(error));
    }
  }

  /** Does the work of one of Flyte's calls. Those end before the plugin does, and one that stops takes no new ones. */
  async #counted<T>(call: Unary | Streamed | Both, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#draining) throw this.#notTaken();
    const gone = new AbortController();
    (call as Unary).on("cancelled", () => gone.abort());
    this.#running++;
    try {
      return await work(gone.signal);
    } finally {
      this.#ended();
    }
  }

  async #metrics(): Promise<string> {
    return this.plugin.hasMetrics ? textOf(await this.runner.metrics()) : "";
  }

  async #configure(call: Unary, answer: Answer): Promise<void> {
    try {
      const { config: block } = fromBinary(ConfigureRequestSchema, call.request);
      if (this.#configuring || (this.#configured && this.plugin.takesConfiguration)) {
        throw new CallError(
          Code.FAILED_PRECONDITION,
          `plugin ${this.plugin.name} is configured already: a process takes its configuration once`,
        );
      }
      this.#configuring = true;
      let errors = this.plugin.checkBlock(block);
      if (errors.length === 0) errors = await this.runner.configure(block);
      this.#configured ||= errors.length === 0;
      answer(null, encoded(ConfigureResponseSchema, { errors }));
    } catch (error) {
      answer(statusObject(error));
    } finally {
      this.#configuring = false;
    }
  }
}

/** A call that came too late. The trailer tells the host that it was not begun, so that it can be made again elsewhere. */
class NotTaken extends CallError {
  readonly metadata = new grpc.Metadata();

  constructor(message: string) {
    super(Code.UNAVAILABLE, message);
    this.metadata.set("agenthost-not-taken", "1");
  }
}

/** The agents of a plugin, found as Flyte asks for them, by their numbers. */
class Agents {
  readonly listed;
  readonly #byType = new Map<string, Map<number, number>>();

  constructor(private readonly agents: readonly Agent[]) {
    agents.forEach((agent, number) => {
      for (const { taskType, version } of agent.categories) {
        const versions = this.#byType.get(taskType) ?? new Map<number, number>();
        this.#byType.set(taskType, versions.set(version, number));
      }
    });
    const grouped = new Map<string, Agent[]>();
    for (const agent of agents) {
      const key = JSON.stringify([agent.name, agent.isSync]);
      grouped.set(key, [...(grouped.get(key) ?? []), agent]);
    }
    this.listed = [...grouped.values()].map((same) => {
      const { name, isSync } = same[0] as Agent;
      // The highest version of a type comes last, which is the one that Flyte 1 keeps.
      const categories = same.flatMap((agent) => agent.categories).sort((one, other) => one.version - other.version);
      return create(AgentSchema, {
        name,
        isSync,
        supportedTaskTypes: [...new Set(categories.map(({ taskType }) => taskType))],
        supportedTaskCategories: categories.map(({ taskType, version }) => ({ name: taskType, version })),
      });
    });
  }

  /** The agent for a category: that of its version, or else that of the highest version of the name. */
  find(taskType: string, version: number, isSync: boolean): number {
    const versions = this.#byType.get(taskType);
    if (!versions) {
      const known = [...this.#byType.keys()].sort().map((name) => `"${name}"`);
      throw new CallError(Code.NOT_FOUND, `no agent here serves task category "${taskType}"; there are agents for ${known.join(", ")}`);
    }
    const number = versions.get(version) ?? (versions.get(Math.max(...versions.keys())) as number);
    const found = this.agents[number] as Agent;
    if (found.isSync !== isSync) {
      const [kind, call] = found.isSync
        ? ["synchronous", "SyncAgentService.ExecuteTaskSync"]
        : ["asynchronous", "AsyncAgentService.CreateTask"];
      throw new CallError(
        Code.FAILED_PRECONDITION,
        `task category "${taskType}" is served by the ${kind} agent "${found.name}": call ${call}`,
      );
    }
    return number;
  }
}

/** All that the caller sends. (Iterating over the call would destroy it at its end, the answers' half too.) */
function received(call: Both): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = [];
  return new Promise((resolve, reject) => {
    call.on("data", (data: Uint8Array) => parts.push(data));
    call.on("end", () => resolve(parts));
    call.on("error", reject);
    call.on("cancelled", () => reject(new CallError(Code.CANCELLED, "the caller has gone")));
  });
}

function encoded<D extends DescMessage>(schema: D, init: Parameters<typeof create<D>>[1]): Uint8Array {
  return toBinary(schema, create(schema, init) as MessageShape<D>);
}

function fieldsOf(call: Unary | Streamed): Reader {
  return new Reader(call.request as Buffer);
}

function infoOf(call: Unary | Streamed | Both): CallInfo {
  const headers = Object.entries(call.metadata.getMap()).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return { headers: Object.fromEntries(headers), deadline: deadlineOf(call) };
}

/** When the caller stops waiting, in ms since 1970. */
function deadlineOf(call: Unary | Streamed | Both): number | undefined {
  const deadline = Number(call.getDeadline());
  return Number.isFinite(deadline) ? deadline : undefined;
}

function statusObject(error: unknown): Partial<grpc.StatusObject> {
  if (error instanceof CallError) {
    return { code: error.code, details: error.message, ...(error instanceof NotTaken && { metadata: error.metadata }) };
  }
  log.error("a call failed", { error });
  return { code: Code.INTERNAL, details: cut(reasonOf(error), 4 << 10) };
}

/** Waits, without keeping the process alive. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
