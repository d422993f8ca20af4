package io.agenthost.sdk.literal;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Plain values are what JSON and msgpack can say: null, Boolean, Long, BigInteger above its range, Double, String, byte[],
 * List and Map, and the Instant of msgpack's timestamps.
 */
final class Plain {
    private static final BigInteger LONG_MAX = BigInteger.valueOf(Long.MAX_VALUE);
    private static final BigInteger LONG_MIN = BigInteger.valueOf(Long.MIN_VALUE);

    private Plain() {}

    /** Writes any Java value as Jackson writes it. */
    static Object of(Object value) {
        return fromNode(Json.MAPPER.valueToTree(value));
    }

    private static Object fromNode(JsonNode node) {
        return switch (node.getNodeType()) {
            case BOOLEAN -> node.booleanValue();
            case STRING -> node.textValue();
            case NUMBER -> number(node);
            case ARRAY -> {
                List<Object> list = new ArrayList<>(node.size());
                node.forEach(element -> list.add(fromNode(element)));
                yield list;
            }
            case OBJECT -> {
                Map<String, Object> object = new LinkedHashMap<>();
                node.properties().forEach(field -> object.put(field.getKey(), fromNode(field.getValue())));
                yield object;
            }
            case BINARY -> bytes(node);
            default -> null;
        };
    }

    private static Object number(JsonNode node) {
        if (!node.isIntegralNumber()) {
            double real = node.doubleValue();
            if (Double.isInfinite(real) && node.isBigDecimal()) {
                throw new IllegalArgumentException(node.asText() + " is out of the range of a float");
            }
            return real;
        }
        return whole(node.bigIntegerValue());
    }

    static Object whole(BigInteger integer) {
        boolean fits = integer.compareTo(LONG_MAX) <= 0 && integer.compareTo(LONG_MIN) >= 0;
        return fits ? (Object) integer.longValue() : integer;
    }

    private static byte[] bytes(JsonNode node) {
        try {
            return node.binaryValue();
        } catch (IOException e) {
            throw new IllegalStateException("a binary node without bytes", e);
        }
    }

    /** Reads a plain value as a Java value: maps, lists and Object as they are, everything else as Jackson reads it. */
    static Object into(Object plain, JavaType type, String path) {
        if (type.isJavaLangObject()) {
            return plain;
        }
        if (plain instanceof List<?> list && type.getRawClass() == List.class) {
            List<Object> made = new ArrayList<>(list.size());
            for (int i = 0; i < list.size(); i++) {
                made.add(into(list.get(i), type.getContentType(), path + "[" + i + "]"));
            }
            return made;
        }
        if (plain instanceof Map<?, ?> object && type.getRawClass() == Map.class
                && type.getKeyType().getRawClass() == String.class) {
            Map<String, Object> made = new LinkedHashMap<>();
            object.forEach((name, value) -> made.put((String) name, into(value, type.getContentType(), path + "." + name)));
            return made;
        }
        try {
            return Json.MAPPER.treeToValue(Json.MAPPER.valueToTree(withWholeNumbers(plain)), type);
        } catch (JsonProcessingException e) {
            String problem = Json.describe(e);
            throw new LiteralException(path + Json.path(e), problem.startsWith("cannot ") ? "the value " + problem : problem);
        }
    }

    /** A generic literal has floats only: 3.0 in it may have been 3, and JSON cannot tell the two apart. */
    private static Object withWholeNumbers(Object plain) {
        if (plain instanceof Double number && number == Math.rint(number) && Math.abs(number) < 0x1p53) {
            return number.longValue();
        }
        if (plain instanceof List<?> list) {
            return list.stream().map(Plain::withWholeNumbers).toList();
        }
        if (plain instanceof Map<?, ?> object) {
            Map<Object, Object> made = new LinkedHashMap<>();
            object.forEach((name, value) -> made.put(name, withWholeNumbers(value)));
            return made;
        }
        return plain;
    }

    static Object ofStruct(Struct struct) {
        Map<String, Object> object = new LinkedHashMap<>();
        struct.getFieldsMap().forEach((name, value) -> object.put(name, ofValue(value)));
        return object;
    }

    private static Object ofValue(Value value) {
        return switch (value.getKindCase()) {
            case NUMBER_VALUE -> value.getNumberValue();
            case STRING_VALUE -> value.getStringValue();
            case BOOL_VALUE -> value.getBoolValue();
            case STRUCT_VALUE -> ofStruct(value.getStructValue());
            case LIST_VALUE -> {
                List<Object> list = new ArrayList<>();
                value.getListValue().getValuesList().forEach(element -> list.add(ofValue(element)));
                yield list;
            }
            default -> null;
        };
    }

    static Struct toStruct(Map<?, ?> object) {
        Struct.Builder struct = Struct.newBuilder();
        object.forEach((name, value) -> struct.putFields(String.valueOf(name), toValue(value)));
        return struct.build();
    }

    /** A Struct's only numbers are floats. */
    private static double exactly(Number number) {
        double real = number.doubleValue();
        if (!(number instanceof Double) && new BigDecimal(real).compareTo(new BigDecimal(number.toString())) != 0) {
            throw new IllegalArgumentException("%s has more digits than a float, and JSON in a generic literal has no other numbers".formatted(number));
        }
        return real;
    }

    private static Value toValue(Object plain) {
        Value.Builder value = Value.newBuilder();
        if (plain == null) {
            value.setNullValue(NullValue.NULL_VALUE);
        } else if (plain instanceof Boolean truth) {
            value.setBoolValue(truth);
        } else if (plain instanceof Number number) {
            value.setNumberValue(exactly(number));
        } else if (plain instanceof List<?> list) {
            ListValue.Builder values = ListValue.newBuilder();
            list.forEach(element -> values.addValues(toValue(element)));
            value.setListValue(values);
        } else if (plain instanceof Map<?, ?> object) {
            value.setStructValue(toStruct(object));
        } else if (plain instanceof byte[] bytes) {
            value.setStringValue(java.util.Base64.getEncoder().encodeToString(bytes));
        } else {
            value.setStringValue(plain.toString());
        }
        return value.build();
    }
}
