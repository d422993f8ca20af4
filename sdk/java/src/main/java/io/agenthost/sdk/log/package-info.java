/** The slf4j provider that writes log lines as the host reads them. */
package io.agenthost.sdk.log;
