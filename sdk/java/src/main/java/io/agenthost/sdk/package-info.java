/**
 * Flyte agents as plugins of agenthost: implement {@link io.agenthost.sdk.AsyncAgent} or
 * {@link io.agenthost.sdk.SyncAgent}, and hand it to {@link io.agenthost.sdk.Plugin}.
 *
 * <p>Records become JSON with their components' names in snake case, everywhere: in a job's metadata, in configuration,
 * in dataclasses and in a task's custom part. Jackson's annotations change that, such as {@code @JsonProperty("maxRows")}.
 */
package io.agenthost.sdk;
