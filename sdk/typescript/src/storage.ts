// Writes what an agent leaves beside its outputs: files, which are outputs by their uri, and a deck.
import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, extname, isAbsolute, join, posix } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { S3Client } from "@aws-sdk/client-s3";
import mime from "mime";
import { FailedPrecondition, InvalidArgument, reasonOf, Unavailable } from "./errors.js";
import { optional } from "./optional.js";
import { File } from "./values.js";

/** What a file is written from. */
export type Content = string | Uint8Array | Readable | ReadableStream<Uint8Array>;

/** The file below an output prefix that Flyte shows as the task's deck. */
const DECK = "deck.html";

/** What a folder's file system says of what does not mend itself. */
const REFUSED = ["ENOENT", "ENOTDIR", "EEXIST", "EISDIR", "EACCES", "EPERM", "EROFS", "ENAMETOOLONG"];

/**
 * Writes a file below a task's output prefix, whole or not at all, and returns it as the task's output:
 * `succeeded({ report: await write(task.outputPrefix, "report.csv", text) })`.
 *
 * The name may have folders in it; its ending is the file's format. A prefix is a folder (an absolute path, or file://), which the
 * plugin's sandbox must have in `write:`, or in a bucket (s3://) with the packages @aws-sdk/client-s3 and @aws-sdk/lib-storage, which is
 * configured as AWS' own tools are (AWS_REGION, AWS_ENDPOINT_URL, credentials).
 *
 * Throws Unavailable where it will work again by itself, and FailedPrecondition where it will not.
 */
export async function write(prefix: string, name: string, content: Content): Promise<File> {
  if (name !== posix.normalize(name) || /^(\.?|\.\.)$|^\/|^\.\.\/|\/$/.test(name)) {
    throw new InvalidArgument(`a file below the output prefix must have a plain name, got ${JSON.stringify(name)}`);
  }
  if (!prefix) throw new InvalidArgument(`${name} cannot be written: the task has no output prefix`);
  const uri = `${prefix.replace(/\/$/, "")}/${name}`;
  const folder = prefix.replace(/^file:\/\//, "");
  const [, bucket = "", key = ""] = /^s3:\/\/([^/]+)\/(.+)$/s.exec(uri) ?? [];
  if (isAbsolute(folder)) await told(prefix, name, toFolder(folder, name, content), isRefusedByFolder);
  else if (bucket) await told(prefix, name, toBucket(bucket, key, content), isRefusedByBucket);
  else throw new FailedPrecondition(`the output prefix ${prefix} cannot be opened: it is neither an absolute path nor of file:// or s3://`);
  return new File(uri, extname(name).slice(1));
}

/**
 * Writes the HTML that Flyte's console shows as the task's deck. It is shown to users as it is: what is not HTML in it must be escaped.
 */
export async function writeDeck(prefix: string, html: string): Promise<void> {
  await write(prefix, DECK, html);
}

async function told(prefix: string, name: string, written: Promise<void>, isRefused: (error: unknown) => boolean): Promise<void> {
  try {
    await written;
  } catch (error) {
    const message = `${name} cannot be written below ${prefix}: ${reasonOf(error)}`;
    throw isRefused(error) ? new FailedPrecondition(message, { cause: error }) : new Unavailable(message, { cause: error });
  }
}

/** By a file beside it, which then takes its name: a rename from elsewhere may not be one. */
async function toFolder(folder: string, name: string, content: Content): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  const fresh = join(dirname(path), `.new-${randomUUID()}`);
  try {
    await pipeline(readable(content), createWriteStream(fresh, { flags: "wx" }));
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

function isRefusedByFolder(error: unknown): boolean {
  return REFUSED.includes((error as NodeJS.ErrnoException).code ?? "");
}

const aws = () =>
  optional("an output prefix of s3://", "@aws-sdk/client-s3 @aws-sdk/lib-storage", () =>
    Promise.all([import("@aws-sdk/client-s3"), import("@aws-sdk/lib-storage")]),
  );

let client: S3Client | undefined;

async function toBucket(bucket: string, key: string, content: Content): Promise<void> {
  const [{ S3Client }, { Upload }] = await aws();
  // What is not AWS' own has no name for each bucket.
  client ??= new S3Client({ forcePathStyle: Boolean(process.env.AWS_ENDPOINT_URL_S3 || process.env.AWS_ENDPOINT_URL) });
  const upload = new Upload({
    client,
    params: {
      Bucket: bucket,
      Key: key,
      Body: content,
      ContentType: mime.getType(key) ?? undefined,
    },
  });
  await upload.done();
}

function isRefusedByBucket(error: unknown): boolean {
  const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode ?? 0;
  if (status === 408 || status === 429) return false;
  return (status >= 400 && status < 500) || name === "LoadError" || name === "CredentialsProviderError" || message === "Region is missing";
}

function readable(content: Content): Readable {
  if (content instanceof Readable) return content;
  if (content instanceof ReadableStream) return Readable.fromWeb(content as import("node:stream/web").ReadableStream);
  return Readable.from([content]);
}
