package io.agenthost.snowflake;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.agenthost.sdk.ConfigError;
import io.agenthost.sdk.ConfigException;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** The plugin's {@code config:} block. */
record Settings(
        @JsonPropertyDescription("Where Snowflake is, instead of https://<account>.snowflakecomputing.com: a private link or an emulator, "
                + "such as http://127.0.0.1:8084.")
        String url,
        @JsonPropertyDescription("How the plugin logs in, where no entry of credentials fits the task.")
        @JsonProperty(defaultValue = "key_pair")
        Method authenticator,
        @JsonPropertyDescription("The role of sessions, where the task names none. Without it: the user's default role.")
        String role,
        @JsonPropertyDescription("How, and with which secret, the tasks of a Flyte project and domain or of a Snowflake account and user "
                + "log in. The first entry that fits counts.")
        List<Credential> credentials,
        @JsonPropertyDescription("How long one call to Snowflake may take, repetitions included; never longer than the caller waits.")
        @JsonProperty(defaultValue = "9s")
        Duration callTimeout,
        @JsonPropertyDescription("How many sessions are kept open at most: one for each account, user, role, warehouse, database and schema.")
        @JsonProperty(defaultValue = "16")
        int maxSessions,
        @JsonPropertyDescription("After how long without a call a session is closed.")
        @JsonProperty(defaultValue = "10m")
        Duration idleTimeout,
        @JsonPropertyDescription("Whether a finished query's rows and bytes are read from the query history, which uses the task's warehouse.")
        @JsonProperty(defaultValue = "true")
        boolean statistics) {

    /** A way to log in. */
    enum Method {
        @JsonProperty("key_pair") KEY_PAIR("snowflake_private_key"),
        @JsonProperty("password") PASSWORD("snowflake_password"),
        @JsonProperty("oauth") OAUTH("snowflake_token"),
        @JsonProperty("pat") PAT("snowflake_token");

        private final String secret;

        Method(String secret) {
            this.secret = secret;
        }

        /** The name of the secret that it needs. */
        String secret() {
            return secret;
        }
    }

    /** Who logs in, how. */
    record Credential(
            @JsonPropertyDescription("The Flyte project whose tasks it is for. Without it: all.")
            String project,
            @JsonPropertyDescription("The Flyte domain whose tasks it is for. Without it: all.")
            String domain,
            @JsonPropertyDescription("The Snowflake account that it is for. Without it: all.")
            String account,
            @JsonPropertyDescription("The Snowflake user that it is for. Needed next to project or domain: a job's later calls know only its user.")
            String user,
            @JsonPropertyDescription("How the plugin logs in.")
            @JsonProperty(defaultValue = "key_pair")
            Method authenticator,
            @JsonPropertyDescription("The name of the plugin's secret with the key, password or token.")
            @JsonProperty(required = true)
            String secret,
            @JsonPropertyDescription("The name of the plugin's secret with an encrypted key's passphrase.")
            String passphraseSecret) {}

    Settings {
        List<ConfigError> errors = new ArrayList<>();
        credentials = credentials == null ? List.of() : List.copyOf(credentials);
        if (url != null && !isServer(url)) {
            errors.add(new ConfigError("url", "must be http:// or https:// with a host and no path, got \"%s\"".formatted(url)));
        }
        if (maxSessions < 1) {
            errors.add(new ConfigError("max_sessions", "must be at least 1, got %d".formatted(maxSessions)));
        }
        if (callTimeout.toMillis() < 1000) {
            errors.add(new ConfigError("call_timeout", "must be at least 1s"));
        }
        for (int i = 0; i < credentials.size(); i++) {
            Credential credential = credentials.get(i);
            if (credential.user() == null && (credential.project() != null || credential.domain() != null)) {
                errors.add(new ConfigError("credentials[%d].user".formatted(i), "is required next to project or domain: "
                        + "Flyte's later calls for a job do not say whose it is"));
            }
        }
        if (!errors.isEmpty()) {
            throw new ConfigException(errors);
        }
    }

    private static boolean isServer(String url) {
        try {
            URI uri = URI.create(url);
            boolean web = "http".equals(uri.getScheme()) || "https".equals(uri.getScheme());
            return web && uri.getHost() != null && uri.getUserInfo() == null && (uri.getPath().isEmpty() || uri.getPath().equals("/"));
        } catch (IllegalArgumentException e) {
            return false;
        }
    }
}
