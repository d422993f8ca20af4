// Jobs in files: what outlives a process, and what is refused.
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { JobStore } from "agenthost/jobstore";
import { expect, test } from "vitest";
import { z } from "zod";
import { FailedPrecondition, InvalidArgument, NotFound } from "../src/index.js";

const Counted = z.object({ count: z.int(), by: z.string().default("") });

const fresh = () => mkdtempSync(join(tmpdir(), "jobs-"));
const open = (folder: string) => new JobStore(folder, Counted);
const one = { count: 1, by: "" };

test("a job outlives who made it, whatever its id", () => {
  const above = fresh();
  const folder = join(above, "made", "here");
  const names = { a: "a", "..": "%2E.", ".hidden": "%2Ehidden", "a/b": "a%2Fb", "ä b%": "%C3%A4+b%25", "!'()*~": "%21%27%28%29%2A~" };
  for (const [id, name] of Object.entries(names)) {
    expect(open(folder).add(id, one)).toEqual({ job: one, added: true });
    expect(open(folder).add(id, { count: 9, by: "" })).toEqual({ job: one, added: false });
    expect(open(folder).update(id, ({ count }) => ({ count: count + 1, by: id }))).toEqual({ count: 2, by: id });
    expect(open(folder).get(id)).toEqual({ count: 2, by: id });
    expect(readFileSync(join(folder, `${name}.json`), "utf8")).toBe(`{"format":1,"job":${JSON.stringify({ count: 2, by: id })}}\n`);
  }
  expect([...open(folder).jobs().keys()].sort()).toEqual(Object.keys(names).sort());
  for (const id of Object.keys(names)) {
    open(folder).delete(id);
    open(folder).delete(id);
    expect(() => open(folder).get(id)).toThrow(NotFound);
  }
  expect(readdirSync(above)).toEqual(["made"]);
  expect(readdirSync(folder)).toEqual([".lock"]);
});

test("a change that fails changes nothing", () => {
  const store = open(fresh());
  store.put("a", one);
  const fails = () => {
    throw new Error("no");
  };
  expect(() => store.update("a", fails)).toThrow("no");
  expect(() => store.update("a", () => ({ count: 0.5, by: "" }))).toThrow(/job "a" cannot be written as JSON and read back: count: /);
  expect(() => store.update("a", (async () => one) as unknown as () => typeof one)).toThrow("cannot be written");
  expect(store.get("a")).toEqual(one);
  expect(() => store.update("b", () => one)).toThrow(NotFound);
});

test("what is no job of this version is refused by its file", () => {
  const folder = fresh();
  const store = open(folder);
  store.put("good", one);
  for (const [text, says] of [
    ['{"format":2,"job":{}}', "has format 2, and this version of the plugin reads up to 1"],
    ['{"format":1,"jo', "is not the file of a job"],
    ["", "is not the file of a job"],
    ["null", "is not the file of a job"],
    ['{"count":1}', "is not the file of a job"],
    ['{"format":1,"job":{"count":"many"}}', "has a job of another type: count: "],
  ] as const) {
    const file = join(folder, "bad.json");
    writeFileSync(file, text);
    expect(() => store.get("bad")).toThrow(FailedPrecondition);
    expect(() => store.get("bad")).toThrow(`${file} ${says}`);
    expect(() => store.add("bad", one)).toThrow(FailedPrecondition);
    expect([...store.jobs()]).toEqual([["good", one]]);
  }
  for (const id of ["", "x".repeat(251), "\ud800"]) expect(() => store.put(id, one)).toThrow(InvalidArgument);
  expect(() => open(join(folder, "good.json"))).toThrow(/the job store cannot be opened \(does the plugin's sandbox .*good.json/);
});

test("what a process left half written is no job, and is removed", () => {
  const folder = fresh();
  for (const name of [".new-1", ".new-2"]) writeFileSync(join(folder, name), '{"for');
  const long = Date.now() / 1_000 - 7_200;
  utimesSync(join(folder, ".new-1"), long, long);
  expect(open(folder).jobs().size).toBe(0);
  expect(readdirSync(folder).sort()).toEqual([".lock", ".new-2"]);
});

test("no change of any thread or process is lost", async () => {
  const folder = fresh();
  const program = fileURLToPath(new URL("programs/counting.mjs", import.meta.url));
  const times = 50;
  await Promise.all([1, 2, 3].map(() => promisify(execFile)(process.execPath, [program, folder, String(times)])));
  expect(new JobStore(folder, Counted.omit({ by: true })).get("a")).toEqual({ count: 6 * times });
});
