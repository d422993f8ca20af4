package io.agenthost.sdk;

import com.fasterxml.jackson.annotation.JsonValue;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;

/**
 * A secret that shows itself only to {@link #reveal}: printed, logged or formatted it is "[secret]", and it refuses to
 * become JSON, so that it cannot end up in a job's metadata.
 */
public final class Secret {
    private final String value;

    private Secret(String value) {
        this.value = value;
    }

    /**
     * One of the plugin's own secrets, by flytekit's convention: the environment variable {@code _FSEC_<KEY>}, in upper
     * case, or else the file {@code /etc/secrets/<key>}, in lower case, without surrounding white space. The host fills
     * one of them from the plugin's {@code secrets:}. FLYTE_SECRETS_ENV_PREFIX, FLYTE_SECRETS_DEFAULT_DIR and
     * FLYTE_SECRETS_FILE_PREFIX replace "_FSEC_", "/etc/secrets" and the file name's empty prefix. It is read anew each
     * time, so that secrets can rotate.
     *
     * @throws AgentException FAILED_PRECONDITION, saying where it looked
     */
    public static Secret of(String key) {
        return of(key, System.getenv());
    }

    static Secret of(String key, Map<String, String> environment) {
        if (key.isEmpty() || key.contains("/") || key.contains("\\")) {
            throw AgentException.invalidArgument("a secret's key must be a plain name, got \"%s\"".formatted(key));
        }
        String variable = or(environment, "FLYTE_SECRETS_ENV_PREFIX", "_FSEC_") + key.toUpperCase(Locale.ROOT);
        if (environment.containsKey(variable)) {
            return new Secret(environment.get(variable));
        }
        Path file = Path.of(or(environment, "FLYTE_SECRETS_DEFAULT_DIR", "/etc/secrets"),
                or(environment, "FLYTE_SECRETS_FILE_PREFIX", "") + key.toLowerCase(Locale.ROOT));
        try {
            return new Secret(Files.readString(file).strip());
        } catch (NoSuchFileException e) {
            throw AgentException.failedPrecondition(("there is no secret \"%s\": neither the environment variable %s nor the file %s exists; "
                    + "add it to the plugin's `secrets:` in the host's configuration").formatted(key, variable, file));
        } catch (IOException e) {
            throw AgentException.failedPrecondition("secret \"%s\" cannot be read: %s".formatted(key, e)).causedBy(e);
        }
    }

    /** Hides a value. */
    public static Secret hiding(String value) {
        return new Secret(value);
    }

    private static String or(Map<String, String> environment, String name, String fallback) {
        String value = environment.getOrDefault(name, "");
        return value.isEmpty() ? fallback : value;
    }

    /** The secret itself. */
    public String reveal() {
        return value;
    }

    /** "[secret]". */
    @Override
    public String toString() {
        return "[secret]";
    }

    @JsonValue
    private String refuseToBeStored() {
        throw new IllegalStateException("a secret cannot be written as JSON: use reveal() where it is needed");
    }
}
