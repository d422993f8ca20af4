// A plugin process from its first line to its last.
import { writeSync } from "node:fs";
import { LoadError } from "./errors.js";
import { announce, check, makeCertificate, makeSocket } from "./handshake.js";
import { log, takeOverPrints } from "./log.js";
import type { Plugin } from "./plugin.js";
import { PluginServer } from "./server.js";
import { Threads } from "./threads.js";

/** What threads get to end when the plugin does, in ms: one in a call of the system's cannot be ended. */
const THREADS_END = 500;

/** Serves until the host asks for the end, and ends the process. */
export async function serve(plugin: Plugin): Promise<void> {
  const parent = process.ppid; // before the handshake: a host that ends right behind it has been ours, too
  try {
    check(process.env, hint(plugin));
    takeOverPrints();
    plugin.check();
    process.on("SIGINT", () => {}); // Ctrl-C in the host's terminal is for the host
    await live(plugin, parent);
  } catch (error) {
    if (!(error instanceof LoadError)) throw error;
    writeSync(2, `${error.message}\n`);
    process.exit(1);
  }
}

async function live(plugin: Plugin, parent: number): Promise<void> {
  const [threads, own] = await Promise.all([Threads.begin(plugin, process.argv[1] as string), makeCertificate()]);
  const socket = makeSocket(process.env);
  process.on("exit", () => socket.remove());
  const client = process.env.PLUGIN_CLIENT_CERT;
  const server = new PluginServer(plugin, threads);
  await server.listen(`unix:${socket.path}`, client ? { own, client: Buffer.from(client) } : undefined);
  process.on("SIGTERM", () => void server.end());
  announce(socket, client ? own.handshake : "");
  // A host that was killed cannot stop its plugins.
  setInterval(() => process.ppid !== parent && void server.end(), 1_000).unref();
  await server.ended();
  if (!(await threads.terminate(THREADS_END))) {
    log.error("a thread cannot be ended: the process is killed");
    socket.remove();
    process.kill(process.pid, "SIGKILL"); // process.exit would wait for the thread
  }
  process.exit(0);
}

function hint(plugin: Plugin): string {
  const served = plugin.agents
    .flatMap((agent) => agent.categories.map((category) => ({ ...category, kind: agent.isSync ? "sync" : "async" })))
    .map(({ taskType, version, kind }) => `  task type ${taskType}, version ${version} (${kind})`);
  return `${plugin.name} ${plugin.version} is a Flyte agent plugin: it is started by agenthost, not by hand.
It serves

${served.join("\n")}

Give it to the host in its configuration file:

  plugins:
    ${plugin.name}:
      command: [${process.execPath}, ${process.argv[1]}]

Then "agenthost check --start" starts it once and shows what it serves, "agenthost task run" runs a single task with it,
and "agenthost serve" serves it to Flyte.`;
}
