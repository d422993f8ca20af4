package io.agenthost.sdk;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonValue;

/**
 * A key of the configuration that names one of the plugin's secrets, as {@link Secret#of} finds it. A configuration that names one
 * which is not there is refused.
 */
public record SecretRef(@JsonValue String key) {
    static final String PATTERN = "^[A-Za-z0-9_.-]+$";
    /** It does not say what was given, which may be a secret itself. */
    static final String NO_NAME = "must be the name of a secret, of letters, digits, \"_\", \"-\" and \".\": "
            + "what was given is not shown, as it may be a secret itself";

    /** Names a secret. */
    @JsonCreator
    public SecretRef {
        if (!key.matches(PATTERN)) {
            throw new IllegalArgumentException(NO_NAME);
        }
    }

    /** The secret, read anew each time. */
    public Secret get() {
        return Secret.of(key);
    }
}
