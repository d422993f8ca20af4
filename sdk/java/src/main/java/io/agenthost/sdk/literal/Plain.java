package io.agenthost.sdk.literal;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.POJONode;
import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Plain values are what JSON and msgpack can say: null, Boolean, Long, BigInteger above its range, Double, String, byte[],
 * List and Map, whose keys need not be texts, and msgpack's timestamps.
 */
final class Plain {
    private static final BigInteger LONG_MAX = BigInteger.valueOf(Long.MAX_VALUE);
    private static final BigInteger LONG_MIN = BigInteger.valueOf(Long.MIN_VALUE);

    private Plain() {}

    /** Writes any Java value: maps, lists and simple values as they are, everything else as Jackson writes it. */
    static Object of(Object value) {
        if (value == null || value instanceof Boolean || value instanceof byte[] || value instanceof MsgPackTimestamp) {
            return value;
        }
        if (value instanceof Optional<?> optional) {
            return of(optional.orElse(null));
        }
        if (value instanceof Map<?, ?> map && map.keySet().stream().allMatch(Plain::isKey)) {
            Map<Object, Object> object = new LinkedHashMap<>();
            map.forEach((name, entry) -> {
                if (object.containsKey(of(name))) {
                    throw new IllegalArgumentException("two of its keys are " + name);
                }
                object.put(of(name), of(entry));
            });
            return object;
        }
        if (value instanceof Collection<?> || value instanceof Object[]) {
            List<Object> list = new ArrayList<>();
            (value instanceof Collection<?> elements ? elements : Arrays.asList((Object[]) value)).forEach(element -> list.add(of(element)));
            return list;
        }
        return fromNode(tree(value));
    }

    /** What Jackson makes of a value. */
    static JsonNode tree(Object value) {
        try {
            return Json.MAPPER.valueToTree(value);
        } catch (IllegalArgumentException e) {
            if (e.getCause() instanceof JsonProcessingException json) {
                String path = Json.path(json);
                throw new IllegalArgumentException((path.isEmpty() ? "" : path + ": ") + Json.describe(json), e);
            }
            throw e;
        }
    }

    private static boolean isKey(Object key) {
        return key == null || key instanceof String || key instanceof Boolean || key instanceof Long || key instanceof Integer
                || key instanceof Short || key instanceof Byte || key instanceof BigInteger || key instanceof Double || key instanceof Float;
    }

    /** Refuses a surrogate without its other half, which becomes a question mark in UTF-8. */
    static String utf8(String text) {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new IllegalArgumentException("\"%s\" has no form in UTF-8".formatted(text));
        }
        return text;
    }

    private static Object fromNode(JsonNode node) {
        return switch (node.getNodeType()) {
            case BOOLEAN -> node.booleanValue();
            case STRING -> utf8(node.textValue());
            case NUMBER -> number(node);
            case ARRAY -> {
                List<Object> list = new ArrayList<>(node.size());
                node.forEach(element -> list.add(fromNode(element)));
                yield list;
            }
            case OBJECT -> {
                Map<String, Object> object = new LinkedHashMap<>();
                node.properties().forEach(field -> object.put(utf8(field.getKey()), fromNode(field.getValue())));
                yield object;
            }
            case BINARY -> bytes(node);
            case POJO -> pojo(((POJONode) node).getPojo());
            default -> null;
        };
    }

    private static Object pojo(Object value) {
        if (value == null || value instanceof MsgPackTimestamp) {
            return value;
        }
        throw new IllegalArgumentException(Names.of(value) + " has no form in msgpack");
    }

    private static Object number(JsonNode node) {
        if (!node.isIntegralNumber()) {
            return node.isBigDecimal() ? real(node.decimalValue()) : node.doubleValue();
        }
        return whole(node.bigIntegerValue());
    }

    /** The float that a decimal is, or that is written like it. */
    static double real(BigDecimal decimal) {
        double real = decimal.doubleValue();
        if (Double.isInfinite(real)) {
            throw new IllegalArgumentException(decimal + " is out of the range of a float");
        }
        if (new BigDecimal(real).compareTo(decimal) != 0 && BigDecimal.valueOf(real).compareTo(decimal) != 0) {
            throw new IllegalArgumentException(decimal + " has more digits than a float");
        }
        return real;
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
            withTextKeys(object, path).forEach((name, value) -> made.put(name, into(value, type.getContentType(), path + "." + name)));
            return made;
        }
        try {
            return PlainReader.MAPPER.treeToValue(PlainReader.MAPPER.valueToTree(forJackson(plain, path)), type);
        } catch (JsonProcessingException e) {
            String problem = Json.describe(e);
            throw new LiteralException(path + Json.path(e), problem.startsWith("cannot ") ? "the value " + problem : problem);
        }
    }

    private static Object forJackson(Object plain, String path) {
        if (plain instanceof List<?> list) {
            List<Object> made = new ArrayList<>(list.size());
            list.forEach(element -> made.add(forJackson(element, path)));
            return made;
        }
        if (plain instanceof Map<?, ?> object) {
            Map<String, Object> made = withTextKeys(object, path);
            made.replaceAll((name, value) -> forJackson(value, path));
            return made;
        }
        return plain;
    }

    /** Keys as texts, for what has no others. */
    private static Map<String, Object> withTextKeys(Map<?, ?> object, String path) {
        Map<String, Object> made = new LinkedHashMap<>();
        object.forEach((name, value) -> {
            if (name == null) {
                throw new LiteralException(path, "a key is none, which is no text");
            }
            if (made.containsKey(name.toString())) {
                throw new LiteralException(path, "two of its keys read as " + name);
            }
            made.put(name.toString(), value);
        });
        return made;
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
        object.forEach((name, value) -> {
            if (!(name instanceof String key)) {
                throw new IllegalArgumentException("JSON in a generic literal has no keys that are %s, such as %s".formatted(Names.of(name), name));
            }
            struct.putFields(key, toValue(value));
        });
        return struct.build();
    }

    /** A Struct's only numbers are floats. */
    private static double exactly(Number number) {
        double real = number.doubleValue();
        if (Double.isNaN(real) || Double.isInfinite(real)) {
            throw new IllegalArgumentException("JSON in a generic literal has no " + number);
        }
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
        } else if (plain instanceof String text) {
            value.setStringValue(text);
        } else {
            throw new IllegalArgumentException("JSON in a generic literal has no form for " + Names.of(plain));
        }
        return value.build();
    }
}
