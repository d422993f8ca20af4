package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.exc.InputCoercionException;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.deser.std.StdScalarDeserializer;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.time.Duration;
import java.util.List;

/** The configuration that a plugin takes: its type, the JSON Schema of that, and who takes it. */
final class Configuration<C> {
    private static final ObjectMapper MAPPER = Json.MAPPER.copy().registerModule(
            new SimpleModule().addDeserializer(Duration.class, new StdScalarDeserializer<>(Duration.class) {
                private static final long serialVersionUID = 1;

                @Override
                public Duration deserialize(JsonParser parser, DeserializationContext context) throws IOException {
                    return Durations.parse(parser.getText());
                }
            }));

    private final Class<C> type;
    private final ConfigHandler<C> handler;
    private ConfigSchema schema;

    Configuration(Class<C> type, ConfigHandler<C> handler) {
        this.type = type;
        this.handler = handler;
    }

    /** Made when it is first needed: it takes a good part of a plugin's start. */
    private synchronized ConfigSchema schema() {
        if (schema == null) {
            schema = new ConfigSchema(type);
        }
        return schema;
    }

    String schemaText() {
        return schema().text();
    }

    /** Checks a block, decodes it, and hands it to the author's handler. Defaults are added to the block. */
    List<ConfigError> apply(ObjectNode block) throws Exception {
        List<ConfigError> errors = schema().check(block);
        if (!errors.isEmpty()) {
            return errors;
        }
        try {
            handler.configure(MAPPER.treeToValue(block, type));
        } catch (ConfigException e) {
            return e.errors();
        } catch (JsonProcessingException e) {
            return blame(e);
        }
        return List.of();
    }

    /** What the constructor of a config record threw, or what a type that reads itself has against its text. */
    private static List<ConfigError> blame(JsonProcessingException e) {
        Guard.rethrowAgentException(e); // a missing secret is one, wherever it is asked for
        for (Throwable cause = e; cause != null; cause = cause.getCause()) {
            if (cause instanceof ConfigException known) {
                return known.errors();
            }
        }
        String path = Json.path(e);
        if (e.getCause() instanceof InputCoercionException range) {
            return List.of(new ConfigError(path.startsWith(".") ? path.substring(1) : path,
                    "must be an integer that %s can hold: %s".formatted(range.getTargetType().getSimpleName(), Json.describe(e))));
        }
        return List.of(new ConfigError(path.startsWith(".") ? path.substring(1) : path, Json.describe(e)));
    }

    /** For ConfigSchema: how a default's text is to be understood. */
    static JsonNode parse(String text) throws JsonProcessingException {
        return MAPPER.readTree(text);
    }
}
