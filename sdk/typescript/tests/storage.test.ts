// Files below the output prefix, in a folder and in a bucket that speaks as S3 does.
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { write, writeDeck } from "agenthost/storage";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { FailedPrecondition, File, InvalidArgument, Unavailable } from "../src/index.js";
import { optional } from "../src/optional.js";

const fresh = () => mkdtempSync(join(tmpdir(), "outputs-"));

function* breaking() {
  yield Buffer.from("half");
  throw new Error("the source broke");
}

const objects = new Map<string, { body: string; type?: string }>();
const bucket = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const path = request.url?.split("?")[0] ?? "";
  if (path.startsWith("/closed/")) return response.writeHead(403).end("<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
  if (path.startsWith("/broken/")) return response.writeHead(500).end("<Error><Code>InternalError</Code><Message>no</Message></Error>");
  objects.set(path, { body, type: request.headers["content-type"] });
  return response.writeHead(200, { etag: '"0"' }).end();
});

beforeAll(async () => {
  bucket.listen(0, "127.0.0.1");
  await once(bucket, "listening");
  vi.stubEnv("AWS_ENDPOINT_URL_S3", `http://127.0.0.1:${(bucket.address() as AddressInfo).port}`);
  vi.stubEnv("AWS_ACCESS_KEY_ID", "key");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
  vi.stubEnv("AWS_REGION", "us-east-1");
  vi.stubEnv("AWS_MAX_ATTEMPTS", "1");
});
afterAll(() => bucket.close());

test("a file is written to a folder, and is an output", async () => {
  const folder = fresh();
  expect(await write(`file://${folder}/new/0`, "a/report.csv", "city,rows")).toEqual(
    new File(`file://${folder}/new/0/a/report.csv`, "csv"),
  );
  expect(readFileSync(join(folder, "new/0/a/report.csv"), "utf8")).toBe("city,rows");
  await write(`${folder}/`, "bytes", Buffer.from("over"));
  await write(folder, "bytes", Readable.from([Buffer.from("of a "), Buffer.from("stream")]));
  expect(readFileSync(join(folder, "bytes"), "utf8")).toBe("of a stream");
  await write(folder, "web", new Blob(["of the web"]).stream());
  expect(readFileSync(join(folder, "web"), "utf8")).toBe("of the web");
  await writeDeck(folder, "<h1>Report</h1>");
  expect(readFileSync(join(folder, "deck.html"), "utf8")).toBe("<h1>Report</h1>");
});

test("a file is written whole or not at all", async () => {
  const folder = fresh();
  await write(folder, "kept", "before");
  await expect(write(folder, "kept", Readable.from(breaking()))).rejects.toThrow(
    `kept cannot be written below ${folder}: the source broke`,
  );
  expect(readdirSync(folder)).toEqual(["kept"]);
  expect(readFileSync(join(folder, "kept"), "utf8")).toBe("before");
  await expect(write("s3://outputs/a/0", "broken", Readable.from(breaking()))).rejects.toThrow("the source broke");
  expect([...objects.keys()]).toEqual([]);
});

test("a file is written to a bucket, by its type", async () => {
  expect(await write("s3://outputs/a b/0", "50%#.html", "<p>")).toEqual(new File("s3://outputs/a b/0/50%#.html", "html"));
  await write("s3://outputs/a b/0", "stream", Readable.from([Buffer.from("of a "), Buffer.from("stream")]));
  expect(objects.get("/outputs/a%20b/0/50%25%23.html")).toMatchObject({ body: expect.stringContaining("<p>"), type: "text/html" });
  expect(objects.get("/outputs/a%20b/0/stream")?.body).toContain("of a stream");
});

test("what cannot be written says where, and whether it will work again by itself", async () => {
  const folder = fresh();
  await write(folder, "file", "");
  for (const [prefix, name, kind, says] of [
    [folder, "../up", InvalidArgument, 'must have a plain name, got "../up"'],
    [folder, "/top", InvalidArgument, 'must have a plain name, got "/top"'],
    [folder, "", InvalidArgument, 'must have a plain name, got ""'],
    [folder, "a/", InvalidArgument, 'must have a plain name, got "a/"'],
    [folder, "a//b", InvalidArgument, 'must have a plain name, got "a//b"'],
    ["", "a", InvalidArgument, "a cannot be written: the task has no output prefix"],
    ["relative", "a", FailedPrecondition, "the output prefix relative cannot be opened"],
    ["gs://bucket/0", "a", FailedPrecondition, "the output prefix gs://bucket/0 cannot be opened"],
    [join(folder, "file"), "a", FailedPrecondition, `a cannot be written below ${join(folder, "file")}: `],
    ["s3://closed/0", "a", FailedPrecondition, "a cannot be written below s3://closed/0: "],
    ["s3://broken/0", "a", Unavailable, "a cannot be written below s3://broken/0: "],
  ] as const) {
    const written = write(prefix, name, "");
    await expect(written, `${prefix} ${name}`).rejects.toThrow(kind);
    await expect(written).rejects.toThrow(says);
  }
});

test("a package that only this needs is named where it is missing", async () => {
  const missing = optional("an output prefix of s3://", "@aws-sdk/client-s3", () => import("no-such-package" as string));
  await expect(missing).rejects.toThrow(
    /^an output prefix of s3:\/\/ needs other packages: npm install @aws-sdk\/client-s3 \(.*no-such-package/,
  );
});
