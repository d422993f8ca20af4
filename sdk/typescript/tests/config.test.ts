// sdk/testdata/config.json: the types of a configuration are written, and what is wrong is told, as in all SDKs.
import { readFileSync } from "node:fs";
import { duration, Plugin, Secret, secretRef, size, succeeded, syncAgent, Temporal } from "agenthost";
import { test } from "agenthost/vitest";
import { expect, vi } from "vitest";
import { z } from "zod";

interface Case {
  name: string;
  config: unknown;
  read?: Record<string, unknown>;
  errors?: { key: string; message: string }[];
}

const golden = JSON.parse(readFileSync(new URL("../../testdata/config.json", import.meta.url), "utf8")) as {
  environment: Record<string, string>;
  good: Case[];
  bad: Case[];
};

const Config = z.object({
  region: z.enum(["eu", "us"]),
  name: z.string().default("agenthost"),
  retries: z.int().default(3),
  rate: z.number().optional(),
  dry_run: z.boolean().optional(),
  timeout: duration().default(Temporal.Duration.from({ minutes: 1 })),
  memory: size().optional(),
  limits: z.object({ cpu: z.int().optional(), memory: size().optional() }).optional(),
  hosts: z.array(z.string()).optional(),
  pools: z.array(z.object({ name: z.string(), size: size().optional() })).optional(),
  weights: z.record(z.string(), z.int()).optional(),
  token: secretRef().optional(),
});

const nothing = syncAgent({ taskType: "nothing", execute: () => succeeded() });

/** A value as the file has it. */
function plain(value: unknown): unknown {
  if (value instanceof Temporal.Duration) return value.total("seconds");
  if (value instanceof Secret) return value.reveal();
  return value;
}

for (const [name, value] of Object.entries(golden.environment)) vi.stubEnv(name, value);

for (const { name, config, read = {} } of golden.good) {
  test(`good: ${name}`, async ({ agenthostRun }) => {
    let taken: Record<string, unknown> = {};
    const client = await agenthostRun(
      new Plugin("golden", "1", [nothing]).configure(Config, (given) => {
        taken = given;
      }),
    );
    expect(await client.configure(config)).toEqual([]);
    for (const [key, want] of Object.entries(read)) expect(plain(taken[key]), key).toEqual(want);
  });
}

for (const { name, config, errors } of golden.bad) {
  test(`bad: ${name}`, async ({ agenthostRun }) => {
    const apply = vi.fn();
    const client = await agenthostRun(new Plugin("golden", "1", [nothing]).configure(Config, apply));
    expect(await client.configure(config)).toEqual(errors);
    expect(apply).not.toHaveBeenCalled();
  });
}

test("null and unknown keys are found behind whatever wraps a part", async ({ agenthostRun }) => {
  const Part = z.object({ cpu: z.int().optional() });
  const Wrapping = z.object({
    lazy: z.lazy(() => Part).optional(),
    either: z.union([z.string(), Part]).optional(),
    pair: z.tuple([Part, z.string()]).optional(),
  });
  let taken: unknown;
  const client = await agenthostRun(
    new Plugin("wrapping", "1", [nothing]).configure(Wrapping, (given) => {
      taken = given;
    }),
  );
  expect(await client.configure({ lazy: { cpus: 1 } })).toEqual([{ key: "lazy.cpus", message: 'unknown key: did you mean "cpu"?' }]);
  expect(await client.configure({ lazy: { cpu: "a" } })).toEqual([{ key: "lazy.cpu", message: 'must be an integer, got "a"' }]);
  expect(await client.configure({ lazy: { cpu: null }, either: { cpu: null }, pair: [{ cpu: null }, "a"] })).toEqual([]);
  expect(taken).toEqual({ lazy: {}, either: {}, pair: [{}, "a"] });
});
