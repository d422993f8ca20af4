package io.agenthost.sdk.literal;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.BeanDescription;
import com.fasterxml.jackson.databind.DeserializationConfig;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.deser.BeanDeserializerModifier;
import com.fasterxml.jackson.databind.deser.std.DelegatingDeserializer;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.LongNode;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.math.BigInteger;
import java.time.Instant;
import java.util.Set;

/** Reads trees of plain values, which hold more than JSON does, as Java's types. */
final class PlainReader {
    private static final Set<Class<?>> WHOLE = Set.of(long.class, Long.class, int.class, Integer.class, short.class, Short.class,
            byte.class, Byte.class, BigInteger.class);

    static final JsonMapper MAPPER = Json.MAPPER.rebuild()
            .addModule(new SimpleModule("agenthost-plain").setDeserializerModifier(new Modifier())).build();

    private PlainReader() {}

    private static final class Modifier extends BeanDeserializerModifier {
        private static final long serialVersionUID = 1;

        @Override
        public JsonDeserializer<?> modifyDeserializer(DeserializationConfig config, BeanDescription bean, JsonDeserializer<?> given) {
            Class<?> type = bean.getBeanClass();
            if (WHOLE.contains(type)) {
                return new WholeFloats(given);
            }
            return type == String.class || type == Instant.class ? new Embedded(given, type) : given;
        }
    }

    /** Takes 3.0 for 3: a generic literal has floats only. */
    private static final class WholeFloats extends DelegatingDeserializer {
        private static final long serialVersionUID = 1;

        WholeFloats(JsonDeserializer<?> given) {
            super(given);
        }

        @Override
        protected JsonDeserializer<?> newDelegatingInstance(JsonDeserializer<?> given) {
            return new WholeFloats(given);
        }

        @Override
        public Object deserialize(JsonParser json, DeserializationContext context) throws IOException {
            if (json.currentToken() == JsonToken.VALUE_NUMBER_FLOAT) {
                double real = json.getDoubleValue();
                if (real == Math.rint(real) && Math.abs(real) < 0x1p53) {
                    try (JsonParser whole = new LongNode((long) real).traverse(json.getCodec())) {
                        whole.nextToken();
                        return super.deserialize(whole, context);
                    }
                }
            }
            return super.deserialize(json, context);
        }
    }

    /** Takes msgpack's timestamps for instants, and nothing for a text that is none: Jackson would give bytes as base64. */
    private static final class Embedded extends DelegatingDeserializer {
        private static final long serialVersionUID = 1;
        private final Class<?> type;

        Embedded(JsonDeserializer<?> given, Class<?> type) {
            super(given);
            this.type = type;
        }

        @Override
        protected JsonDeserializer<?> newDelegatingInstance(JsonDeserializer<?> given) {
            return new Embedded(given, type);
        }

        @Override
        public Object deserialize(JsonParser json, DeserializationContext context) throws IOException {
            if (json.currentToken() != JsonToken.VALUE_EMBEDDED_OBJECT) {
                return super.deserialize(json, context);
            }
            if (type == Instant.class && json.getEmbeddedObject() instanceof MsgPackTimestamp stamp) {
                return stamp.time();
            }
            return context.handleUnexpectedToken(type, json);
        }
    }
}
