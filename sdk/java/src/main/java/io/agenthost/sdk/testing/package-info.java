/**
 * Tests of agents: {@link io.agenthost.sdk.testing.AgentTest} runs a plugin in the test's process, or as the program that
 * the host will start. Nothing here depends on a test framework.
 */
package io.agenthost.sdk.testing;
