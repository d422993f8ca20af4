// Jobs in files, which outlive the process that made them: for agents with no service behind them that remembers.
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { FailedPrecondition, InvalidArgument, NotFound, reasonOf } from "./errors.js";
import { kept } from "./kept.js";
import { log } from "./log.js";
import { optional } from "./optional.js";
import { read, SchemaError } from "./typed.js";

const { default: koffi } = await optional("agenthost/jobstore", "koffi", () => import("koffi"));

/** The C library's lock of a file, which ends with whoever holds it. Node.js itself has none. */
const flock: (descriptor: number, operation: number) => number = koffi.load(null).func("int flock(int, int)");
const LOCK_EX = 2;

/** The version of the files: those of a higher one are left alone. */
const FORMAT = 1;
const SUFFIX = ".json";
const NEW = ".new-";
const MAX_NAME = 255;
/** How old a file is, in ms, that was begun and is no job yet, until it is removed. */
const ABANDONED = 3_600_000;

/**
 * A folder of jobs.
 *
 *     const store = new JobStore("/var/lib/queue", z.object({ rows: z.int().default(0) })); // sandbox: {write: [/var/lib/queue]}
 *     const { job } = store.add(task.idempotencyKey, { rows: 0 });                           // in create: the first of an attempt counts
 *     const job = store.get(id);                                                             // in get
 *     store.update(id, (job) => ({ ...job, rows: job.rows + 1 }));                           // behind the calls
 *
 * It holds one JSON file a job, which is replaced as a whole: whoever reads sees one state or the next, also after a crash. Any number
 * of threads and processes use it at a time, such as a newer generation of the plugin while the older one drains. The files are those
 * of the other SDKs. A schema may get further fields with defaults: what an older file lacks has its default, and a newer one's are
 * dropped where an older process writes it again.
 *
 * The methods wait for the disk, and for others' changes, in the agent's thread.
 */
export class JobStore<S extends z.ZodType> {
  /** Opens a folder, which is made where it is missing, for its owner alone. Throws FailedPrecondition where it cannot be. */
  constructor(
    private readonly folder: string,
    private readonly schema: S,
  ) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      this.#locked(() => this.#clearUp());
    } catch (error) {
      throw new FailedPrecondition(
        `the job store cannot be opened (does the plugin's sandbox have it in \`write:\`?): ${reasonOf(error)}`,
        { cause: error },
      );
    }
  }

  /** Keeps a job unless there is one of that id, made by whichever process. Returns the one that is kept, and whether it is this one. */
  add(id: string, job: z.output<S>): { job: z.output<S>; added: boolean } {
    return this.#locked(() => {
      const found = this.#find(id);
      if (found) return { job: found.job, added: false };
      this.#write(id, job);
      return { job, added: true };
    });
  }

  /** Keeps a job in the place of one of the same id. */
  put(id: string, job: z.output<S>): void {
    this.#locked(() => this.#write(id, job));
  }

  /**
   * Changes a job to what the function returns, and returns it. No other change comes between; nothing changes where the function
   * throws. Throws NotFound where there is no such job.
   */
  update(id: string, change: (job: z.output<S>) => z.output<S>): z.output<S> {
    return this.#locked(() => {
      const job = change(this.get(id));
      this.#write(id, job);
      return job;
    });
  }

  /** A job. Throws NotFound where there is none, and FailedPrecondition, with the file's name, where it cannot be read. */
  get(id: string): z.output<S> {
    const found = this.#find(id);
    if (!found) throw new NotFound(`there is no job ${JSON.stringify(id)}`);
    return found.job;
  }

  /** Forgets a job. One that is not there is forgotten already. */
  delete(id: string): void {
    const path = this.#path(id);
    this.#locked(() => rmSync(path, { force: true }));
  }

  /** All jobs by their ids. Those that cannot be read are missing, and the log names their files. */
  jobs(): Map<string, z.output<S>> {
    const found = new Map<string, z.output<S>>();
    for (const name of readdirSync(this.folder).sort()) {
      if (!name.endsWith(SUFFIX) || name.startsWith(".")) continue;
      try {
        const id = decodeURIComponent(name.slice(0, -SUFFIX.length).replaceAll("+", " "));
        const one = this.#read(join(this.folder, name));
        if (one) found.set(id, one.job); // or it was deleted meanwhile
      } catch (error) {
        if (!(error instanceof FailedPrecondition || error instanceof URIError)) throw error;
        log.warn("a job's file is left out", { file: join(this.folder, name), error: error.message });
      }
    }
    return found;
  }

  #find(id: string): { job: z.output<S> } | undefined {
    return this.#read(this.#path(id));
  }

  /** Where a job is: in a file with the id as forms of the web write it. */
  #path(id: string): string {
    let name = "";
    try {
      name =
        encodeURIComponent(id)
          .replace(/[!'()*]/g, percent)
          .replaceAll("%20", "+") + SUFFIX;
    } catch {} // half of a pair of UTF-16
    if (name.startsWith(".")) name = `%2E${name.slice(1)}`;
    if (!id || !name || name.length > MAX_NAME) {
      const most = MAX_NAME - SUFFIX.length;
      throw new InvalidArgument(`the id of a job must have 1 to ${most} bytes, as a file's name without ${SUFFIX}: ${JSON.stringify(id)}`);
    }
    return join(this.folder, name);
  }

  #read(path: string): { job: z.output<S> } | undefined {
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new FailedPrecondition(`${path} cannot be read: ${reasonOf(error)}`, { cause: error });
    }
    const { format, job } = envelope(text);
    if (typeof format !== "number" || !Number.isInteger(format) || format < 1) {
      throw new FailedPrecondition(
        `${path} is not the file of a job: it is damaged, or of something else; remove it to go on without the job`,
      );
    }
    if (format > FORMAT) {
      throw new FailedPrecondition(
        `${path} has format ${format}, and this version of the plugin reads up to ${FORMAT}: a newer one has written it`,
      );
    }
    try {
      return { job: read(this.schema, job) };
    } catch (error) {
      if (!(error instanceof SchemaError)) throw error;
      throw new FailedPrecondition(`${path} has a job of another type: ${error.message}`);
    }
  }

  /** Replaces a job's file as a whole, and returns when it is on the disk. */
  #write(id: string, job: unknown): void {
    const path = this.#path(id);
    let json: string;
    try {
      json = kept(job, (text) => read(this.schema, JSON.parse(text)));
    } catch (error) {
      throw new TypeError(`job ${JSON.stringify(id)} cannot be written as JSON and read back: ${reasonOf(error)}`);
    }
    const fresh = join(this.folder, `${NEW}${randomUUID()}`);
    try {
      this.#opened(fresh, "wx", (descriptor) => {
        writeFileSync(descriptor, `{"format":${FORMAT},"job":${json}}\n`);
        fsyncSync(descriptor);
      });
      renameSync(fresh, path);
    } catch (error) {
      rmSync(fresh, { force: true });
      throw error;
    }
    this.#opened(this.folder, "r", fsyncSync); // for the name
  }

  /** Removes what processes left that ended while they wrote. */
  #clearUp(): void {
    for (const name of readdirSync(this.folder)) {
      if (!name.startsWith(NEW)) continue;
      const path = join(this.folder, name);
      const begun = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
      if (Date.now() - begun >= ABANDONED) rmSync(path, { force: true });
    }
  }

  /** Does something while no other thread or process changes the folder. */
  #locked<T>(work: () => T): T {
    const file = join(this.folder, ".lock");
    return this.#opened(file, "a", (descriptor) => {
      while (flock(descriptor, LOCK_EX) !== 0) {
        if (koffi.errno() !== koffi.os.errno.EINTR) throw new Error(`${file} cannot be locked: error ${koffi.errno()}`);
      }
      return work();
    });
  }

  #opened<T>(path: string, flags: string, use: (descriptor: number) => T): T {
    const descriptor = openSync(path, flags, 0o600);
    try {
      return use(descriptor);
    } finally {
      closeSync(descriptor); // with which a lock goes
    }
  }
}

function percent(letter: string): string {
  return `%${letter.charCodeAt(0).toString(16).toUpperCase()}`;
}

/** What a file holds; nothing where that is no object in JSON. */
function envelope(text: string): { format?: unknown; job?: unknown } {
  try {
    return { ...JSON.parse(text) };
  } catch {
    return {};
  }
}
