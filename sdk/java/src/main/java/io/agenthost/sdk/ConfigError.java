package io.agenthost.sdk;

/**
 * What is wrong with one key of a plugin's configuration.
 *
 * @param key the key inside the {@code config:} block, dotted, such as "limits.memory"; empty for the block as a whole
 * @param message what is wrong and what would be right
 */
public record ConfigError(String key, String message) {}
