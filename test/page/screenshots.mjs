// The pictures in docs/: of a host that has had tasks for some minutes, a plugin that has crashed, another that cannot start, and a canary.
import fs from "node:fs";
import path from "node:path";
import { Host, programs, until } from "./host.mjs";

const shown = {
  "page-overview": ["/", {}],
  "page-dark": ["/", { colorScheme: "dark" }],
  "page-plugin": ["/ui/plugins/duckdb", {}],
  "page-canary": ["/ui/plugins/hello", {}],
};

export class Shown extends Host {
  plugins() {
    fs.mkdirSync(path.join(this.folder, "jobs"), { recursive: true, mode: 0o700 });
    return `
  duckdb:
    command: [${programs}/plugins/duckdb/duckdb]
    limits: {concurrency: 20}
    config: {state_dir: ${this.folder}/jobs}
    sandbox: {write: [${this.folder}/jobs]}
  hello:
    command: [${programs}/plugins/hello/hello]
    env: {GENERATION: "${this.generation}"}
    ${this.rollout}
  reports:
    command: [sh, -c, "echo cannot open /etc/reports/key.pem: no such file or directory >&2; exit 1"]`;
  }

  async ready() {
    await until("duckdb and hello run, and reports is in a crash loop", async () => {
      try {
        const states = await Promise.all(["duckdb", "hello", "reports"].map(async (name) => (await this.status(name)).state));
        return states.join() === "running,running,crash-looping";
      } catch {
        return false;
      }
    }, 120_000, () => this.log);
  }

  // tasks runs tasks one after another until a moment.
  async tasks(end, ...task) {
    while (Date.now() < end) await this.task(...task);
  }

  async work(minutes) {
    const end = Date.now() + minutes * 60_000;
    const all = [
      this.tasks(end, "--type", "hello", "--input", "name=Ada", "--want", "greeting:str"),
      this.tasks(end, "--type", "duckdb_query", "--sql", "select count(*) as n from range(30000000) where range % 7 = 3", "--want", "n:int"),
    ];
    await until("half of the time is over", () => Date.now() > end - minutes * 30_000, minutes * 60_000);
    process.kill((await this.status("duckdb")).pid, "SIGKILL");
    this.swap("{steps: [{percent: 30, pause: 30m}], abort_if: {error_rate: 0.05}}");
    await until("hello has a canary", async () => (await this.status("hello")).rollout, 60_000, () => this.log);
    await Promise.all(all);
  }
}

export async function screenshots(host, browser, folder) {
  await host.work(3);
  for (const [name, [at, options]] of Object.entries(shown)) {
    const page = await browser.page(at, { viewport: { width: 1120, height: 960 }, ...options });
    await page.locator("#connection").filter({ hasText: /^live$/ }).waitFor();
    await page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
}
