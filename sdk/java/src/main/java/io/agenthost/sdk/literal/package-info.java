/** Flyte's literals as Java values: see {@link io.agenthost.sdk.literal.Literals}. */
package io.agenthost.sdk.literal;
