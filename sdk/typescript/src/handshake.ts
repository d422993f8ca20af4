// The first thing between a plugin and its host: who started us, and one line on standard output.
import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate } from "selfsigned";
import { LoadError } from "./errors.js";

export const COOKIE = { name: "AGENTHOST_PLUGIN", value: "flyte-agent-plugin" };
export const PROTOCOL_VERSION = "1";

/** What a unix socket's address has room for. */
const LONGEST_SOCKET_PATH = 107;

/** Throws a LoadError unless a host started this process that speaks our protocol. */
export function check(environment: NodeJS.ProcessEnv, hint: string): void {
  if (environment[COOKIE.name] !== COOKIE.value) throw new LoadError(hint);
  const offered = environment.PLUGIN_PROTOCOL_VERSIONS ?? PROTOCOL_VERSION;
  if (!offered.split(",").some((version) => version.trim() === PROTOCOL_VERSION)) {
    throw new LoadError(
      `the host speaks the plugin protocol in version ${offered}, this plugin in version ${PROTOCOL_VERSION}: ` +
        "use a host and a plugin of the same age",
    );
  }
}

/** Where the plugin listens: a unix socket in a folder that nobody else can enter. */
export interface Socket {
  readonly path: string;
  remove(): void;
}

/** Chooses a socket in the host's folder, or in a private one if there is none or its name is too long. */
export function makeSocket(environment: NodeJS.ProcessEnv): Socket {
  const fits = (path: string) => Buffer.byteLength(path) <= LONGEST_SOCKET_PATH;
  const given = environment.PLUGIN_UNIX_SOCKET_DIR && join(environment.PLUGIN_UNIX_SOCKET_DIR, `plugin-${process.pid}`);
  if (given && fits(given)) return { path: given, remove: () => rmSync(given, { force: true }) };
  for (const parent of [tmpdir(), "/tmp"]) {
    const folder = mkdtempSync(join(parent, "plugin-"));
    const path = join(folder, "s");
    const remove = () => rmSync(folder, { recursive: true, force: true });
    if (fits(path)) return { path, remove };
    remove();
  }
  throw new LoadError(`no folder for a unix socket has a name short enough (at most ${LONGEST_SOCKET_PATH} bytes)`);
}

/** Writes the handshake line: the one thing that the plugin says on standard output. */
export function announce(socket: Socket, certificate: string): void {
  writeSync(1, `1|${PROTOCOL_VERSION}|unix|${socket.path}|grpc|${certificate}\n`);
}

/** A self-signed P-256 certificate for "localhost" with its key. */
export interface Certificate {
  readonly key: Buffer;
  readonly certificate: Buffer;
  /** What the handshake line carries: DER in base64 without padding. */
  readonly handshake: string;
}

/** Makes a certificate, anew for each process. */
export async function makeCertificate(): Promise<Certificate> {
  const hour = 3600_000;
  const made = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    // An hour back, for clocks that were set meanwhile; years ahead, for plugins that are never restarted.
    notBeforeDate: new Date(Date.now() - hour),
    notAfterDate: new Date(Date.now() + 3650 * 24 * hour),
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }] },
    ],
  });
  return {
    key: Buffer.from(made.private),
    certificate: Buffer.from(made.cert),
    handshake: made.cert.replace(/-----[^-]+-----|\s/g, "").replace(/=+$/, ""),
  };
}
