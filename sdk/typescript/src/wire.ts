// The messages of CallService as bytes. They are read and written here, bit by bit: the generated code would make several objects of each
// call, which costs more than the whole way of a call among others.

/** The tags of plugin.proto's fields: their numbers, and how they are written. */
const CALL = { ID: 0x08, METHOD: 0x12, REQUEST: 0x1a, TIMEOUT: 0x20, HEADERS: 0x2a, MAX_ANSWER: 0x30 } as const;
const HEADER = { NAME: 0x0a, VALUE: 0x12 } as const;
const CALLS = { CALLS: 0x0a, CANCELED: 0x10, CANCELED_PACKED: 0x12 } as const;
const ANSWERS = { ANSWERS: 0x0a } as const;
const ANSWER = { ID: 0x08, MESSAGE: 0x12, STATUS: 0x1a, TRAILERS: 0x22, OVERSIZE: 0x28 } as const;
const STATUS = { CODE: 0x08, MESSAGE: 0x12 } as const;

/** Reads a message field by field: `while (reader.next())`, what `reader.tag` says. Throws a RangeError where it is none. */
export class Reader {
  tag = 0;
  /** Where the field lies that `bytes` has read. */
  start = 0;
  stop = 0;

  constructor(
    readonly data: Buffer,
    private at = 0,
    private readonly end = data.length,
  ) {}

  /** Goes on to the next field, if there is one, which then has to be read or skipped. */
  next(): boolean {
    if (!this.more) return false;
    this.tag = this.varint();
    if (this.tag < 8) throw new RangeError("no protobuf message: a field has the number 0");
    return true;
  }

  /** Whether anything is left. */
  get more(): boolean {
    return this.at < this.end;
  }

  /** Numbers beyond 2^53 are not exact. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 64; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError("no protobuf message: a number does not end");
  }

  int32(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError("no protobuf message: a number does not end");
  }

  bytes(): void {
    const length = this.varint();
    this.start = this.at;
    this.#skip(length);
    this.stop = this.at;
  }

  text(): string {
    this.bytes();
    return this.data.toString("utf8", this.start, this.stop);
  }

  /** The message that the field is. */
  message(): Reader {
    this.bytes();
    return new Reader(this.data, this.start, this.stop);
  }

  skip(): void {
    switch (this.tag & 7) {
      case 0:
        this.varint();
        break;
      case 1:
        this.#skip(8);
        break;
      case 2:
        this.bytes();
        break;
      case 3:
        for (const group = this.tag; ; this.skip()) {
          if (!this.next()) throw new RangeError("no protobuf message: a group does not end");
          if (this.tag === group + 1) break;
        }
        break;
      case 5:
        this.#skip(4);
        break;
      default:
        throw new RangeError(`no protobuf message: a field is of the wire type ${this.tag & 7}`);
    }
  }

  #byte(): number {
    if (this.at >= this.end) throw new RangeError("no protobuf message: it ends within a field");
    return this.data[this.at++] as number;
  }

  #skip(length: number): void {
    if (length > this.end - this.at) throw new RangeError("no protobuf message: it ends within a field");
    this.at += length;
  }
}

/** A call as the host sends it. Its texts and headers are read where they are asked for. */
export class WireCall {
  id = 0;
  /** In microseconds; 0: without end. */
  timeout = 0;
  /** 0: any. */
  maxAnswer = 0;
  #methodAt = 0;
  #methodTo = 0;
  #requestAt = 0;
  #requestTo = 0;
  #headerFields?: Reader[];
  #headers?: Record<string, string>;

  constructor(
    readonly data: Buffer,
    readonly start: number,
    readonly stop: number,
  ) {
    const fields = new Reader(data, start, stop);
    while (fields.next()) {
      switch (fields.tag) {
        case CALL.ID:
          this.id = fields.varint();
          break;
        case CALL.METHOD:
          fields.bytes();
          this.#methodAt = fields.start;
          this.#methodTo = fields.stop;
          break;
        case CALL.REQUEST:
          fields.bytes();
          this.#requestAt = fields.start;
          this.#requestTo = fields.stop;
          break;
        case CALL.TIMEOUT:
          this.timeout = fields.varint();
          break;
        case CALL.HEADERS:
          this.#headerFields ??= [];
          this.#headerFields.push(fields.message());
          break;
        case CALL.MAX_ANSWER:
          this.maxAnswer = fields.varint();
          break;
        default:
          fields.skip();
      }
    }
  }

  get method(): string {
    return this.data.toString("utf8", this.#methodAt, this.#methodTo);
  }

  requestFields(): Reader {
    return new Reader(this.data, this.#requestAt, this.#requestTo);
  }

  /** As no Buffer: agents get parts of it as values. */
  get request(): Uint8Array {
    return new Uint8Array(this.data.buffer, this.data.byteOffset + this.#requestAt, this.#requestTo - this.#requestAt);
  }

  /** The metadata that is text; of a name that comes again, the first. */
  get headers(): Readonly<Record<string, string>> {
    this.#headers ??= this.#readHeaders();
    return this.#headers;
  }

  #readHeaders(): Record<string, string> {
    const headers: Record<string, string> = {};
    for (const fields of this.#headerFields ?? []) {
      let name = "";
      let value = "";
      while (fields.next()) {
        if (fields.tag === HEADER.NAME) name = fields.text();
        else if (fields.tag === HEADER.VALUE) value = fields.text();
        else fields.skip();
      }
      if (!name.endsWith("-bin")) headers[name] ??= value;
    }
    return headers;
  }
}

/** Reads a message of the host's: its calls, and the ids of those that nobody waits for any more. */
export function readCalls(data: Buffer): { calls: WireCall[]; canceled: number[] } {
  const calls: WireCall[] = [];
  const canceled: number[] = [];
  const fields = new Reader(data);
  while (fields.next()) {
    if (fields.tag === CALLS.CALLS) {
      fields.bytes();
      calls.push(new WireCall(data, fields.start, fields.stop));
    } else if (fields.tag === CALLS.CANCELED) {
      canceled.push(fields.varint());
    } else if (fields.tag === CALLS.CANCELED_PACKED) {
      for (const packed = fields.message(); packed.more; ) canceled.push(packed.varint());
    } else {
      fields.skip();
    }
  }
  return { calls, canceled };
}

/** Where a request says which agent it is for. */
export type CategoryOf = (request: Reader) => { taskType: string; version: number };

/** Of a request about a job, whose `task_category` has a number of its own in each. */
export function categoryOfJob(field: number): CategoryOf {
  return (fields) => {
    let before = ""; // what Flyte asked by when there were no categories, and Flyte 2 has dropped
    let taskType = "";
    let version = 0;
    while (fields.next()) {
      if (fields.tag === 0x0a) before = fields.text();
      else if (fields.tag === ((field << 3) | 2)) {
        const category = fields.message();
        while (category.next()) {
          if (category.tag === 0x0a) taskType = category.text();
          else if (category.tag === 0x10) version = category.int32();
          else category.skip();
        }
      } else fields.skip();
    }
    return { taskType: taskType || before, version };
  };
}

/** Of a CreateTaskRequest, from its template. */
export const categoryOfTask: CategoryOf = (fields) => {
  let taskType = "";
  let version = 0;
  while (fields.next()) {
    if (fields.tag !== 0x12) {
      fields.skip();
      continue;
    }
    const template = fields.message();
    while (template.next()) {
      if (template.tag === 0x12) taskType = template.text();
      else if (template.tag === 0x38) version = template.int32();
      else template.skip();
    }
  }
  return { taskType, version };
};

/** Writes answers as the fields of an Answers, one behind the other. */
export class AnswersWriter {
  #buffer = Buffer.allocUnsafeSlow(4 << 10);
  /** How many bytes there are. */
  size = 0;

  /** An answer; or its size, where that is more than may be. */
  answer(id: number, message: Uint8Array, maxAnswer: number): void {
    const { length } = message;
    const oversize = maxAnswer > 0 && length > maxAnswer;
    this.#begin(1 + lengthOf(id) + (oversize ? 1 + lengthOf(length) : sizeOf(length)));
    this.#number(ANSWER.ID, id);
    if (oversize) this.#number(ANSWER.OVERSIZE, length);
    else this.#bytes(ANSWER.MESSAGE, message);
  }

  /** An error, with its trailers. */
  error(id: number, code: number, message: string, trailers: Readonly<Record<string, string>> = {}): void {
    const text = Buffer.from(message);
    const status = 1 + lengthOf(code) + sizeOf(text.length);
    const headers = Object.entries(trailers).map(([name, value]) => {
      const parts = [Buffer.from(name), Buffer.from(value)] as const;
      return { parts, size: sizeOf(parts[0].length) + sizeOf(parts[1].length) };
    });
    this.#begin(headers.reduce((sum, { size }) => sum + sizeOf(size), 1 + lengthOf(id) + sizeOf(status)));
    this.#number(ANSWER.ID, id);
    this.#number(ANSWER.STATUS, status);
    this.#number(STATUS.CODE, code);
    this.#bytes(STATUS.MESSAGE, text);
    for (const { parts, size } of headers) {
      this.#number(ANSWER.TRAILERS, size);
      this.#bytes(HEADER.NAME, parts[0]);
      this.#bytes(HEADER.VALUE, parts[1]);
    }
  }

  /** What was written, as bytes that share their memory with none. What is written next begins anew. */
  take(): Uint8Array {
    const taken = new Uint8Array(this.size);
    taken.set(this.#buffer.subarray(0, this.size));
    this.size = 0;
    return taken;
  }

  /** Begins an answer of a size. */
  #begin(size: number): void {
    const needed = this.size + sizeOf(size);
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.size));
      this.#buffer = larger;
    }
    this.#number(ANSWERS.ANSWERS, size);
  }

  #bytes(tag: number, bytes: Uint8Array): void {
    this.#number(tag, bytes.length);
    this.#buffer.set(bytes, this.size);
    this.size += bytes.length;
  }

  #number(tag: number, value: number): void {
    this.#buffer[this.size++] = tag;
    for (; value >= 0x80; value = Math.floor(value / 0x80)) this.#buffer[this.size++] = (value % 0x80) | 0x80;
    this.#buffer[this.size++] = value;
  }
}

/** How many bytes a number has. */
function lengthOf(value: number): number {
  let length = 1;
  for (; value >= 0x80; value /= 0x80) length++;
  return length;
}

/** How many bytes a field has that itself has a length. */
function sizeOf(length: number): number {
  return 1 + lengthOf(length) + length;
}
