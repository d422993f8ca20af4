package io.agenthost.sdk.literal;

import com.fasterxml.jackson.databind.JavaType;

/** Names Java types for people. */
final class Names {
    private Names() {}

    /** The type without its packages, such as "List&lt;Integer&gt;". */
    static String of(JavaType type) {
        return type.toCanonical().replaceAll("(\\w+\\.)+", "");
    }

    static String of(Object value) {
        return value == null ? "null" : "a Java " + value.getClass().getSimpleName();
    }
}
