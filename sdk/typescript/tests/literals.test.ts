// sdk/testdata/literals.json, made by real flytekit: all SDKs read and write its literals exactly, or refuse them.
import { readFileSync } from "node:fs";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { Temporal } from "temporal-polyfill";
import { describe, expect, test } from "vitest";
import { LiteralSchema } from "../src/gen/flyteidl/core/literals_pb.js";
import { LiteralTypeSchema } from "../src/gen/flyteidl/core/types_pb.js";
import { LiteralError, toLiteral, toValue } from "../src/literals.js";
import { narrow } from "../src/msgpack.js";
import * as v from "../src/values.js";

// biome-ignore lint/suspicious/noExplicitAny: the file's forms are of any kind
type Form = Record<string, any>;

interface Case {
  name: string;
  type: string;
  literal?: string;
  value?: Form;
  several?: boolean;
  reads_only?: boolean;
  refused_by?: string[];
  says?: string[];
}

const { cases } = JSON.parse(readFileSync(new URL("../../testdata/literals.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

function bytes(base64: string): Uint8Array {
  return Uint8Array.from(Buffer.from(base64, "base64"));
}

/** A case's value. One to be written has its floats marked: 3 and 3.0 are one number. */
function built(form: Form, marked: boolean): v.Value {
  const [kind, value] = Object.entries(form)[0] as [string, Form[string]];
  const inner = (one: Form) => built(one, marked);
  const hex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
  switch (kind) {
    case "none":
      return null;
    case "str":
    case "bool":
      return value;
    case "int":
      return narrow(BigInt(value));
    case "float":
    case "number": {
      const number = { nan: Number.NaN, inf: Infinity, "-inf": -Infinity }[value as string] ?? Number(value);
      return marked ? v.float(number) : number;
    }
    case "bytes":
      return hex(value);
    case "datetime":
      return Temporal.Instant.fromEpochNanoseconds(BigInt(value.seconds) * 1_000_000_000n + BigInt(value.nanos));
    case "duration":
      return Temporal.Duration.from({ seconds: Number(value.seconds), nanoseconds: value.nanos });
    case "timestamp":
      return new v.MsgPackTimestamp(BigInt(value.seconds), value.nanos);
    case "extension":
      return new v.MsgPackExtension(value.code, hex(value.bytes));
    case "binary":
      return new v.Binary(hex(value.bytes), value.tag);
    case "list":
      return value.map(inner);
    case "map":
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, inner(one as Form)]));
    case "dict": {
      const entries = value.map(([key, one]: [Form, Form]) => [inner(key), inner(one)]);
      const texts = entries.every(([key]: [v.Value]) => typeof key === "string");
      return texts ? Object.fromEntries(entries) : new Map(entries);
    }
    case "file":
      return new v.File(value.uri, value.format);
    case "directory":
      return new v.Directory(value.uri, value.format);
    case "dataset":
    case "schema":
      return new v.StructuredDataset(value.uri, value.format ?? "parquet", Object.fromEntries(value.columns));
    case "error":
      return new v.FlyteError(value.message, value.failed_node);
  }
  throw new Error(`the kind ${kind} is unknown to this test`);
}

/** Tells apart what toEqual takes for one, and has a form for Temporal's values. */
function exact(value: unknown): unknown {
  if (value instanceof Temporal.Instant || value instanceof Temporal.Duration) return `${value.constructor.name} ${value}`;
  if (value instanceof v.Float) return exact(value.value);
  if (value instanceof Map) return [...value].map(([key, one]) => [exact(key), exact(one)]);
  if (Array.isArray(value)) return value.map(exact);
  if (value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, exact(one)]));
  }
  return value;
}

function refusal(one: Case, act: () => unknown): void {
  let said: unknown;
  try {
    said = act();
  } catch (error) {
    expect(error).toBeInstanceOf(LiteralError);
    expect(one.says).toBeDefined();
    for (const word of one.says ?? []) expect((error as Error).message.toLowerCase()).toContain(word.toLowerCase());
    return;
  }
  expect.fail(`it is not refused: ${v.shown(said)}`);
}

describe.each(cases)("$name", (one) => {
  const refused = one.refused_by?.includes("typescript") ?? false;

  test.runIf(one.literal)("is read exactly or refused", () => {
    const literal = fromBinary(LiteralSchema, bytes(one.literal ?? ""));
    if (!one.value || refused) return refusal(one, () => toValue(literal));
    expect(exact(toValue(literal))).toStrictEqual(exact(built(one.value, false)));
  });

  test.runIf(one.value && !one.reads_only)("is written as flytekit does or refused", () => {
    const declared = fromBinary(LiteralTypeSchema, bytes(one.type));
    const value = built(one.value as Form, true);
    if (!one.literal) return refusal(one, () => toLiteral(value, declared));
    const written = toLiteral(value, declared);
    if (one.several) {
      const again = fromBinary(LiteralSchema, toBinary(LiteralSchema, written));
      expect(exact(toValue(again))).toStrictEqual(exact(value));
    } else {
      expect(written).toEqual(fromBinary(LiteralSchema, bytes(one.literal)));
    }
  });
});
