package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.util.Map;

/** A job's metadata as the JSON that Flyte keeps, which must be readable as the same metadata. */
final class KeptMetadata {
    private static final String CURE = "; a record can always be kept, a Kotlin data class with jackson-module-kotlin,"
            + " anything else with a constructor without parameters, or a @JsonCreator, and getters";

    private KeptMetadata() {}

    /** Writes metadata. What could not be read, or not whole, is refused now: later there would be a job that nobody finds again. */
    static byte[] write(Object meta, JavaType type) {
        byte[] written;
        try {
            written = Json.MAPPER.writeValueAsBytes(meta);
        } catch (JsonProcessingException e) {
            throw refused(type, "cannot be written as JSON", "", e);
        }
        Object read;
        try {
            read = Json.MAPPER.readValue(written, type);
        } catch (JsonProcessingException e) {
            throw refused(type, "cannot be read from the JSON that it becomes", CURE, e);
        } catch (IOException e) {
            throw new IllegalStateException("bytes in memory can be read", e);
        }
        if (read == null) {
            throw AgentException.internal("the metadata %s is written as null, from which nobody finds the job again".formatted(type.getRawClass().getName()));
        }
        compare(written, read, type);
        return written;
    }

    private static void compare(byte[] written, Object read, JavaType type) {
        try {
            JsonNode before = Json.MAPPER.readTree(written);
            JsonNode after = Json.MAPPER.readTree(Json.MAPPER.writeValueAsBytes(read));
            for (Map.Entry<String, JsonNode> field : before.properties()) {
                JsonNode again = after.path(field.getKey());
                if (isNothing(again) && !isNothing(field.getValue())) {
                    throw AgentException.internal("the metadata %s loses %s, which is written and not read%s"
                            .formatted(type.getRawClass().getName(), field.getKey(), CURE));
                }
            }
        } catch (IOException e) {
            throw new IllegalStateException("what was written before can be written again", e);
        }
    }

    /** Whether a value is what a field has that nobody sets. Others may differ: a getter can count the time. */
    private static boolean isNothing(JsonNode value) {
        return switch (value.getNodeType()) {
            case STRING -> value.textValue().isEmpty();
            case NUMBER -> value.doubleValue() == 0;
            case BOOLEAN -> !value.booleanValue();
            case ARRAY, OBJECT -> value.isEmpty();
            default -> true;
        };
    }

    private static AgentException refused(JavaType type, String what, String cure, JsonProcessingException e) {
        Guard.rethrowAgentException(e);
        String path = Json.path(e);
        return AgentException.internal("the metadata %s %s: %s%s%s".formatted(type.getRawClass().getName(), what,
                path.isEmpty() ? "" : path.substring(path.startsWith(".") ? 1 : 0) + ": ", Json.describe(e), cure));
    }
}
