// Everything that the TypeScript SDK offers, in one plugin. A job does what its input "do" says. test/languages/features asks it, as
// it asks the same example in the other languages.
import { access, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Abandoned,
  asyncAgent,
  Directory,
  dataset,
  directory,
  duration,
  File,
  failed,
  file,
  InvalidArgument,
  log,
  NotFound,
  Plugin,
  replaced,
  retryableFailed,
  running,
  StructuredDataset,
  SystemFailure,
  size,
  succeeded,
  syncAgent,
  Unavailable,
  UserFailure,
} from "agenthost";
import { fetch } from "agenthost/http";
import { JobStore } from "agenthost/jobstore";
import { write, writeDeck } from "agenthost/storage";
import prometheus from "prom-client";
import { z } from "zod";

const created = new prometheus.Counter({ name: "features_jobs_total", help: "Jobs created.", labelNames: ["do"] });

const Config = z.object({
  region: z.enum(["eu", "us"]).describe("Where jobs run."),
  hosts: z.array(z.string()).default([]),
  weights: z.record(z.string(), z.int()).default({}),
  limits: z.object({ cpu: z.int().default(1) }).optional(),
  grace: duration().optional(),
  memory: size().optional(),
});

/** What Flyte keeps of a job. */
const Meta = z.object({
  do: z.string(),
  key: z.string().default(""),
  prefix: z.string().default(""),
  types: z.string().default(""),
  secondsLeft: z.number().nullable().default(null),
});

function jobs(taskType: string, more: { also?: { taskType: string; version: number }[]; name: string; idempotentCreate: boolean }) {
  /** What became of the attempts, by their keys: a job, or null where the attempt was abandoned. */
  const attempts = new Map<string, z.output<typeof Meta> | null>();
  return asyncAgent({
    taskType,
    ...more,
    meta: Meta,
    find(task) {
      const made = attempts.get(task.idempotencyKey);
      if (made === undefined) throw new NotFound("the attempt has no job");
      if (made === null) throw new Abandoned("the attempt was abandoned");
      return made;
    },
    abandon(task) {
      attempts.set(task.idempotencyKey, null);
    },
    async create(task) {
      if (attempts.get(task.idempotencyKey) === null) throw new Abandoned("the attempt was abandoned");
      const what = task.input("do", z.string());
      if (what === "unavailable") throw new Unavailable("the warehouse is closed");
      if (what === "panic") throw new Error("out of order");
      if (what === "print") {
        console.log("printed to stdout");
        log.warn("logged", { rows: 3 });
      }
      if (what === "watch") replaced().addEventListener("abort", () => log.info("replaced"));
      if (what === "block") {
        log.info("blocks");
        for (;;); // another agent's thread does not notice
      }
      if (what === "hold") await hold(join(task.outputPrefix, "begun"));
      const made = {
        do: what,
        key: task.idempotencyKey,
        prefix: task.outputPrefix,
        types: task.outputTypes,
        secondsLeft: task.deadline ? (task.deadline.getTime() - Date.now()) / 1000 : null,
      };
      attempts.set(task.idempotencyKey, made);
      created.inc({ do: what });
      return made;
    },
    get(job) {
      switch (job.meta.do) {
        case "running":
          return running("half way")
            .withLink("Console", "https://example.com/1", { showWhilePending: true, hideOnceFinished: true })
            .withInfo({ rows: 3 });
        case "progress":
          return running().withProgress(0.4, "4 of 10 files");
        case "user-error":
          return failed(new UserFailure("BadSQL", "no such table"));
        case "system-error":
          return retryableFailed(new SystemFailure("Quota", "no more slots"));
        case "typed":
          return succeeded({ ratio: 1 }, { types: job.meta.types });
      }
      const secret = job.secret("from_variable");
      return succeeded({
        key: job.meta.key,
        created_prefix: job.meta.prefix,
        polled_prefix: job.outputPrefix,
        seconds_left: job.meta.secondsLeft,
        variable: secret.reveal(),
        file: job.secret("from_file").reveal(),
        printed: `${secret} ${JSON.stringify(secret)}`,
        ...(job.connection && { host: job.connection.configs.host }),
      });
    },
    delete() {},
    *logs() {
      yield { message: "first", time: new Date(1e12), originator: "USER" };
      yield { message: "second", originator: "SYSTEM" };
      yield { token: "2" };
    },
    metrics(_job, { queries, start, end, step }) {
      const span = start && end && start.until(end).total("seconds");
      return queries.map((metric) => ({ metric, data: { span, step: step?.total("seconds") } }));
    },
    /** Also reads what another program has written: "legacy:" and what the job does. */
    decode(data, fallback) {
      const text = Buffer.from(data).toString();
      return text.startsWith("legacy:") ? Meta.parse({ do: text.slice("legacy:".length) }) : fallback(data);
    },
    close() {
      log.info("closed");
    },
  });
}

/** Waits until the file that it makes is gone. */
async function hold(file: string): Promise<void> {
  await writeFile(file, "");
  const there = () =>
    access(file).then(
      () => true,
      () => false,
    );
  while (await there()) await sleep(10);
}

const echo = syncAgent({ taskType: "features_echo", execute: (task) => succeeded(task.inputs) });

const Counted = z.object({ count: z.int(), label: z.string() });

const custom = syncAgent({
  taskType: "features_custom",
  outputs: Counted,
  execute: (task) => succeeded(task.custom(Counted)),
});

const together = syncAgent({
  taskType: "features_together",
  inputs: Counted,
  outputs: Counted,
  execute: (task) => succeeded(task.inputs),
});

const Point = z.object({ x: z.bigint(), label: z.string() });

const movePoint = syncAgent({
  taskType: "features_point",
  inputs: z.object({ point: Point }),
  execute: ({ inputs: { point } }) => succeeded({ point: { ...point, x: point.x + 1n } }),
});

const Refers = z.object({ file: file(), directory: directory(), table: dataset() });

const refers = syncAgent({
  taskType: "features_refers",
  inputs: Refers,
  execute({ inputs: { file, directory, table } }) {
    const columns = Object.keys(table.columns).join(" ");
    return succeeded({
      said: `file ${file.uri} ${file.format}, directory ${directory.uri}, table ${table.uri} ${table.format} ${columns}`,
      file: new File(`${file.uri}.out`, "json"),
      directory: new Directory(`${directory.uri}.out`),
      table: new StructuredDataset(`${table.uri}.out`, "parquet", { n: "INTEGER" }),
    });
  },
});

const fetches = syncAgent({
  taskType: "features_fetches",
  inputs: z.object({ url: z.string() }),
  async execute({ inputs: { url } }) {
    const response = await fetch(url);
    if (!response.ok) throw new InvalidArgument(`${url} answers ${response.status}`);
    return succeeded({ body: await response.text() });
  },
});

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const writes = syncAgent({
  taskType: "features_writes",
  inputs: z.object({ text: z.string() }),
  async execute({ inputs: { text }, outputPrefix }) {
    const file = await write(outputPrefix, "report.txt", text);
    await writeDeck(outputPrefix, `<h1>Report</h1><p>${escaped(text)}</p>`);
    return succeeded({ file });
  },
});

/** Keeps its jobs in files, by the attempts' keys, which are all that Flyte keeps. */
const store = new JobStore(process.env.FEATURES_STORE || join(tmpdir(), "features"), z.object({ do: z.string(), key: z.string() }));

const stored = asyncAgent({
  taskType: "features_stored",
  inputs: z.object({ do: z.string() }),
  meta: z.string(),
  create({ inputs, idempotencyKey: key }) {
    store.add(key, { do: inputs.do, key });
    return key;
  },
  get: (job) => succeeded(store.get(job.meta)),
  delete: (job) => store.delete(job.meta),
});

const features = jobs("features_job", {
  also: [{ taskType: "features_job", version: 2 }],
  name: "Features",
  idempotentCreate: true,
});
const blocks = jobs("features_blocks", { name: "Blocks", idempotentCreate: false });
const plain = jobs("features_plain", { name: "Plain", idempotentCreate: false });

new Plugin("features", "1.0.0", [features, plain, stored, echo, custom, together, movePoint, refers, fetches, writes, blocks])
  .configure(Config, () => {})
  .metrics(prometheus.register)
  .serve();
