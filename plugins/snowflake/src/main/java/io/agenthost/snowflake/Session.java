package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.Task;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Where and as whom queries run. */
record Session(String user, String account, String database, String schema, String warehouse, String role) {
    private static final List<String> REQUIRED = List.of("user", "account", "database", "schema", "warehouse");

    /** Reads a task's settings, which flytekit's SnowflakeConfig fills. */
    static Session of(Task task, String role) {
        Map<String, String> config = task.config();
        List<String> missing = new ArrayList<>(REQUIRED);
        missing.removeIf(key -> !config.getOrDefault(key, "").isBlank());
        if (!missing.isEmpty()) {
            throw AgentException.invalidArgument("the task's config lacks %s: SnowflakeConfig takes %s"
                    .formatted(String.join(", ", missing), String.join(", ", REQUIRED)));
        }
        return new Session(config.get("user"), config.get("account"), config.get("database"), config.get("schema"),
                config.get("warehouse"), config.getOrDefault("role", role == null ? "" : role));
    }
}
