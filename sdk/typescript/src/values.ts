// What inputs and outputs are in TypeScript.
import { Temporal } from "temporal-polyfill";

export { Temporal };

/**
 * What a literal is, where no schema says otherwise. An integer is a number, and a bigint where a number cannot hold it; a
 * datetime is a `Temporal.Instant`, a duration a `Temporal.Duration`; a map with keys that are no text is a `Map`.
 */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Temporal.Instant
  | Temporal.Duration
  | Float
  | File
  | Directory
  | StructuredDataset
  | Binary
  | FlyteError
  | MsgPackTimestamp
  | MsgPackExtension
  | Value[]
  | Map<Value, Value>
  | { [key: string]: Value };

/** One file in storage. */
export class File {
  constructor(
    readonly uri: string,
    readonly format = "",
  ) {}
}

/** A folder in storage. */
export class Directory {
  constructor(
    readonly uri: string,
    readonly format = "",
  ) {}
}

/** Flyte's simple types, as the columns of a table have them. */
export type ColumnType = "INTEGER" | "FLOAT" | "STRING" | "BOOLEAN" | "DATETIME" | "DURATION" | (string & {});

/** A table in storage. Its columns are names with their types, where they are known. */
export class StructuredDataset {
  constructor(
    readonly uri: string,
    readonly format = "",
    readonly columns: Readonly<Record<string, ColumnType>> = {},
  ) {}
}

/** Bytes that somebody has named the form of. */
export class Binary {
  constructor(
    readonly value: Uint8Array,
    readonly tag = "",
  ) {}
}

/** What Flyte says of a failure, to the task that handles it. */
export class FlyteError {
  constructor(
    readonly message: string,
    readonly failedNode = "",
  ) {}
}

/** A number that is written as a float, also where it is whole: JavaScript itself does not tell 3 from 3.0. */
export class Float {
  constructor(readonly value: number) {}
}

/** Has a number written as a float where neither the task nor a schema says what it is: `float(3)`. */
export function float(value: number): Float {
  return new Float(value);
}

/** A timestamp within msgpack, of any year. */
export class MsgPackTimestamp {
  constructor(
    readonly seconds: bigint,
    readonly nanos: number,
  ) {}
}

/** Another extension within msgpack. */
export class MsgPackExtension {
  constructor(
    readonly code: number,
    readonly data: Uint8Array,
  ) {}
}

/** Says a value in a few words, for messages. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  switch (typeof value) {
    case "string":
      return `string ${cut(JSON.stringify(value))}`;
    case "number":
    case "bigint":
    case "boolean":
      return `${typeof value} ${value}`;
    case "function":
      return `function ${value.name}`.trim();
    case "symbol":
      return "symbol";
  }
  return Array.isArray(value) ? `list of ${value.length}` : nameOfType(value);
}

/** What a value is, in a word: its class, where it has one. */
export function nameOfType(value: unknown): string {
  if (typeof value !== "object" || value === null) return typeof value;
  if (Array.isArray(value)) return "list";
  const name = value.constructor?.name;
  return name && name !== "Object" ? name : "object";
}

function cut(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}
