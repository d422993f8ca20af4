// Values as a zod schema wants them; zod does the work, but for what a literal and JavaScript tell apart otherwise.
import { Temporal } from "temporal-polyfill";
import { z } from "zod";
import { Binary, Directory, File, FlyteError, StructuredDataset, shown } from "./values.js";

// biome-ignore lint/suspicious/noExplicitAny: zod's own definitions, read by their type
type Def = any;

/** A schema for a file: `z.object({ data: file() })`. */
export const file = () => z.instanceof(File);
/** A schema for a folder. */
export const directory = () => z.instanceof(Directory);
/** A schema for a table. */
export const dataset = () => z.instanceof(StructuredDataset);
/** A schema for a datetime, to the nanosecond. `z.date()` takes those of whole milliseconds. */
export const instant = () => z.custom<Temporal.Instant>((value) => value instanceof Temporal.Instant, "expected a datetime");
/** A schema for bytes. */
export const bytes = () => z.instanceof(Uint8Array);
/** A schema for the error that a task gets which handles failures. */
export const flyteError = () => z.instanceof(FlyteError);
/** A schema for bytes whose form somebody has named. */
export const binary = () => z.instanceof(Binary);
/** A schema for a duration. */
export const span = () => z.custom<Temporal.Duration>((value) => value instanceof Temporal.Duration, "expected a duration");

/** What does not fit a schema: all of it, by name. */
export class SchemaError extends Error {
  override name = "SchemaError";
}

/** A value as the schema says. Throws a SchemaError that says where and why it does not fit. */
export function read<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const found = schema.safeParse(shaped(schema, value));
  if (found.success) return found.data;
  throw new SchemaError(found.error.issues.flatMap((issue) => reasons(schema, issue, value)).join("; "));
}

/** Takes numbers and datetimes over into what the schema asks for, where nothing is lost. What does not fit zod refuses. */
function shaped(schema: z.ZodType, value: unknown): unknown {
  const def: Def = schema._zod.def;
  switch (def.type) {
    case "bigint":
      return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value;
    case "number":
      return typeof value === "bigint" && BigInt(Number(value)) === value ? Number(value) : value;
    case "date":
      return value instanceof Temporal.Instant && value.epochNanoseconds % 1_000_000n === 0n ? new Date(value.epochMilliseconds) : value;
    case "object":
      if (!isRecord(value)) return value;
      return mapped(value, (key, one) => (Object.hasOwn(def.shape, key) ? shaped(def.shape[key], one) : one));
    case "record":
      return isRecord(value) ? mapped(value, (_, one) => shaped(def.valueType, one)) : value;
    case "array":
      return Array.isArray(value) ? value.map((one) => shaped(def.element, one)) : value;
    case "tuple":
      return Array.isArray(value) ? value.map((one, i) => (def.items[i] ? shaped(def.items[i], one) : one)) : value;
    case "map":
      if (!(value instanceof Map)) return value;
      return new Map([...value].map(([key, one]) => [shaped(def.keyType, key), shaped(def.valueType, one)]));
    case "union":
      for (const option of def.options) {
        const one = shaped(option, value);
        if (option.safeParse(one).success) return one;
      }
      return value;
  }
  const inner = wrapped(schema);
  if (!inner) return value;
  const optional = def.innerType && value === null && def.type !== "nullable" && !acceptsNull(inner);
  return optional ? undefined : shaped(inner, value);
}

/** The schema that another one only wraps, such as the one behind `.optional()`; undefined where it is none of those. */
export function wrapped(schema: z.ZodType): z.ZodType | undefined {
  const def: Def = schema._zod.def;
  switch (def.type) {
    case "pipe":
      return def.in;
    case "lazy":
      return def.getter();
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "nonoptional":
    case "readonly":
    case "catch":
      return def.innerType;
  }
  return undefined;
}

/** Flyte's None stands for what is optional, unless null itself is wanted. */
function acceptsNull(schema: z.ZodType): boolean {
  return schema.safeParse(null).success;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function mapped(value: Record<string, unknown>, one: (key: string, value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, one(key, entry)]));
}

function reasons(schema: z.ZodType, issue: z.core.$ZodIssue, value: unknown): string[] {
  const key = dotted(issue.path);
  const got = at(value, issue.path);
  const wanted = issue.code === "invalid_type" && expectedAt(schema, issue) === "int" ? "expected an integer" : issue.message;
  const said = wanted.replace(/^Invalid input: /, "").replace(/, received .*$/, "");
  const why = got === undefined ? "is missing" : `${said}, got ${shown(got)}`;
  return [key ? `${key}: ${why}` : why];
}

/** What a value at a path is checked by. */
function schemaAt(schema: z.ZodType | undefined, path: readonly PropertyKey[]): z.ZodType | undefined {
  const inner = schema && wrapped(schema);
  if (inner) return schemaAt(inner, path);
  const [key, ...rest] = path;
  if (key === undefined) return schema;
  const def: Def = schema?._zod.def;
  switch (def?.type) {
    case "object":
      return schemaAt(def.shape[key], rest);
    case "record":
      return schemaAt(def.valueType, rest);
    case "array":
      return schemaAt(def.element, rest);
  }
  return undefined;
}

/** What is expected where a value has another type: zod says number also where only whole ones are. */
export function expectedAt(schema: z.ZodType, issue: z.core.$ZodIssueInvalidType): string {
  return issue.expected === "number" && isInteger(schemaAt(schema, issue.path)) ? "int" : issue.expected;
}

/** Whether a schema of numbers takes whole ones only. */
export function isInteger(schema: z.ZodType | undefined): boolean {
  const def: Def = schema?._zod.def;
  if (def?.type !== "number") return false;
  const formats = [def.format, ...(def.checks ?? []).map((check: z.core.$ZodCheck) => (check._zod.def as Def).format)];
  return formats.some((format) => /int/.test(format ?? ""));
}

/** What is at a path in a value. */
export function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (inner instanceof Map ? inner.get(key) : (inner as Record<PropertyKey, unknown> | undefined)?.[key]),
    value,
  );
}

/** A path as a key: limits.memory, hosts[2]. */
export function dotted(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (key, part) => (typeof part === "number" ? `${key}[${part}]` : key ? `${key}.${String(part)}` : String(part)),
    "",
  );
}
