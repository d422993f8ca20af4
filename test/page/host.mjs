// A real host with real plugins, in a folder of its own.
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
export const programs = process.env.PREBUILT_PROGRAMS ?? path.join(root, "bin");

// hostile is what a plugin says that means to run a script in an operator's browser.
export const hostile = `"><script>window.hacked=1</script><img src=x onerror=window.hacked=1>`;

export class Host {
  static async start() {
    const host = new this();
    host.folder = fs.mkdtempSync(path.join(os.tmpdir(), "agenthost-page-"));
    for (const name of ["run", "state"]) fs.mkdirSync(path.join(host.folder, name), { mode: 0o700 });
    [host.grpc, host.admin] = [await freePort(), await freePort()];
    host.url = `http://127.0.0.1:${host.admin}`;
    host.generation = 1;
    host.rollout = "";
    host.configure();
    host.log = "";
    host.process = spawn(path.join(programs, "agenthost"), ["serve", "--config", path.join(host.folder, "agenthost.yaml")], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [host.process.stdout, host.process.stderr]) stream.on("data", (text) => (host.log += text));
    host.ended = new Promise((resolve) => host.process.on("exit", resolve));
    return host;
  }

  configure() {
    fs.writeFileSync(path.join(this.folder, "agenthost.yaml"), `
listen: {grpc: "127.0.0.1:${this.grpc}", admin: "127.0.0.1:${this.admin}"}
run_dir: ${this.folder}/run
state_dir: ${this.folder}/state
ready: {plugins: any}
plugins:${this.plugins()}
`);
  }

  plugins() {
    return `
  hello:
    command: [${programs}/plugins/hello/hello]
    env: {GENERATION: "${this.generation}"}
    ${this.rollout}
  hostile:
    command: [sh, -c, ${JSON.stringify(`echo '${hostile}' >&2; exit 3`)}]
  other:
    command: [${programs}/plugins/hello/hello]
    task_types: [none]`;
  }

  // swap has a new generation of hello started, which gets all calls, or what its rollout says.
  swap(rollout = "") {
    this.generation++;
    this.rollout = rollout && `rollout: ${rollout}`;
    this.configure();
  }

  async status(name) { return JSON.parse((await this.get("/status")).text).plugins.find((p) => p.name === name); }

  // task runs a task to its end.
  async task(...task) {
    const run = spawn(path.join(programs, "agenthost"), ["task", "run", "--address", `127.0.0.1:${this.grpc}`, ...task], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    run.stderr.on("data", (text) => (said += text));
    const code = await new Promise((resolve) => run.on("exit", resolve));
    if (code !== 0) throw new Error(`a task fails: ${said}`);
  }

  // ready waits until hello runs and the others have been tried.
  async ready() {
    await until("hello runs, and hostile has failed", async () => {
      try {
        const status = JSON.parse((await this.get("/status")).text);
        const states = Object.fromEntries(status.plugins.map((p) => [p.name, p]));
        return states.hello?.state === "running" && states.hostile?.reason?.includes("hacked") && states.other?.state === "refused";
      } catch {
        return false;
      }
    }, 60_000, () => this.log);
    this.token = fs.readFileSync((await this.get("/status")).headers["agenthost-token-file"], "utf8").trim();
  }

  get(at, headers = {}) { return this.ask("GET", at, headers); }

  ask(method, at, headers = {}, body = "") {
    return new Promise((resolve, reject) => {
      const request = http.request(this.url + at, { method, headers, agent: false }, (answer) => {
        let text = "";
        answer.on("data", (more) => (text += more)).on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
      });
      request.on("error", reject);
      request.end(body);
    });
  }

  // event waits for a change of state, and returns when it was heard of.
  event(wanted) {
    return new Promise((resolve, reject) => {
      let rest = "";
      const request = http.get(this.url + "/events", { agent: false }, (answer) => {
        answer.on("data", (more) => {
          rest += more;
          const lines = rest.split("\n");
          rest = lines.pop();
          for (const line of lines) {
            if (line.trim() && wanted(JSON.parse(line))) {
              request.destroy();
              resolve(Date.now());
            }
          }
        });
      });
      request.on("error", reject);
    });
  }

  async stop() {
    this.process.kill("SIGTERM");
    await this.ended;
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

// Many is a host with so many plugins that none runs: what a page has to bear is how many there are, and here each needs attention.
export class Many extends Host {
  static count = 500;

  plugins() {
    return Array.from({ length: Many.count }, (_, n) => `
  p${String(n).padStart(3, "0")}: {command: ["/bin/false"], restart: {initial_backoff: 1h, max_backoff: 1h}}`).join("");
  }

  async ready() {
    await until("all have been tried", async () => {
      try {
        const { plugins } = JSON.parse((await this.get("/status")).text);
        return plugins.length === Many.count && plugins.every((p) => p.reason);
      } catch {
        return false;
      }
    }, 120_000, () => this.log.slice(-2000));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// until waits for a condition.
export async function until(what, holds, limit = 15_000, about = () => "") {
  const end = Date.now() + limit;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`it does not come that ${what}\n${about()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
