// Reports are tables that a service makes, reached by HTTP: what a plugin in TypeScript looks like. The SDK's README goes through it.
import {
  asyncAgent,
  dataset,
  duration,
  failed,
  InvalidArgument,
  log,
  NotFound,
  Plugin,
  queued,
  retryableFailed,
  running,
  StructuredDataset,
  SystemFailure,
  secretRef,
  size,
  succeeded,
  Temporal,
  UserFailure,
} from "agenthost";
import { fetch } from "agenthost/http";
import prometheus from "prom-client";
import { z } from "zod";
import { approval, approve, openApprovals } from "./approvals.js";

const begun = new prometheus.Counter({ name: "reports_begun_total", help: "Reports that were asked for." });

/** The plugin's `config:` in the host's file. */
const Config = z.object({
  service: z.url().describe("Where the service is."),
  token: secretRef(), // the name of a secret
  patience: duration().prefault("1h"), // written as "90s" or "1h30m"
  max_size: size().prefault("1GiB"),
  approvals: z.string().optional().describe("The folder that approvals are kept in."),
});

let config: z.output<typeof Config>;

/** What Flyte keeps of a job between the calls, as JSON. */
const Report = z.object({ id: z.string(), table: z.string(), until: z.iso.datetime() });

/** What the service says of a job. */
const Progress = z.object({
  state: z.enum(["queued", "running", "done", "failed"]),
  rows: z.int().default(0),
  of: z.int().default(1),
  problem: z.string().default(""),
});

const reports = asyncAgent({
  taskType: "report",
  idempotentCreate: true,
  inputs: z.object({ statement: z.string(), limit: z.int().default(1000) }),
  outputs: z.object({ rows: z.int(), table: dataset() }),
  meta: Report,

  // Starts a job and returns at once. The service makes one job of a name, however often it is told.
  async create({ inputs, idempotencyKey: id, outputPrefix }) {
    const table = `${outputPrefix}/report.parquet`;
    const until = Temporal.Now.instant().add(config.patience).toString();
    await call("PUT", id, { ...inputs, max_bytes: config.max_size, to: table });
    begun.inc();
    log.info("report begun", { job: id, limit: inputs.limit });
    return { id, table, until };
  },

  // Says how a job is. It may come to another process than the one that made the job.
  async get(job) {
    const { state, rows, of, problem } = Progress.parse(await (await call("GET", job.meta.id)).json());
    if (state === "done") return succeeded({ rows, table: new StructuredDataset(job.meta.table, "parquet", { city: "STRING" }) });
    if (state === "failed") return failed(new UserFailure("BadStatement", problem));
    if (Date.now() > Date.parse(job.meta.until)) return retryableFailed(new SystemFailure("TooSlow", "the service took too long"));
    if (state === "queued") return queued("the service is busy");
    return running()
      .withProgress(rows / of, `${rows} of ${of} rows`)
      .withLink("Report", `${config.service}/jobs/${job.meta.id}`);
  },

  // Ends a job; it is fine if there is none.
  async delete(job) {
    await call("DELETE", job.meta.id);
  },
});

/** Asks the service about a job: again, where it is busy. */
async function call(method: string, id: string, order?: object): Promise<Response> {
  const response = await fetch(`${config.service}/jobs/${id}`, {
    method,
    headers: { authorization: `Bearer ${config.token.reveal()}` }, // each time: it may change
    body: order && JSON.stringify(order),
  });
  if (response.status === 404) throw new NotFound(`the service has no job ${id}`);
  if (!response.ok) throw new InvalidArgument(`the service refuses the call: ${response.status} ${response.statusText}`);
  return response;
}

export function plugin(): Plugin {
  return new Plugin("reports", "1.0.0", [reports, approval, approve]).configure(Config, configure).metrics(prometheus.register);
}

function configure(given: z.output<typeof Config>) {
  config = given;
  if (given.approvals) openApprovals(given.approvals);
}
