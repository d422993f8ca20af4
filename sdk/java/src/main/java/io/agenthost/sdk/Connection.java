package io.agenthost.sdk;

import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;

/**
 * What Flyte 2 sends with a call so that an agent can reach the system it works for. Printing it shows the names of its
 * settings and secrets only.
 *
 * @param taskType the kind of task that the connection is for
 * @param configs its settings
 * @param secrets its secrets by name
 */
public record Connection(String taskType, Map<String, String> configs, Map<String, Secret> secrets) {
    static final Connection NONE = new Connection("", Map.of(), Map.of());

    /** Makes a connection; maps are copied. */
    public Connection {
        configs = Map.copyOf(configs);
        secrets = Map.copyOf(secrets);
    }

    /** One of the connection's own secrets. */
    public Optional<Secret> secret(String key) {
        return Optional.ofNullable(secrets.get(key));
    }

    Secret secretOrPlugins(String key) {
        return secret(key).orElseGet(() -> Secret.of(key));
    }

    @Override
    public String toString() {
        return "connection for \"%s\", configs %s, secrets %s"
                .formatted(taskType, new TreeSet<>(configs.keySet()), new TreeSet<>(secrets.keySet()));
    }
}
