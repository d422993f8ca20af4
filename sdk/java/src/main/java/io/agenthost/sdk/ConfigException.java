package io.agenthost.sdk;

import java.util.List;
import java.util.stream.Collectors;

/** Says which keys of a plugin's configuration are wrong. Throw it in the config record's constructor or in the handler. */
public class ConfigException extends RuntimeException {
    private static final long serialVersionUID = 1;
    private final transient List<ConfigError> errors;

    /** One wrong key. */
    public ConfigException(String key, String message) {
        this(List.of(new ConfigError(key, message)));
    }

    /** Several wrong keys. */
    public ConfigException(List<ConfigError> errors) {
        super(errors.stream().map(e -> e.key().isEmpty() ? e.message() : e.key() + ": " + e.message()).collect(Collectors.joining("; ")));
        this.errors = List.copyOf(errors);
    }

    /** What is wrong, key by key. */
    public List<ConfigError> errors() {
        return errors;
    }
}
