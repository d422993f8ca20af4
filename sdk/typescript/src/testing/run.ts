// A plugin in the test's own process, or as the host starts it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import grpc from "@grpc/grpc-js";
import { WholeRunner } from "../batch.js";
import { type Certificate, COOKIE, makeCertificate, PROTOCOL_VERSION } from "../handshake.js";
import type { Plugin } from "../plugin.js";
import { PluginServer } from "../server.js";
import { Client } from "./client.js";

const MESSAGES = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };
const START_TIMEOUT = 60_000;
const STOP_TIMEOUT = 10_000;

/** Serves a plugin in this process. Its agents run in this thread. */
export async function run(plugin: Plugin): Promise<Client> {
  plugin.check();
  const folder = mkdtempSync(join(tmpdir(), "agenthost-"));
  const server = new PluginServer(plugin, new WholeRunner(plugin));
  const address = `unix:${join(folder, "s")}`;
  await server.listen(address);
  return new Client(new grpc.Client(address, grpc.credentials.createInsecure(), MESSAGES), [], async () => {
    void server.end();
    await server.ended();
    rmSync(folder, { recursive: true, force: true });
  });
}

/** How `command` starts a plugin's program. */
export interface CommandOptions {
  /** Variables besides those that every program needs; nothing else of this process's environment is passed. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Whether handshake and calls are by mutual TLS, as they are by default. */
  readonly tls?: boolean;
}

/** Starts a plugin's program as the host does: handshake, mutual TLS, log. */
export async function command(program: readonly [string, ...string[]], options: CommandOptions = {}): Promise<Client> {
  const { env = {}, cwd, tls = true } = options;
  const folder = mkdtempSync(join(tmpdir(), "agenthost-"));
  const own = tls ? await makeCertificate() : undefined;
  const kept = ["PATH", "HOME", "TMPDIR", "LANG"].flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []));
  const child = spawn(program[0], program.slice(1), {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...Object.fromEntries(kept),
      [COOKIE.name]: COOKIE.value,
      PLUGIN_PROTOCOL_VERSIONS: PROTOCOL_VERSION,
      PLUGIN_UNIX_SOCKET_DIR: folder,
      ...(own && { PLUGIN_CLIENT_CERT: own.certificate.toString() }),
      ...env,
    },
  });
  const ended = once(child, "close") as Promise<[number | null, string | null]>;
  ended.catch(() => {}); // told where it is awaited
  const output: string[] = [];
  createInterface(child.stderr).on("line", (line) => output.push(line));
  const kill = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const [, , , path, , certificate] = await handshake(child, ended, output);
    const client = connect(`unix:${path}`, own, certificate ?? "");
    return new Client(client, output, async () => {
      try {
        await shutdown(client);
        const [code, signal] = await within(ended, STOP_TIMEOUT, "the plugin does not end");
        if (code !== 0) throw new Error(`the plugin ended with ${signal ?? `code ${code}`}:\n${output.join("\n")}`);
      } finally {
        kill();
      }
    });
  } catch (error) {
    kill();
    throw error;
  }
}

async function handshake(child: ChildProcess, ended: Promise<unknown>, output: readonly string[]): Promise<string[]> {
  if (!child.stdout) throw new Error("the program has no standard output");
  const line = once(createInterface(child.stdout), "line").then(([text]) => text as string);
  const first = await within(Promise.race([line, ended.then(() => "")]), START_TIMEOUT, "no handshake has come");
  const parts = first.split("|");
  if (parts.length !== 6) throw new Error(`${JSON.stringify(first)} is no handshake; the plugin wrote:\n${output.join("\n")}`);
  return parts;
}

function connect(address: string, own: Certificate | undefined, certificate: string): grpc.Client {
  if (!own) return new grpc.Client(address, grpc.credentials.createInsecure(), MESSAGES);
  const padded = certificate.padEnd(Math.ceil(certificate.length / 4) * 4, "=");
  const pem = `-----BEGIN CERTIFICATE-----\n${padded.replace(/.{1,64}/g, "$&\n")}-----END CERTIFICATE-----\n`;
  const credentials = grpc.credentials.createSsl(Buffer.from(pem), own.key, own.certificate);
  return new grpc.Client(address, credentials, { ...MESSAGES, "grpc.ssl_target_name_override": "localhost" });
}

function shutdown(client: grpc.Client): Promise<void> {
  const same = (data: Uint8Array) => Buffer.from(data);
  const limit = { deadline: Date.now() + STOP_TIMEOUT };
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(`/plugin.GRPCController/Shutdown`, same, same, new Uint8Array(), limit, (error) => {
      // It may break the connection before it answers.
      if (error && error.code !== grpc.status.UNAVAILABLE) reject(error);
      else resolve();
    });
  });
}

async function within<T>(work: Promise<T>, ms: number, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
