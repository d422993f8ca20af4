// MessagePack as flytekit writes it for dataclasses and dicts. The kept libraries bend values: @msgpack/msgpack has no maps with keys
// other than text, msgpackr reads extensions of its own, and timestamps only to the millisecond.
import { Temporal } from "temporal-polyfill";
import { Float, MsgPackExtension, MsgPackTimestamp, shown, type Value } from "./values.js";

/** More is nobody's data, and ends the stack. */
const MAX_DEPTH = 512;
const TIMESTAMP = -1;

/** Reads one value, and refuses what it does not understand to the last byte. */
export function unpack(data: Uint8Array): Value {
  const reader = new Reader(data);
  const value = reader.value(0);
  if (reader.left > 0) throw new Error(`${reader.left} bytes follow the value`);
  return value;
}

class Reader {
  private readonly view: DataView;
  private readonly text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  private at = 0;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get left(): number {
    return this.data.length - this.at;
  }

  value(depth: number): Value {
    if (depth > MAX_DEPTH) throw new Error(`it is nested deeper than ${MAX_DEPTH}`);
    const code = this.uint(1);
    if (code < 0x80) return code;
    if (code < 0x90) return this.map(code & 0x0f, depth);
    if (code < 0xa0) return this.list(code & 0x0f, depth);
    if (code < 0xc0) return this.string(code & 0x1f);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.bytes(this.uint(1 << (code - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.extension(this.uint(1 << (code - 0xc7)));
      case 0xca:
        return this.view.getFloat32(this.skip(4));
      case 0xcb:
        return this.view.getFloat64(this.skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.uint(1 << (code - 0xcc));
      case 0xcf:
        return narrow(this.view.getBigUint64(this.skip(8)));
      case 0xd0:
        return this.view.getInt8(this.skip(1));
      case 0xd1:
        return this.view.getInt16(this.skip(2));
      case 0xd2:
        return this.view.getInt32(this.skip(4));
      case 0xd3:
        return narrow(this.view.getBigInt64(this.skip(8)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.extension(1 << (code - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.string(this.uint(1 << (code - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.list(this.uint(2 << (code - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.map(this.uint(2 << (code - 0xde)), depth);
    }
    throw new Error(`there is no code ${code}`);
  }

  private skip(bytes: number): number {
    if (this.left < bytes) throw new Error("it is cut short");
    this.at += bytes;
    return this.at - bytes;
  }

  private uint(bytes: number): number {
    const at = this.skip(bytes);
    return bytes === 1 ? this.view.getUint8(at) : bytes === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  private bytes(length: number): Uint8Array {
    const at = this.skip(length);
    return this.data.slice(at, at + length);
  }

  private string(length: number): string {
    const at = this.skip(length);
    try {
      return this.text.decode(this.data.subarray(at, at + length));
    } catch {
      throw new Error("a text is no UTF-8");
    }
  }

  private list(length: number, depth: number): Value[] {
    const list: Value[] = [];
    for (let i = 0; i < length; i++) list.push(this.value(depth + 1));
    return list;
  }

  private map(length: number, depth: number): Value {
    const entries = new Map<Value, Value>();
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      if (Array.isArray(key) || key instanceof Map || (typeof key === "object" && key?.constructor === Object)) {
        throw new Error("a map has a list or a map as a key");
      }
      entries.set(key, this.value(depth + 1));
    }
    const texts = [...entries.keys()].every((key) => typeof key === "string");
    return texts ? Object.fromEntries(entries) : entries;
  }

  private extension(length: number): Value {
    const code = this.view.getInt8(this.skip(1));
    const data = this.bytes(length);
    return code === TIMESTAMP ? timestamp(data) : new MsgPackExtension(code, data);
  }
}

function timestamp(data: Uint8Array): MsgPackTimestamp {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const made = ((): MsgPackTimestamp => {
    switch (data.length) {
      case 4:
        return new MsgPackTimestamp(BigInt(view.getUint32(0)), 0);
      case 8: {
        const both = view.getBigUint64(0);
        return new MsgPackTimestamp(both & 0x3ffffffffn, Number(both >> 34n));
      }
      case 12:
        return new MsgPackTimestamp(view.getBigInt64(4), view.getUint32(0));
    }
    throw new Error(`a timestamp has ${data.length} bytes`);
  })();
  if (made.nanos > 999_999_999) throw new Error(`a timestamp has ${made.nanos} ns`);
  return made;
}

/** An integer as a number, where that holds it. */
export function narrow(integer: bigint): number | bigint {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

/** Writes a value. Whole numbers become integers, but for `float(…)`; times become texts, as flytekit reads them. */
export function pack(value: unknown): Uint8Array {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.done();
}

class Writer {
  private buffer = new Uint8Array(256);
  private view = new DataView(this.buffer.buffer);
  private length = 0;
  private readonly text = new TextEncoder();

  done(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }

  value(value: unknown, depth: number): void {
    if (depth > MAX_DEPTH) throw new Error(`it is nested deeper than ${MAX_DEPTH}, or contains itself`);
    if (value === null || value === undefined) return this.bytesOf(0xc0);
    switch (typeof value) {
      case "boolean":
        return this.bytesOf(value ? 0xc3 : 0xc2);
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? this.integer(BigInt(value)) : this.float(value);
      case "bigint":
        return this.integer(value);
      case "string":
        return this.string(value);
      case "object":
        return this.object(value, depth);
    }
    throw new Error(`there is no form for a ${shown(value)}`);
  }

  private object(value: object, depth: number): void {
    if (value instanceof Float) return this.float(value.value);
    if (value instanceof Uint8Array) return this.header(value, [0xc4, 0xc5, 0xc6]);
    if (value instanceof MsgPackTimestamp) return this.extension(TIMESTAMP, timestampBytes(value));
    if (value instanceof MsgPackExtension) return this.extension(value.code, value.data);
    if (value instanceof Temporal.Duration) return this.float(value.total("seconds")); // as flytekit has it
    if (value instanceof Date || value instanceof Temporal.Instant) return this.string(isoformat(value));
    if (Array.isArray(value)) {
      this.count(value.length, 0x90, 0x0f, [0xdc, 0xdd]);
      for (const one of value) this.value(one, depth + 1);
      return;
    }
    if (!(value instanceof Map) && !isPlain(value)) throw new Error(`there is no form for a ${shown(value)}`);
    const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, one]) => one !== undefined);
    this.count(entries.length, 0x80, 0x0f, [0xde, 0xdf]);
    for (const [key, one] of entries) {
      this.value(key, depth + 1);
      this.value(one, depth + 1);
    }
  }

  private bytesOf(...bytes: number[]): void {
    this.append(Uint8Array.from(bytes));
  }

  private append(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  private room(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return;
    const larger = new Uint8Array(Math.max(2 * this.buffer.length, this.length + bytes));
    larger.set(this.buffer);
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }

  private float(value: number): void {
    this.room(9);
    this.view.setUint8(this.length, 0xcb);
    this.view.setFloat64(this.length + 1, value);
    this.length += 9;
  }

  private integer(value: bigint): void {
    if (value < -(2n ** 63n) || value >= 2n ** 64n) throw new Error(`an integer has 64 bits at most, got ${value}`);
    if (value >= -32n && value < 128n) return this.bytesOf(Number(value) & 0xff);
    const bytes = [1, 2, 4, 8].find((n) => (value < 0n ? value >= -(2n ** BigInt(8 * n - 1)) : value < 2n ** BigInt(8 * n))) as number;
    this.bytesOf((value < 0n ? 0xd0 : 0xcc) + Math.log2(bytes));
    for (let shift = 8 * (bytes - 1); shift >= 0; shift -= 8) this.bytesOf(Number((value >> BigInt(shift)) & 0xffn));
  }

  private string(value: string): void {
    if (!value.isWellFormed()) throw new Error(`a text is no Unicode: ${shown(value)}`);
    const bytes = this.text.encode(value);
    if (bytes.length < 32) {
      this.bytesOf(0xa0 | bytes.length);
      return this.append(bytes);
    }
    this.header(bytes, [0xd9, 0xda, 0xdb]);
  }

  private header(bytes: Uint8Array, [short, middle, long]: [number, number, number]): void {
    if (bytes.length < 0x100) this.bytesOf(short, bytes.length);
    else this.count(bytes.length, 0, -1, [middle, long]);
    this.append(bytes);
  }

  /** How many elements follow: in the code itself up to `fits`, or behind it in two or four bytes. */
  private count(n: number, fix: number, fits: number, [middle, long]: [number, number]): void {
    if (n <= fits) return this.bytesOf(fix | n);
    if (n < 0x10000) return this.bytesOf(middle, n >> 8, n & 0xff);
    this.bytesOf(long, n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);
  }

  private extension(code: number, data: Uint8Array): void {
    const fixed = [1, 2, 4, 8, 16].indexOf(data.length);
    if (fixed >= 0) this.bytesOf(0xd4 + fixed);
    else if (data.length < 0x100) this.bytesOf(0xc7, data.length);
    else this.count(data.length, 0, -1, [0xc8, 0xc9]);
    this.bytesOf(code & 0xff);
    this.append(data);
  }
}

function timestampBytes({ seconds, nanos }: MsgPackTimestamp): Uint8Array {
  const data = new Uint8Array(12);
  const view = new DataView(data.buffer);
  view.setUint32(0, nanos);
  view.setBigInt64(4, seconds);
  return data;
}

function isoformat(time: Date | Temporal.Instant): string {
  if (time instanceof Date && Number.isNaN(time.getTime())) throw new Error("a Date is invalid");
  return (time instanceof Date ? time.toISOString() : time.toString()).replace(/Z$/, "+00:00");
}

/** An object that is nothing but its fields. */
export function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
