// What README.md shows besides the examples. It only has to be compiled.
import { dataset, type Job, log, replaced, secret, succeeded, type Task } from "agenthost";
import { fetch } from "agenthost/http";
import { write, writeDeck } from "agenthost/storage";
import { z } from "zod";

export function everyInput(task: Task) {
  const limit = task.input("limit", z.int()); // what the schema says: a number, a date, a list, an object, …
  const region = task.input("region", z.string().default("eu")); // absent or None: "eu"
  const table = task.input("table", dataset()); // uri, format, columns; also file(), directory()
  const all = task.inputsAs(z.object({ limit: z.int(), region: z.string().optional() }));
  const settings = task.custom(z.object({ cluster: z.string() })); // the template's custom part
  const { target, config } = task.template; // sql, container; settings as texts
  return [limit, region, table, all, settings, target, config];
}

export async function besideTheCalls(task: Task, job: Job<unknown>) {
  const report = await write(task.outputPrefix, "report.csv", "city,rows"); // a File, which can be an output
  await writeDeck(task.outputPrefix, "<h1>Report</h1>");
  const response = await fetch("https://service.example.com/jobs", { method: "POST", body: "{}" });
  const key = secret("api_key").reveal(); // job.secret("api_key") looks into Flyte 2's connection first
  replaced().addEventListener("abort", () => log.info("a newer process takes over", { job: job.taskType }));
  return [succeeded({ report }), response, key];
}
