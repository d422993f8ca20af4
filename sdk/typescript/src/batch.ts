// Calls that come many at a time, in the agents' thread: each is made like one that comes by itself, and answers that are ready together
// leave together. What goes from thread to thread is bytes and numbers, since an object for each call would cost more than the call.
import { type Brought, type CallInfo, LocalRunner, METHODS, type Method, type OneOfMany, type Runner } from "./calls.js";
import { CallError, Code, reasonOf } from "./errors.js";
import { AnswersWriter, WireCall } from "./wire.js";

/** Calls on their way to the agents' thread. */
export interface Calls {
  /** Of each call: its number, its agent's, its method's, its deadline in ms since 1970 (0: none), and where its bytes end. */
  readonly numbers: readonly number[];
  /** The calls as the host has sent them, one behind the other. */
  readonly bytes: Uint8Array;
}

/** Answers on their way back. */
export interface Answers {
  /** Of each answer: its call's number, and where its bytes end. */
  readonly numbers: readonly number[];
  /** The answers as they go to the host, one behind the other. */
  readonly bytes: Uint8Array;
}

/** Puts calls together. */
export function together(calls: readonly OneOfMany[]): Calls {
  const bytes = new Uint8Array(calls.reduce((size, { wire }) => size + wire.stop - wire.start, 0));
  const numbers: number[] = [];
  let stop = 0;
  for (const call of calls) {
    const { data, start, stop: end } = call.wire;
    bytes.set(data.subarray(start, end), stop);
    stop += end - start;
    numbers.push(call.number, call.agent, METHODS.indexOf(call.what), call.deadline ?? 0, stop);
  }
  return { numbers, bytes };
}

/** Hands out answers that came together, each by its call's number. */
export function apart({ numbers, bytes }: Answers, hand: (number: number, bytes: Uint8Array, start: number, stop: number) => void): void {
  let start = 0;
  for (let at = 0; at < numbers.length; at += 2) {
    const stop = numbers[at + 1] as number;
    hand(numbers[at] as number, bytes, start, stop);
    start = stop;
  }
}

/** How many bytes of answers go at once, but for a single larger answer. */
export const MOST_ANSWERS = 256 << 10;

/** How long a call may hold its thread before answers that are there leave ahead of the next one, in ms. */
const PATIENCE = 1;

/** What a call brings. Its signal is made when it is asked for: it would cost a quarter of a call. */
class Caller implements Brought {
  #controller?: AbortController;
  #gone = false;

  constructor(
    private readonly wire: WireCall,
    readonly deadline: number | undefined,
  ) {}

  get headers(): Readonly<Record<string, string>> {
    return this.wire.headers;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#gone) this.#controller.abort();
    return this.#controller.signal;
  }

  leave(): void {
    this.#gone = true;
    this.#controller?.abort();
  }
}

interface Begun {
  readonly number: number;
  readonly agent: number;
  readonly method: Method;
  readonly wire: WireCall;
  readonly caller: Caller;
}

/** Makes calls that come together, and gives their answers away as they come together. */
export class Batches {
  readonly #begun = new Map<number, Begun>();
  readonly #out = new AnswersWriter();
  #numbers: number[] = [];
  #leaving = false;
  #lastBegun = 0;

  constructor(
    private readonly runner: LocalRunner,
    private readonly send: (answers: Answers) => void,
  ) {}

  /** Begins calls. Each has a turn of its own, as if it had come by itself: what it does at once is done before the next begins. */
  begin({ numbers, bytes }: Calls): void {
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let start = 0;
    for (let at = 0; at < numbers.length; at += 5) {
      const stop = numbers[at + 4] as number;
      const wire = new WireCall(data, start, stop);
      const call: Begun = {
        number: numbers[at] as number,
        agent: numbers[at + 1] as number,
        method: METHODS[numbers[at + 2] as number] as Method,
        wire,
        caller: new Caller(wire, numbers[at + 3] || undefined),
      };
      this.#begun.set(call.number, call);
      setImmediate(this.#make, call);
      start = stop;
    }
  }

  /** Nobody waits for a call any more. */
  gone(number: number): void {
    this.#begun.get(number)?.caller.leave();
  }

  readonly #make = (call: Begun): void => {
    const now = performance.now();
    if (now - this.#lastBegun > PATIENCE) this.#leave(); // the next call may hold the thread as long as the last
    this.#lastBegun = now;
    const { agent, method, wire, caller } = call;
    this.runner.make(agent, method, wire.request, caller).then(
      (message) => {
        this.#makeRoom(message.length);
        this.#out.answer(wire.id, message, wire.maxAnswer);
        this.#ended(call);
      },
      (error) => {
        const message = reasonOf(error);
        this.#makeRoom(message.length);
        this.#out.error(wire.id, error instanceof CallError ? error.code : Code.INTERNAL, message);
        this.#ended(call);
      },
    );
  };

  #makeRoom(size: number): void {
    if (this.#out.size + size > MOST_ANSWERS) this.#leave();
  }

  #ended(call: Begun): void {
    this.#begun.delete(call.number);
    this.#numbers.push(call.number, this.#out.size);
    if (this.#leaving) return;
    this.#leaving = true;
    setImmediate(this.#leave);
  }

  readonly #leave = (): void => {
    this.#leaving = false;
    if (this.#numbers.length === 0) return;
    const numbers = this.#numbers;
    this.#numbers = [];
    this.send({ numbers, bytes: this.#out.take() });
  };
}

/** Calls the agents in the thread that serves, as a test's plugin does. */
export class WholeRunner extends LocalRunner implements Runner {
  readonly #calls = new Map<number, OneOfMany>();
  #next = 0;
  readonly #batches = new Batches(this, (answers) =>
    apart(answers, (number, ...answer) => {
      const call = this.#calls.get(number);
      this.#calls.delete(number);
      call?.answered(...answer);
    }),
  );

  call(agent: number, method: Method, request: Uint8Array, info: CallInfo, signal: AbortSignal, part?: (part: Uint8Array) => void) {
    return this.make(agent, method, request, { ...info, signal }, part);
  }

  callMany(calls: readonly OneOfMany[]): void {
    for (const call of calls) {
      call.number = this.#next++;
      this.#calls.set(call.number, call);
    }
    this.#batches.begin(together(calls));
  }

  gone(call: OneOfMany): void {
    this.#batches.gone(call.number);
  }
}
