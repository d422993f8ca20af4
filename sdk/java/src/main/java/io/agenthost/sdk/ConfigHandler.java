package io.agenthost.sdk;

/**
 * Takes a plugin's configuration.
 *
 * @param <C> the configuration, commonly a record
 */
@FunctionalInterface
public interface ConfigHandler<C> {
    /** Takes the configuration, exactly once and before the first task. A {@link ConfigException} names the key that is wrong. */
    void configure(C config) throws Exception;
}
