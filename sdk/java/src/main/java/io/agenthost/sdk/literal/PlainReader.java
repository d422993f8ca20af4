package io.agenthost.sdk.literal;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.BeanDescription;
import com.fasterxml.jackson.databind.DeserializationConfig;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.deser.BeanDeserializerModifier;
import com.fasterxml.jackson.databind.deser.std.DelegatingDeserializer;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import com.fasterxml.jackson.databind.exc.InvalidFormatException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.LongNode;
import com.fasterxml.jackson.databind.type.ArrayType;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Instant;
import java.util.List;
import java.util.Set;

/** Reads trees of plain values, which hold more than JSON does, as Java's types. */
final class PlainReader {
    private static final Set<Class<?>> WHOLE = Set.of(long.class, Long.class, int.class, Integer.class, short.class, Short.class,
            byte.class, Byte.class, BigInteger.class);

    private static final Set<Class<?>> REAL = Set.of(double.class, Double.class, float.class, Float.class);

    static final JsonMapper MAPPER = Json.MAPPER.rebuild()
            .addModule(new SimpleModule("agenthost-plain").setDeserializerModifier(new Modifier())).build();

    private PlainReader() {}

    private static final class Modifier extends BeanDeserializerModifier {
        private static final long serialVersionUID = 1;

        @Override
        public JsonDeserializer<?> modifyDeserializer(DeserializationConfig config, BeanDescription bean, JsonDeserializer<?> given) {
            Class<?> type = bean.getBeanClass();
            if (WHOLE.contains(type)) {
                return new WholeFloats(given, type);
            }
            if (REAL.contains(type)) {
                return new ExactFloats(given, type);
            }
            if (type == boolean.class) {
                return new Delegating(given, type);
            }
            return type == String.class || type == Instant.class ? new Embedded(given, type) : given;
        }

        @Override
        public JsonDeserializer<?> modifyArrayDeserializer(DeserializationConfig config, ArrayType type, BeanDescription bean, JsonDeserializer<?> given) {
            Class<?> element = type.getContentType().getRawClass();
            boolean number = WHOLE.contains(element) || REAL.contains(element);
            return number && element.isPrimitive() && element != byte.class ? new Numbers(element) : given;
        }
    }

    /** Reads arrays of numbers one by one, which Jackson would do without the deserializers of their elements. */
    private static final class Numbers extends StdDeserializer<Object> {
        private static final long serialVersionUID = 1;
        private final Class<?> element;

        Numbers(Class<?> element) {
            super(element.arrayType());
            this.element = element;
        }

        @Override
        public Object deserialize(JsonParser json, DeserializationContext context) throws IOException {
            List<?> values = context.readValue(json, context.getTypeFactory().constructCollectionType(List.class, element));
            Object array = Array.newInstance(element, values.size());
            for (int i = 0; i < values.size(); i++) {
                Array.set(array, i, values.get(i));
            }
            return array;
        }
    }

    /** Takes no none for a primitive, of which Jackson would make 0. What is absent is 0. */
    private static class Delegating extends DelegatingDeserializer {
        private static final long serialVersionUID = 1;
        final Class<?> type;

        Delegating(JsonDeserializer<?> given, Class<?> type) {
            super(given);
            this.type = type;
        }

        @Override
        protected JsonDeserializer<?> newDelegatingInstance(JsonDeserializer<?> given) {
            return new Delegating(given, type);
        }

        @Override
        public Object getNullValue(DeserializationContext context) throws JsonMappingException {
            return type.isPrimitive() ? context.reportInputMismatch(type, "none cannot be read as %s", type.getSimpleName())
                    : super.getNullValue(context);
        }

        @Override
        public Object getAbsentValue(DeserializationContext context) throws JsonMappingException {
            return _delegatee.getAbsentValue(context);
        }
    }

    /** Takes 3.0 for 3: a generic literal has floats only. */
    private static final class WholeFloats extends Delegating {
        private static final long serialVersionUID = 1;

        WholeFloats(JsonDeserializer<?> given, Class<?> type) {
            super(given, type);
        }

        @Override
        protected JsonDeserializer<?> newDelegatingInstance(JsonDeserializer<?> given) {
            return new WholeFloats(given, type);
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

    /** Takes no whole number for a float that it is not: Jackson would take the nearest. */
    private static final class ExactFloats extends Delegating {
        private static final long serialVersionUID = 1;

        ExactFloats(JsonDeserializer<?> given, Class<?> type) {
            super(given, type);
        }

        @Override
        protected JsonDeserializer<?> newDelegatingInstance(JsonDeserializer<?> given) {
            return new ExactFloats(given, type);
        }

        @Override
        public Object deserialize(JsonParser json, DeserializationContext context) throws IOException {
            Object value = super.deserialize(json, context);
            if (json.currentToken() == JsonToken.VALUE_NUMBER_INT && value instanceof Number number
                    && new BigDecimal(number.doubleValue()).compareTo(new BigDecimal(json.getBigIntegerValue())) != 0) {
                throw InvalidFormatException.from(json, json.getText() + " has more digits than " + type.getSimpleName(), value, type);
            }
            return value;
        }
    }

    /** Takes msgpack's timestamps for instants, and nothing for a text that is none: Jackson would give bytes as base64. */
    private static final class Embedded extends Delegating {
        private static final long serialVersionUID = 1;

        Embedded(JsonDeserializer<?> given, Class<?> type) {
            super(given, type);
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
