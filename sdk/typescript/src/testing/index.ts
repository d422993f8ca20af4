// For tests of plugins, with any runner; agenthost/vitest has fixtures for Vitest.
export { Client, type Result, TestJob, type TestTask } from "./client.js";
export { type CommandOptions, command, run } from "./run.js";
