// A webhook as a task: its inputs are posted to the URL in the task's template, and what comes back are its outputs. The receiver
// answers with them at once (200), or says where to ask (202 and Location), as many services do whose work takes a while.
//
// What makes it safe to restart: each call for an attempt carries the same Idempotency-Key, by which the receiver makes one job, and what
// Flyte keeps of a job says all that a newer process needs. An answer that was lost is asked for again; nothing is done twice.
import {
  asyncAgent,
  FailedPrecondition,
  failed,
  InvalidArgument,
  NotFound,
  Plugin,
  running,
  type Secret,
  SystemFailure,
  secretRef,
  succeeded,
  Unavailable,
  UserFailure,
} from "agenthost";
import { fetch } from "agenthost/http"; // asks a busy receiver again when it says so, within the call's deadline
import { z } from "zod";

const Config = z.object({
  allow: z.array(z.url()).min(1).describe("What the URLs that tasks may call begin with, such as https://hooks.example.com/flyte/."),
  token: secretRef().optional().describe("The name of the secret that receivers know the plugin by."),
});

/** What a receiver says of a job. */
const State = z.object({
  state: z.enum(["queued", "running", "succeeded", "failed"]),
  message: z.string().default(""),
  progress: z.number().min(0).max(1).optional(),
  outputs: z.record(z.string(), z.json()).default({}),
});

/** What Flyte keeps of a job: the answer, or where to ask. It is limited to some KiB: large outputs are files, and their addresses. */
const Meta = z.object({
  status: z.string().optional(),
  answer: z.record(z.string(), z.json()).optional(),
  types: z.string(),
});

let allowed: URL[] = [];
let token: Secret | undefined;

/** Calls a receiver. A redirect is not followed: what it leads to may not be allowed. */
async function call(method: "POST" | "GET" | "DELETE", url: URL, key?: string, body?: unknown): Promise<Response> {
  if (!allowed.some(({ origin, pathname }) => origin === url.origin && url.pathname.startsWith(pathname))) {
    throw new InvalidArgument(`${url} is not among the URLs that the plugin's \`config: {allow: …}\` has`);
  }
  const response = await fetch(url, {
    method,
    redirect: "manual",
    headers: {
      ...(token && { authorization: `Bearer ${token.reveal()}` }),
      ...(key && { "idempotency-key": key }),
      ...(body !== undefined && { "content-type": "application/json" }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  // Flyte calls again, with the same key: whatever became of this call, it does no harm.
  if (response.status >= 500) throw new Unavailable(`${method} ${url} answers ${response.status}: ${await response.text()}`);
  return response;
}

/** What a receiver says, in JSON. */
async function said<S extends z.ZodType>(response: Response, schema: S): Promise<z.output<S>> {
  const text = await response.text();
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new FailedPrecondition(`${response.url} answers with what is no JSON of a job: ${text.slice(0, 200)}`, { cause: error });
  }
}

const webhook = asyncAgent({
  taskType: "webhook",
  idempotentCreate: true,
  inputs: z.record(z.string(), z.json()), // what JSON cannot hold, such as a datetime, is refused by its name
  meta: Meta,

  async create(task) {
    const url = new URL(task.custom(z.object({ url: z.url() })).url);
    const response = await call("POST", url, task.idempotencyKey, task.inputs);
    switch (response.status) {
      case 200:
      case 201:
      case 204: {
        const isJson = response.headers.get("content-type")?.startsWith("application/json");
        const answer = isJson ? await said(response, z.record(z.string(), z.json())) : {}; // "ok" and the like are no outputs
        return { answer, types: task.outputTypes };
      }
      case 202: {
        await response.body?.cancel();
        const location = response.headers.get("location");
        if (!location) throw new InvalidArgument(`${url} accepts the job, and does not say where to ask: its answer has no Location`);
        return { status: new URL(location, url).href, types: task.outputTypes };
      }
    }
    throw new InvalidArgument(`${url} refuses the job: ${response.status} ${await response.text()}`);
  },

  async get({ meta: { status, answer, types } }) {
    if (!status) return succeeded(answer ?? {}, { types });
    const response = await call("GET", new URL(status));
    if (response.status === 404) return failed(new SystemFailure("Lost", `${status} knows nothing of the job any more`));
    if (!response.ok) throw new Unavailable(`${status} answers ${response.status}: ${await response.text()}`);
    const job = await said(response, State);
    switch (job.state) {
      case "succeeded":
        return succeeded(job.outputs, { types });
      case "failed":
        return failed(new UserFailure("Refused", job.message));
    }
    const now = running(job.message).withLink("Job", status);
    return job.progress === undefined ? now : now.withProgress(job.progress, job.message);
  },

  async delete({ meta: { status } }) {
    if (!status) return; // it is over
    const response = await call("DELETE", new URL(status));
    await response.body?.cancel();
    if (response.status === 404 || response.status === 410) throw new NotFound(`${status} is gone`); // which is fine
    if (!response.ok) throw new Unavailable(`${status} cannot be ended: ${response.status}`);
  },
});

new Plugin("webhook", "1.0.0", [webhook])
  .configure(Config, (config) => {
    allowed = config.allow.map((prefix) => new URL(prefix));
    token = config.token;
  })
  .serve();
