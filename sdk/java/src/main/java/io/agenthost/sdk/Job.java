package io.agenthost.sdk;

import java.time.Instant;
import java.util.Optional;

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

    /**
     * When the caller stops waiting, at which the call's thread is interrupted; empty where it waits for ever. To be asked on the
     * call's thread.
     */
    public Optional<Instant> deadline() {
        return Calls.deadline();
    }
}
