/** Not for plugins: what the SDK's packages share, free to change at any time. */
package io.agenthost.sdk.internal;
