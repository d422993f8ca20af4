// What the pages show is code that runs.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const page = readFileSync("README.md", "utf8");

/** Code without what a page or a formatter puts around its lines. */
const unindented = (code: string) => `\n${code.trimEnd().replace(/^ +/gm, "")}\n`;

test("every snippet is code of a program that is compiled, and run by tests", () => {
  const files = ["examples", "tests"].flatMap((folder) =>
    readdirSync(folder, { recursive: true }).map((path) => join(folder, String(path))),
  );
  const sources = files.filter((path) => path.endsWith(".ts")).map((path) => unindented(readFileSync(path, "utf8")));
  const snippets = [...page.matchAll(/```typescript\n(.*?)```\n/gs)].map(([, code = ""]) => unindented(code));
  expect(snippets.length).toBeGreaterThan(8);
  for (const snippet of snippets)
    expect(
      sources.some((source) => source.includes(snippet)),
      `the page shows what no program has:${snippet}`,
    ).toBe(true);
});
