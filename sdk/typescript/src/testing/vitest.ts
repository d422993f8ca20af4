// Fixtures for Vitest: plugins that a test has started are stopped behind it.
import { test as base } from "vitest";
import type { Plugin } from "../plugin.js";
import type { Client } from "./client.js";
import { type CommandOptions, command, run } from "./run.js";

/** What a test gets. */
export interface Fixtures {
  /** Serves a plugin in this process: `const client = await agenthostRun(plugin())`. */
  readonly agenthostRun: (plugin: Plugin) => Promise<Client>;
  /** Starts a plugin's program as the host does: `await agenthostCommand(["bin/warehouse"])`. */
  readonly agenthostCommand: (program: readonly [string, ...string[]], options?: CommandOptions) => Promise<Client>;
}

/** Vitest's `test` with the fixtures. */
export const test = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads from the pattern what a fixture needs
  agenthostRun: async ({}, use) => stoppingAll((started) => use(async (plugin) => started(await run(plugin)))),
  // biome-ignore lint/correctness/noEmptyPattern: the same
  agenthostCommand: async ({}, use) => stoppingAll((started) => use(async (program, options) => started(await command(program, options)))),
});

async function stoppingAll(use: (started: (client: Client) => Client) => Promise<void>): Promise<void> {
  const clients: Client[] = [];
  await use((client) => {
    clients.push(client);
    return client;
  });
  await Promise.all(clients.map((client) => client.stop()));
}
