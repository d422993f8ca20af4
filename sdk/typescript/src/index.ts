// The SDK for Flyte agents as plugins of agenthost. See README.md.
export {
  type Agent,
  type AsyncAgent,
  type AsyncAgentOptions,
  type Awaitable,
  asyncAgent,
  type LogLine,
  type LogPart,
  type LogQuery,
  type Metric,
  type MetricsQuery,
  type NextToken,
  type SyncAgent,
  type SyncAgentOptions,
  syncAgent,
} from "./agents.js";
export { idempotencyKey, replaced } from "./calls.js";
export { type ConfigError, duration, secretRef, size } from "./config.js";
export { traceHeaders } from "./context.js";
export {
  Abandoned,
  CallError,
  Code,
  FailedPrecondition,
  InvalidArgument,
  LoadError,
  NotFound,
  SystemFailure,
  Unauthenticated,
  Unavailable,
  UserFailure,
} from "./errors.js";
export { type Fields, type Level, log } from "./log.js";
export { type Configure, type MetricsRegistry, Plugin } from "./plugin.js";
export {
  aborted,
  failed,
  initializing,
  type Link,
  type LinkOptions,
  Phase,
  queued,
  Resource,
  retryableFailed,
  running,
  succeeded,
  waitingForResources,
} from "./resource.js";
export { Secret, secret } from "./secrets.js";
export type { Call, Category, Connection, Job, Task } from "./task.js";
export { binary, bytes, dataset, directory, file, flyteError, instant, span } from "./typed.js";
export {
  Binary,
  type ColumnType,
  Directory,
  File,
  Float,
  FlyteError,
  float,
  MsgPackExtension,
  MsgPackTimestamp,
  StructuredDataset,
  Temporal,
  type Value,
} from "./values.js";
