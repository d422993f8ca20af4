package io.agenthost.sdk;

/**
 * A job that create started, as get, delete, logs and metrics see it.
 *
 * @param meta what create returned
 * @param category what the call was routed by
 * @param outputPrefix the storage location for the task's outputs, or empty: only get has it, and only where Flyte sends
 *     it (1.15.1 and newer); keep {@link Task#outputPrefix} in the metadata where it matters
 * @param connection what Flyte 2 sends; elsewhere an empty one
 * @param <M> the metadata
 */
public record Job<M>(M meta, Category category, String outputPrefix, Connection connection) {
    /** A secret from the job's connection, or else the plugin's own secret of that name. */
    public Secret secret(String key) {
        return connection.secretOrPlugins(key);
    }
}
