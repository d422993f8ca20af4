// A stream of calls, as the main thread serves it: calls come many in one message, and so do their answers leave.
import { create, toBinary } from "@bufbuild/protobuf";
import type grpc from "@grpc/grpc-js";
import { MOST_ANSWERS } from "./batch.js";
import type { Method, OneOfMany, Runner } from "./calls.js";
import { CallError, Code } from "./errors.js";
import { AnswersSchema } from "./gen/agenthost/plugin/v1/plugin_pb.js";
import { AnswersWriter, readCalls, type WireCall } from "./wire.js";

/** The longest that a timer can wait, in ms. */
const LONGEST = 2 ** 31 - 1;
/** The latest that a Date can be, in ms since 1970. */
const LATEST = 8.64e15;

type Stream = grpc.ServerDuplexStream<Uint8Array, Uint8Array>;

/** What a stream needs of its server. */
export interface Exchanging {
  /** The full names of the methods that it takes. */
  readonly methods: readonly string[];
  readonly runner: Runner;
  /** Begins a call, or throws why not. What is begun has to be ended. */
  begin(call: WireCall): { agent: number; what: Method };
  end(): void;
  /** What a call gets for an error. */
  status(error: unknown): Partial<grpc.StatusObject>;
}

/** A call under way. */
class Call implements OneOfMany {
  number = -1;

  constructor(
    private readonly exchange: Exchange,
    readonly wire: WireCall,
    readonly agent: number,
    readonly what: Method,
    readonly deadline: number | undefined,
  ) {}

  answered(bytes: Uint8Array, start: number, stop: number): void {
    this.exchange.answered(this, bytes, start, stop);
  }

  reject(error: Error): void {
    this.exchange.failed(this, error);
  }
}

/** A stream of calls, from its first message to its last. */
export class Exchange {
  /** Those that somebody waits for, by their ids. */
  readonly #calls = new Map<number, Call>();
  readonly #errors = new AnswersWriter();
  /** Answers that wait for the stream, in pieces no larger than a message may be. */
  #ready: { readonly bytes: Uint8Array; readonly start: number; stop: number }[] = [];
  #sending = false;
  #scheduled = false;
  /** The id of the last call. */
  #last = 0;
  /** Whether no call is begun any more: the host makes no more, or the plugin stops. */
  #closed: "no" | "by the host" | "by the plugin" | "for good" = "no";
  #timer?: NodeJS.Timeout;
  /** When the timer looks for calls whose time is over. */
  #expires = Number.POSITIVE_INFINITY;

  constructor(
    private readonly stream: Stream,
    private readonly server: Exchanging,
  ) {
    stream.on("data", (data: Buffer) => this.#receive(data));
    stream.on("end", () => this.#close("by the host"));
    stream.on("cancelled", () => this.#forget());
    this.#write(toBinary(AnswersSchema, create(AnswersSchema, { methods: [...server.methods] })));
  }

  /** Ends the stream behind the answers that are there. */
  end(): void {
    this.#close("by the plugin");
  }

  answered(call: Call, bytes: Uint8Array, start: number, stop: number): void {
    if (this.#settle(call)) this.#push(bytes, start, stop);
    this.server.end();
  }

  failed(call: Call, error: Error): void {
    if (this.#settle(call)) this.#fail(call.wire.id, error);
    this.server.end();
  }

  #receive(data: Buffer): void {
    if (this.#closed !== "no") return;
    let message: ReturnType<typeof readCalls>;
    try {
      message = readCalls(data);
    } catch (error) {
      this.#forget();
      this.stream.emit("error", this.server.status(error));
      return;
    }
    const now = Date.now();
    const begun = message.calls.map((wire) => this.#begin(wire, now)).filter((call) => call !== undefined);
    if (begun.length > 0) this.server.runner.callMany(begun);
    for (const id of message.canceled) this.#leave(this.#calls.get(id));
  }

  #begin(wire: WireCall, now: number): Call | undefined {
    this.#last = wire.id;
    try {
      const { agent, what } = this.server.begin(wire);
      const deadline = wire.timeout > 0 ? Math.min(now + Math.trunc(wire.timeout / 1000), LATEST) : undefined;
      const call = new Call(this, wire, agent, what, deadline);
      this.#calls.set(wire.id, call);
      if (deadline !== undefined) this.#expireAt(deadline);
      return call;
    } catch (error) {
      this.#fail(wire.id, error);
      return undefined;
    }
  }

  /** Lets nobody wait for a call any more, and says whether somebody has until now. */
  #settle(call: Call | undefined): call is Call {
    return call !== undefined && this.#calls.get(call.wire.id) === call && this.#calls.delete(call.wire.id);
  }

  /** Tells a call's agent that nobody waits any more. The call is under way until it ends. */
  #leave(call: Call | undefined): void {
    if (this.#settle(call)) this.server.runner.gone(call);
    this.#schedule();
  }

  /** Has calls looked through at a time, or before. One timer for all costs less than one for each. */
  #expireAt(at: number): void {
    if (at >= this.#expires) return;
    clearTimeout(this.#timer);
    this.#expires = at;
    this.#timer = setTimeout(() => this.#expire(), Math.min(at - Date.now(), LONGEST)).unref();
  }

  #expire(): void {
    this.#expires = Number.POSITIVE_INFINITY;
    const now = Date.now();
    let next = Number.POSITIVE_INFINITY;
    for (const call of this.#calls.values()) {
      const { deadline = Number.POSITIVE_INFINITY } = call;
      if (deadline > now) {
        next = Math.min(next, deadline);
      } else {
        this.#leave(call);
        this.#fail(call.wire.id, new CallError(Code.DEADLINE_EXCEEDED, "Deadline exceeded")); // grpc-js' words
      }
    }
    if (next < Number.POSITIVE_INFINITY) this.#expireAt(next);
  }

  #fail(id: number, error: unknown): void {
    const { code = Code.UNKNOWN, details = "", metadata } = this.server.status(error);
    this.#errors.error(id, code, details, metadata?.getMap() as Record<string, string> | undefined);
    const bytes = this.#errors.take();
    this.#push(bytes, 0, bytes.length);
  }

  #push(bytes: Uint8Array, start: number, stop: number): void {
    const before = this.#ready.at(-1);
    if (before?.bytes === bytes && before.stop === start) before.stop = stop;
    else this.#ready.push({ bytes, start, stop });
    this.#schedule();
  }

  /** Sends what is there when all has come that comes now. */
  #schedule(): void {
    if (this.#scheduled || this.#sending) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#sending || this.#closed === "for good") return;
    if (this.#ready.length > 0) {
      this.#write(this.#message());
    } else if (this.#closed === "by the plugin") {
      this.#closed = "for good";
      this.stream.write(toBinary(AnswersSchema, create(AnswersSchema, { last: BigInt(this.#last) })));
      this.stream.end();
    } else if (this.#closed === "by the host" && this.#calls.size === 0) {
      this.#closed = "for good";
      this.stream.end();
    }
  }

  /** As much as a message may have of what is there. */
  #message(): Uint8Array {
    let [size, count] = [0, 0];
    for (const { start, stop } of this.#ready) {
      if (count > 0 && size + stop - start > MOST_ANSWERS) break;
      size += stop - start;
      count++;
    }
    const pieces = this.#ready.splice(0, count).map(({ bytes, start, stop }) => bytes.subarray(start, stop));
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces, size);
  }

  #write(message: Uint8Array): void {
    this.#sending = true;
    this.stream.write(message, () => {
      this.#sending = false;
      this.#send();
    });
  }

  #close(by: "by the host" | "by the plugin"): void {
    if (this.#closed === "for good") return;
    this.#closed = by;
    this.#schedule();
  }

  /** The host has gone, or does not make sense: nobody waits for an answer. */
  #forget(): void {
    this.#closed = "for good";
    clearTimeout(this.#timer);
    for (const call of this.#calls.values()) this.#leave(call);
  }
}
