package io.agenthost.sdk.internal;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.datatype.jdk8.Jdk8Module;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import java.util.List;

/** How Java values become JSON, the same everywhere. */
public final class Json {
    /**
     * Snake case, as the rest of Flyte. Strict about kinds, since a task's author should hear of "3" where 3 was meant;
     * lenient about keys that it does not know, which a newer version may have written.
     */
    public static final JsonMapper MAPPER = JsonMapper.builder()
            .findAndAddModules() // of the plugin's class path, such as that for Kotlin's data classes
            .addModule(new Jdk8Module())
            .addModule(new JavaTimeModule())
            .addModule(new SimpleModule("agenthost-values").setSerializerModifier(new NoValues()))
            .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
            .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
            .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT, DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .disable(DeserializationFeature.ADJUST_DATES_TO_CONTEXT_TIME_ZONE)
            .disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS, SerializationFeature.WRITE_DURATIONS_AS_TIMESTAMPS,
                    SerializationFeature.FAIL_ON_EMPTY_BEANS)
            .build();

    private Json() {}

    /** Says what is wrong without the position in a stream and the list of the class's properties that Jackson adds. */
    public static String describe(JsonProcessingException e) {
        Throwable cause = e.getCause();
        if (cause != null && !(cause instanceof JsonProcessingException) && cause.getMessage() != null) {
            return cause.getMessage();
        }
        String message = e.getOriginalMessage();
        if (e instanceof MismatchedInputException mismatch && mismatch.getTargetType() != null
                && message.startsWith("Cannot deserialize value")) {
            int reason = message.indexOf(':');
            return "cannot be read as " + mismatch.getTargetType().getSimpleName() + (reason < 0 ? "" : message.substring(reason));
        }
        return message;
    }

    /** Where in the value it is wrong, such as ".limits.memory" or "[3].name"; empty for the value as a whole. */
    public static String path(JsonProcessingException e) {
        StringBuilder path = new StringBuilder();
        if (e instanceof JsonMappingException mapping) {
            List<JsonMappingException.Reference> references = mapping.getPath();
            for (JsonMappingException.Reference reference : references) {
                path.append(reference.getFieldName() != null ? "." + reference.getFieldName() : "[" + reference.getIndex() + "]");
            }
        }
        return path.toString();
    }
}
