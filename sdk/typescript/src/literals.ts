// Flyte's literals as values of TypeScript, and back. What a value cannot hold is refused, never rounded.
import { create, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import { configureTextEncoding, getTextEncoding } from "@bufbuild/protobuf/wire";
import { Temporal } from "temporal-polyfill";
import {
  type Literal,
  type LiteralMap,
  LiteralMapSchema,
  LiteralSchema,
  type Primitive,
  type PrimitiveSchema,
  type Scalar,
  type ScalarSchema,
} from "./gen/flyteidl/core/literals_pb.js";
import {
  BlobType_BlobDimensionality,
  type LiteralType,
  LiteralTypeSchema,
  SchemaType_SchemaColumn_SchemaColumnType as SchemaColumnType,
  type SchemaType,
  SimpleType,
  type StructuredDatasetType,
} from "./gen/flyteidl/core/types_pb.js";
import { isPlain, narrow, pack, unpack } from "./msgpack.js";
import {
  Binary,
  Directory,
  File,
  Float,
  FlyteError,
  MsgPackExtension,
  MsgPackTimestamp,
  StructuredDataset,
  shown,
  type Value,
} from "./values.js";

/** A value and a literal do not fit; the message says where. */
export class LiteralError extends Error {
  override name = "LiteralError";
}

// @bufbuild/protobuf's own leaves out a U+FEFF that a text begins with.
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const fatal = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
configureTextEncoding({ ...getTextEncoding(), decodeUtf8: (bytes, strict) => (strict ? fatal : lenient).decode(bytes) });

const MSGPACK = "msgpack";
/** Marks declared types whose values Flyte 2's SDK pickles, since it has no type for them: bytes, Decimal, Any, …. */
const PICKLE_TYPE = "FlytePickle";
/** The tag of such a value, which the host gives it. */
const PICKLE_TAG = "pickle";
/** The seconds of the years 1 to 9999. */
const FIRST_SECOND = -62_135_596_800n;
const LAST_SECOND = 253_402_300_799n;
/** The most seconds of a duration: 10,000 years. */
const LONGEST = 315_576_000_000n;

type Types = Readonly<Record<string, LiteralType>>;

/** The value that is natural for a literal. Throws a LiteralError where there is none. */
export function toValue(literal: Literal): Value {
  switch (literal.value.case) {
    case "collection":
      return literal.value.value.literals.map((element, i) => within(`[${i}]`, () => toValue(element)));
    case "map":
      return Object.fromEntries(
        Object.entries(literal.value.value.literals).map(([key, entry]) => [key, within(`.${key}`, () => toValue(entry))]),
      );
    case "offloadedMetadata":
      throw new LiteralError(`it is stored apart, at ${literal.value.value.uri}: this agent reads only what is sent along`);
    case "scalar":
      if (literal.metadata.format === "pickle" && literal.value.value.value.case === "generic") {
        throw new LiteralError(`Python has made a pickle of the dict, in ${literal.value.value.value.value.pickle_file}`);
      }
      return scalarValue(literal.value.value);
  }
  throw new LiteralError("the literal has no value");
}

/** Whether a literal came as JSON or msgpack, which are read less strictly: neither has dates. */
export function isDocument(literal: Literal): boolean {
  if (literal.value.case !== "scalar") return false;
  const { value } = literal.value.value;
  if (value.case === "union") return value.value.value !== undefined && isDocument(value.value.value);
  return value.case === "generic" || (value.case === "binary" && value.value.tag !== "");
}

function within<T>(where: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof LiteralError) throw new LiteralError(`${where}: ${error.message}`);
    throw error;
  }
}

function scalarValue({ value: scalar }: Scalar): Value {
  switch (scalar.case) {
    case "primitive":
      return primitiveValue(scalar.value);
    case "noneType":
      return null;
    case "union":
      if (!scalar.value.value) throw new LiteralError("the literal of the union has no value");
      return toValue(scalar.value.value);
    case "generic":
      return scalar.value as Value;
    case "binary":
      if (scalar.value.tag !== MSGPACK) {
        return scalar.value.tag ? new Binary(scalar.value.value, scalar.value.tag) : scalar.value.value;
      }
      try {
        return unpack(scalar.value.value);
      } catch (error) {
        throw new LiteralError(`the msgpack is broken: ${(error as Error).message}`);
      }
    case "blob": {
      const form = scalar.value.metadata?.type;
      const several = form?.dimensionality === BlobType_BlobDimensionality.MULTIPART;
      return new (several ? Directory : File)(scalar.value.uri, form?.format);
    }
    case "structuredDataset": {
      const table = scalar.value.metadata?.structuredDatasetType;
      const columns = table?.columns.map(({ name, literalType }) => [name, typeName(literalType).toUpperCase()]) ?? [];
      return new StructuredDataset(scalar.value.uri, table?.format, Object.fromEntries(columns));
    }
    case "schema": {
      const columns = scalar.value.type?.columns.map(({ name, type }) => [name, SchemaColumnType[type]]) ?? [];
      return new StructuredDataset(scalar.value.uri, "parquet", Object.fromEntries(columns)); // as FlyteSchema stores it
    }
    case "error":
      return new FlyteError(scalar.value.message, scalar.value.failedNodeId);
  }
  throw new LiteralError("the scalar has no value");
}

function primitiveValue({ value: primitive }: Primitive): Value {
  switch (primitive.case) {
    case undefined:
      throw new LiteralError("the primitive has no value");
    case "integer":
      return narrow(primitive.value);
    case "datetime": {
      const { seconds, nanos } = primitive.value;
      if (seconds < FIRST_SECOND || seconds > LAST_SECOND || nanos < 0 || nanos > 999_999_999) {
        throw new LiteralError(`there is no datetime of ${seconds} s and ${nanos} ns`);
      }
      return Temporal.Instant.fromEpochNanoseconds(seconds * 1_000_000_000n + BigInt(nanos));
    }
    case "duration": {
      const { seconds, nanos } = primitive.value;
      // Nanoseconds have the sign of the seconds.
      if (seconds < -LONGEST || seconds > LONGEST || Math.abs(nanos) > 999_999_999 || Number(seconds) * nanos < 0) {
        throw new LiteralError(`there is no duration of ${seconds} s and ${nanos} ns`);
      }
      return Temporal.Duration.from({ seconds: Number(seconds), nanoseconds: nanos });
    }
  }
  return primitive.value;
}

/**
 * Values by name as literals, of the declared types or of what is natural. Throws a LiteralError where a value does not fit, or
 * the names differ from the declared ones.
 */
export function toLiterals(values: Readonly<Record<string, unknown>>, types?: Types, hints: Types = {}): LiteralMap {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  if (types && Object.keys(types).length > 0) {
    const has = new Set(given.map(([name]) => name));
    const wrong: [string, string[]][] = [
      ["declared outputs are missing", Object.keys(types).filter((name) => !has.has(name))],
      ["outputs are not declared", [...has].filter((name) => !Object.hasOwn(types, name))],
    ];
    const said = wrong.filter(([, names]) => names.length > 0).map(([what, names]) => `${what}: ${names.sort().join(", ")}`);
    if (said.length > 0) throw new LiteralError(said.join("; "));
  }
  const literals: Record<string, Literal> = {};
  for (const [name, value] of given) literals[name] = within(name, () => toLiteral(value, types?.[name] ?? hints[name]));
  return create(LiteralMapSchema, { literals });
}

/** A value as a literal of the declared type, or of what is natural for it. */
export function toLiteral(value: unknown, declared?: LiteralType): Literal {
  return declared ? declaredLiteral(value, declared, false) : natural(value);
}

/** A strict one takes only values of the declared type, which is how the variant of a union is chosen. */
function declaredLiteral(value: unknown, declared: LiteralType, strict: boolean): Literal {
  const { type } = declared;
  switch (type.case) {
    case "unionType":
      return unionLiteral(value, declared);
    case "collectionType":
      if (!Array.isArray(value)) break;
      return create(LiteralSchema, {
        value: {
          case: "collection",
          value: { literals: value.map((one, i) => within(`[${i}]`, () => declaredLiteral(one, type.value, strict))) },
        },
      });
    case "mapValueType": {
      if (!(value instanceof Map) && !isRecord(value)) break;
      const entries = value instanceof Map ? [...value] : Object.entries(value);
      const literals = entries.map(([key, one]) => {
        if (typeof key !== "string") throw new LiteralError(`the key is ${shown(key)}, not a string`);
        return [key, within(`.${key}`, () => declaredLiteral(one, type.value, strict))];
      });
      return create(LiteralSchema, { value: { case: "map", value: { literals: Object.fromEntries(literals) } } });
    }
    case "enumType":
      if (typeof value !== "string" || strict) break;
      if (!type.value.values.includes(value)) {
        throw new LiteralError(`must be one of ${type.value.values.join(", ")}, got ${shown(value)}`);
      }
      return natural(value);
    case "blob":
      if (value instanceof (isDirectory(declared) ? Directory : File)) return blobLiteral(value, type.value.format);
      break;
    case "structuredDatasetType":
      if (value instanceof StructuredDataset) return datasetLiteral(value, type.value);
      break;
    case "schema":
      if (value instanceof StructuredDataset) return schemaLiteral(value, type.value);
      break;
    case "simple": {
      const found = simpleLiteral(value, declared, type.value, strict);
      if (found) return found;
    }
  }
  throw new LiteralError(`the task declares ${typeName(declared)}, got ${shown(value)}`);
}

function unionLiteral(value: unknown, declared: LiteralType): Literal {
  const variants = declared.type.case === "unionType" ? declared.type.value.variants : [];
  for (const strict of [true, false]) {
    for (const variant of variants) {
      try {
        return scalar({ case: "union", value: { value: declaredLiteral(value, variant, strict), type: variant } });
      } catch (error) {
        if (!(error instanceof LiteralError)) throw error;
      }
    }
  }
  throw new LiteralError(`no variant of the declared ${typeName(declared)} takes ${shown(value)}`);
}

function simpleLiteral(value: unknown, declared: LiteralType, simple: SimpleType, strict: boolean): Literal | undefined {
  const number = value instanceof Float ? value.value : value;
  switch (simple) {
    case SimpleType.NONE:
      return value === null || value === undefined ? natural(null) : undefined;
    case SimpleType.INTEGER:
      if (typeof number === "bigint") return natural(number);
      if (typeof number !== "number" || !Number.isInteger(number) || (strict && value instanceof Float)) return undefined;
      return natural(BigInt(number));
    case SimpleType.FLOAT:
      if (typeof number === "bigint" && !strict) {
        if (BigInt(Number(number)) !== number) throw new LiteralError(`a float cannot hold ${number}`);
        return natural(float(Number(number)));
      }
      if (typeof number !== "number" || (strict && number === value && Number.isSafeInteger(number))) return undefined;
      return natural(float(number));
    case SimpleType.STRING:
      return typeof value === "string" ? natural(value) : undefined;
    case SimpleType.BOOLEAN:
      return typeof value === "boolean" ? natural(value) : undefined;
    case SimpleType.DATETIME:
      return value instanceof Date || value instanceof Temporal.Instant ? natural(value) : undefined;
    case SimpleType.DURATION:
      return value instanceof Temporal.Duration ? natural(value) : undefined;
    case SimpleType.BINARY:
      if (isPickle(declared) && !(value instanceof Binary && value.tag === PICKLE_TAG)) return undefined;
      return value instanceof Uint8Array || value instanceof Binary ? natural(value) : undefined;
    case SimpleType.ERROR:
      return value instanceof FlyteError ? natural(value) : undefined;
    case SimpleType.STRUCT:
      return value instanceof Map || Array.isArray(value) || isRecord(value) ? packed(value) : undefined;
  }
  return undefined;
}

const float = (value: number) => new Float(value);

function natural(value: unknown): Literal {
  if (value === null || value === undefined) return scalar({ case: "noneType", value: {} });
  switch (typeof value) {
    case "boolean":
      return primitive({ case: "boolean", value });
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? primitive({ case: "integer", value: BigInt(value) })
        : primitive({ case: "floatValue", value });
    case "bigint":
      if (BigInt.asIntN(64, value) !== value) throw new LiteralError(`an integer has 64 bits at most, got ${value}`);
      return primitive({ case: "integer", value });
    case "string":
      if (!value.isWellFormed()) throw new LiteralError(`a string is Unicode, got ${shown(value)}`);
      return primitive({ case: "stringValue", value });
  }
  if (value instanceof Float) return primitive({ case: "floatValue", value: value.value });
  if (value instanceof Date || value instanceof Temporal.Instant) return datetimeLiteral(value);
  if (value instanceof Temporal.Duration) return durationLiteral(value);
  if (value instanceof Uint8Array) return scalar({ case: "binary", value: { value: Uint8Array.from(value) } });
  if (value instanceof Binary) {
    return scalar({ case: "binary", value: { value: Uint8Array.from(value.value), tag: value.tag } });
  }
  if (value instanceof File || value instanceof Directory) return blobLiteral(value, "");
  if (value instanceof StructuredDataset) return datasetLiteral(value);
  if (value instanceof FlyteError) {
    return scalar({ case: "error", value: { message: value.message, failedNodeId: value.failedNode } });
  }
  if (Array.isArray(value)) {
    const literals = value.map((one, i) => within(`[${i}]`, () => natural(one)));
    return create(LiteralSchema, { value: { case: "collection", value: { literals } } });
  }
  const textual = value instanceof Map && [...value.keys()].every((key) => typeof key === "string");
  if (textual || isRecord(value)) {
    const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, one]) => one !== undefined);
    const literals = entries.map(([key, one]) => [key, within(`.${key}`, () => natural(one))]);
    return create(LiteralSchema, { value: { case: "map", value: { literals: Object.fromEntries(literals) } } });
  }
  if (value instanceof Map || value instanceof MsgPackTimestamp || value instanceof MsgPackExtension) return packed(value);
  throw new LiteralError(`a ${shown(value)} has no form as a literal`);
}

/** An object that is nothing but its fields: instances of classes have forms of their own, or none. */
function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && isPlain(value);
}

function scalar(value: MessageInitShape<typeof ScalarSchema>["value"]): Literal {
  return create(LiteralSchema, { value: { case: "scalar", value: { value: value as NonNullable<typeof value> } } });
}

function primitive(value: MessageInitShape<typeof PrimitiveSchema>["value"]): Literal {
  return scalar({ case: "primitive", value: { value: value as NonNullable<typeof value> } });
}

function datetimeLiteral(time: Date | Temporal.Instant): Literal {
  if (time instanceof Date && Number.isNaN(time.getTime())) throw new LiteralError("a datetime is no invalid Date");
  const nanoseconds = time instanceof Date ? BigInt(time.getTime()) * 1_000_000n : time.epochNanoseconds;
  const nanos = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const seconds = (nanoseconds - nanos) / 1_000_000_000n;
  if (seconds < FIRST_SECOND || seconds > LAST_SECOND) {
    throw new LiteralError(`a datetime has the years 1 to 9999 in UTC, got ${time.toString()}`);
  }
  return primitive({ case: "datetime", value: { seconds, nanos: Number(nanos) } });
}

function durationLiteral(duration: Temporal.Duration): Literal {
  let exact: Temporal.Duration;
  try {
    exact = duration.round({ largestUnit: "seconds" });
  } catch {
    throw new LiteralError(`a duration has no years, months or weeks, which are of no one length: ${duration}`);
  }
  const nanos = exact.milliseconds * 1e6 + exact.microseconds * 1e3 + exact.nanoseconds;
  const seconds = BigInt(exact.seconds);
  if (seconds > LONGEST || seconds < -LONGEST || ((seconds === LONGEST || seconds === -LONGEST) && nanos !== 0)) {
    throw new LiteralError(`a duration has 10,000 years at most, got ${duration}`);
  }
  return primitive({ case: "duration", value: { seconds, nanos } });
}

function blobLiteral(value: File | Directory, declaredFormat: string): Literal {
  const dimensionality = value instanceof Directory ? BlobType_BlobDimensionality.MULTIPART : BlobType_BlobDimensionality.SINGLE;
  const type = { format: value.format || declaredFormat, dimensionality };
  return scalar({ case: "blob", value: { uri: value.uri, metadata: { type } } });
}

function datasetLiteral(value: StructuredDataset, declared?: StructuredDatasetType): Literal {
  const columns = Object.entries(value.columns).map(([name, type]) => ({ name, literalType: columnType(name, type) }));
  const structuredDatasetType = {
    columns: columns.length > 0 ? columns : (declared?.columns ?? []),
    format: value.format || (declared?.format ?? ""),
    externalSchemaType: declared?.externalSchemaType ?? "",
    externalSchemaBytes: declared?.externalSchemaBytes ?? new Uint8Array(),
  };
  return scalar({ case: "structuredDataset", value: { uri: value.uri, metadata: { structuredDatasetType } } });
}

function columnType(name: string, type: string): LiteralType {
  const simple = SimpleType[type as keyof typeof SimpleType];
  if (simple === undefined) {
    const known = Object.keys(SimpleType).filter((one) => Number.isNaN(Number(one)));
    throw new LiteralError(`the column ${name} is of type ${type}: there are ${known.join(", ")}`);
  }
  return create(LiteralTypeSchema, { type: { case: "simple", value: simple } });
}

function schemaLiteral(value: StructuredDataset, declared: SchemaType): Literal {
  const columns = Object.entries(value.columns).map(([name, type]) => {
    const of = SchemaColumnType[type as keyof typeof SchemaColumnType];
    if (of === undefined) throw new LiteralError(`a schema has no columns of ${type}, as ${name} is`);
    return { name, type: of };
  });
  const type = columns.length > 0 ? { columns } : declared;
  return scalar({ case: "schema", value: { uri: value.uri, type } });
}

/** As flytekit writes dataclasses and dicts: protobuf's Struct would make floats of all numbers. */
function packed(value: unknown): Literal {
  try {
    return scalar({ case: "binary", value: { value: pack(value) as Uint8Array<ArrayBuffer>, tag: MSGPACK } });
  } catch (error) {
    throw new LiteralError(`a ${shown(value)} cannot be written as msgpack: ${(error as Error).message}`);
  }
}

function isDirectory(declared: LiteralType): boolean {
  return declared.type.case === "blob" && declared.type.value.dimensionality === BlobType_BlobDimensionality.MULTIPART;
}

/** Whether a binary of a declared type is a pickle. Whoever reads it unpickles it, so that other bytes do not belong there. */
function isPickle(declared: LiteralType): boolean {
  return declared.type.case === "simple" && declared.type.value === SimpleType.BINARY && declared.structure?.tag === PICKLE_TYPE;
}

/** A declared type for people, such as "list[integer]". */
function typeName(declared: LiteralType | undefined): string {
  if (declared && isPickle(declared)) return "pickle";
  const type = declared?.type;
  switch (type?.case) {
    case "simple":
      return SimpleType[type.value].toLowerCase();
    case "collectionType":
      return `list[${typeName(type.value)}]`;
    case "mapValueType":
      return `map[string, ${typeName(type.value)}]`;
    case "unionType":
      return `union[${type.value.variants.map(typeName).join(", ")}]`;
    case "enumType":
      return `enum[${type.value.values.join(", ")}]`;
    case "blob":
      return isDirectory(declared as LiteralType) ? "directory" : "file";
    case "structuredDatasetType":
      return "structured dataset";
  }
  return type?.case ?? "unknown type";
}

/** What protobuf's Struct, whose only numbers are floats, can hold of a document: whole numbers that it cannot are texts. */
export function toStruct(info: Readonly<Record<string, unknown>>): JsonObject {
  return Object.fromEntries(
    Object.entries(info)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, structValue(value)]),
  ) as JsonObject;
}

function structValue(value: unknown): unknown {
  if (typeof value === "bigint") return typeof narrow(value) === "number" ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(structValue);
  if (isRecord(value)) return toStruct(value);
  if (typeof value === "object" && value !== null) return structValue(JSON.parse(JSON.stringify(value)));
  return value;
}
