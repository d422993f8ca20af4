// The plugin's configuration: a zod schema, checked key by key before the plugin sees it.
import { Temporal } from "temporal-polyfill";
import { z } from "zod";
import { LoadError, reasonOf } from "./errors.js";
import { Secret, secret } from "./secrets.js";
import { at, dotted, expectedAt, wrapped } from "./typed.js";

/** What is wrong with a key of the configuration, dotted; an empty key is the configuration as a whole. */
export interface ConfigError {
  readonly key: string;
  readonly message: string;
}

const UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };
const DURATION = /^[+-]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$/;
const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const SIZE = /^[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B$/;

const WANTED_DURATION = "a duration such as 30s or 1h30m";
const WANTED_SIZE = "a size such as 2GiB or 512MB";

/** A duration in a configuration, written as "90s" or "1h30m": a `Temporal.Duration`. */
export function duration() {
  return z
    .string(`must be ${WANTED_DURATION}`)
    .regex(DURATION, `must be ${WANTED_DURATION}`)
    .meta({ description: "A duration, such as 30s or 1h30m.", examples: ["30s", "1h30m"] })
    .transform((text) => {
      let nanoseconds = 0;
      for (const [, number, unit] of text.matchAll(/([0-9.]+)([a-zµμ]+)/g)) {
        nanoseconds += Math.round(Number(number) * (UNITS[unit as string] as number));
      }
      const made = Temporal.Duration.from({ nanoseconds }).round({ largestUnit: "hours" });
      return text.startsWith("-") ? made.negated() : made;
    });
}

/** A size in a configuration, written as "2GiB" or "512MB": a number of bytes. */
export function size() {
  return z
    .string(`must be ${WANTED_SIZE}`)
    .regex(SIZE, { error: `must be ${WANTED_SIZE}`, abort: true })
    .refine((text) => Number.isSafeInteger(bytesOf(text)), `must be ${WANTED_SIZE}`)
    .meta({ description: "A size, such as 2GiB or 512MB.", examples: ["2GiB", "512MB"] })
    .transform(bytesOf);
}

function bytesOf(text: string): number {
  const [, number, unit] = /^([0-9.]+) ?([A-Za-z]+)$/.exec(text) ?? [];
  return Math.floor(Number(number) * (SIZES[unit as string] ?? Number.NaN));
}

const SECRET_NAME = /^[A-Za-z0-9_.-]+$/;
const NO_SECRET_NAME =
  'must be the name of a secret, of letters, digits, "_", "-" and ".": what was given is not shown, as it may be a secret itself';

/** A secret in a configuration, given by its name among the plugin's secrets: a `Secret`, which is read anew each time. It must be there. */
export function secretRef() {
  return z
    .string("must be the name of a secret")
    .regex(SECRET_NAME, NO_SECRET_NAME)
    .meta({ description: "The name of one of the plugin's secrets." })
    .transform((name, context): Secret => {
      try {
        secret(name);
        return new Secret(() => secret(name).reveal());
      } catch (error) {
        context.addIssue({ code: "custom", message: reasonOf(error), params: { whole: true } });
        return z.NEVER;
      }
    });
}

// biome-ignore lint/suspicious/noExplicitAny: zod's own definitions, read by their type
type Def = any;

/** Reads the `config:` block of the host's file by a schema. */
export class Configuration<S extends z.ZodType> {
  /** As JSON Schema, for the host. */
  readonly schema: string;

  constructor(private readonly type: S) {
    if (type._zod.def.type !== "object") throw new LoadError("the schema of a configuration must be a z.object");
    try {
      this.schema = JSON.stringify(z.toJSONSchema(type, { io: "input", override: strict }));
    } catch (error) {
      throw new LoadError(`the schema of the configuration has no form as JSON Schema: ${(error as Error).message}`);
    }
  }

  /** The configuration, or everything that is wrong with it, sorted by key. */
  read(block: string): { config: z.output<S> } | { errors: ConfigError[] } {
    let value: unknown;
    try {
      value = JSON.parse(block || "{}");
    } catch (error) {
      return { errors: [{ key: "", message: `the block must be a mapping of keys to values: ${(error as Error).message}` }] };
    }
    if (kindOf(value) !== "a mapping") {
      return { errors: [{ key: "", message: `the block must be a mapping of keys to values: it is ${kindOf(value)}` }] };
    }
    value = withoutNulls(this.type, value);
    const errors = unknownKeys(this.type, value, []);
    const found = this.type.safeParse(value);
    if (!found.success) errors.push(...found.error.issues.flatMap((issue) => described(this.type, issue, value)));
    if (found.success && errors.length === 0) return { config: found.data };
    return { errors: errors.sort((one, other) => (one.key < other.key ? -1 : one.key > other.key ? 1 : 0)) };
  }
}

/** A key that nobody reads is a mistake, at any depth. */
function strict({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (zodSchema._zod.def.type === "object" && jsonSchema.additionalProperties === undefined) jsonSchema.additionalProperties = false;
}

/** Null is as if an optional key were not given, unless the schema wants null. */
function withoutNulls(schema: z.ZodType, value: unknown): unknown {
  const def: Def = schema._zod.def;
  switch (def.type) {
    case "object": {
      if (kindOf(value) !== "a mapping") return value;
      const entries = Object.entries(value as Record<string, unknown>).flatMap(([key, one]): [string, unknown][] => {
        const field: z.ZodType | undefined = Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
        if (!field) return [[key, one]];
        if (one === null && !field.safeParse(null).success && field.safeParse(undefined).success) return [];
        return [[key, withoutNulls(field, one)]];
      });
      return Object.fromEntries(entries);
    }
    case "record":
      if (kindOf(value) !== "a mapping") return value;
      return Object.fromEntries(
        Object.entries(value as Record<string, unknown>).map(([key, one]) => [key, withoutNulls(def.valueType, one)]),
      );
    case "array":
      return Array.isArray(value) ? value.map((one) => withoutNulls(def.element, one)) : value;
    case "tuple":
      return Array.isArray(value) ? value.map((one, i) => (def.items[i] ? withoutNulls(def.items[i], one) : one)) : value;
    case "union":
      for (const option of def.options) {
        const one = withoutNulls(option, value);
        if (option.safeParse(one).success) return one;
      }
      return value;
  }
  const inner = wrapped(schema);
  return inner ? withoutNulls(inner, value) : value;
}

function unknownKeys(schema: z.ZodType, value: unknown, path: PropertyKey[]): ConfigError[] {
  const def: Def = schema._zod.def;
  switch (def.type) {
    case "object":
      if (kindOf(value) !== "a mapping") return [];
      return Object.entries(value as Record<string, unknown>).flatMap(([key, one]) => {
        const field = Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
        if (field) return unknownKeys(field, one, [...path, key]);
        if (def.catchall && def.catchall._zod.def.type !== "never") return unknownKeys(def.catchall, one, [...path, key]);
        return [{ key: dotted([...path, key]), message: `unknown key: ${suggest(key, Object.keys(def.shape).sort())}` }];
      });
    case "record":
      if (kindOf(value) !== "a mapping") return [];
      return Object.entries(value as Record<string, unknown>).flatMap(([key, one]) => unknownKeys(def.valueType, one, [...path, key]));
    case "array":
      return Array.isArray(value) ? value.flatMap((one, i) => unknownKeys(def.element, one, [...path, i])) : [];
    case "union": {
      const taken = def.options.find((option: z.ZodType) => option.safeParse(value).success);
      return taken ? unknownKeys(taken, value, path) : [];
    }
  }
  const inner = wrapped(schema);
  return inner ? unknownKeys(inner, value, path) : [];
}

const WANTED: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "an integer",
  bigint: "an integer",
  boolean: "a boolean",
  array: "a list",
  tuple: "a list",
  object: "a mapping",
  record: "a mapping",
  null: "null",
};

function described(schema: z.ZodType, issue: z.core.$ZodIssue, block: unknown): ConfigError[] {
  const key = dotted(issue.path);
  const got = at(block, issue.path);
  const error = (message: string): ConfigError[] => [{ key, message }];
  if (got === undefined) return error("is required");
  switch (issue.code) {
    case "unrecognized_keys":
      return []; // told by unknownKeys, with what was meant
    case "invalid_type": {
      if (issue.message.startsWith("must be ")) return error(`${issue.message}, got ${shownJson(got)}`);
      const wanted = expectedAt(schema, issue);
      return error(`must be ${WANTED[wanted] ?? wanted}, got ${shownJson(got)}`);
    }
    case "invalid_value":
      return error(`must be one of ${issue.values.join(", ")}, got ${shownJson(got)}`);
    case "invalid_union":
      return error(`must be ${wantedOfAny(issue)}, got ${shownJson(got)}`);
    case "invalid_format":
      if (issue.message.includes("is not shown")) return error(issue.message);
      return error(`${issue.message.replace(/^Invalid string: /, "")}, got ${shownJson(got)}`);
  }
  const message = issue.message.replace(/^(Invalid input: |Too (big|small): )/, "");
  return error(issue.code === "custom" && message.startsWith("must") ? `${message}, got ${shownJson(got)}` : message);
}

function wantedOfAny(issue: z.core.$ZodIssueInvalidUnion): string {
  const wanted = issue.errors.flatMap((issues) =>
    issues.flatMap((one) => (one.code === "invalid_type" ? [WANTED[one.expected] ?? one.expected] : [])),
  );
  return [...new Set(wanted)].join(" or ") || "one of the forms that the schema has";
}

/** What was given, as the operator wrote it; of what is long, its kind. */
function shownJson(value: unknown): string {
  const text = typeof value === "object" ? kindOf(value) : JSON.stringify(value);
  return text.length <= 80 ? text : kindOf(value);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a mapping" : `a ${typeof value}`;
}

function suggest(name: string, known: string[]): string {
  const near = known.map((one) => [distance(name, one), one] as const).sort(([one], [other]) => one - other)[0];
  if (near && near[0] <= Math.max(1, name.length / 3)) return `did you mean "${near[1]}"?`;
  return known.length > 0 ? `the keys are ${known.join(", ")}` : "there are no keys here";
}

/** How many letters differ: added, left out, another, or two in the other order. */
function distance(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, j) => j)];
  const cost = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1];
      const swapped = one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1] ? cost(i - 2, j - 2) + 1 : Infinity;
      row.push(Math.min(cost(i - 1, j) + 1, cost(i, j - 1) + 1, cost(i - 1, j - 1) + (same ? 0 : 1), swapped));
    }
  }
  return cost(one.length, other.length);
}
