package io.agenthost.sdk.literal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.SchemaType.SchemaColumn.SchemaColumnType;
import com.flyteidl.core.SimpleType;
import com.google.protobuf.InvalidProtocolBufferException;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The literals of sdk/testdata/literals.json, which real flytekit makes: all SDKs read and write them exactly, or refuse them. */
class GoldenTest {
    /** A case; literals.py says what its fields are. */
    record Case(String name, JsonNode fields) {
        @Override
        public String toString() {
            return name;
        }

        boolean refusedHere() {
            return StreamSupport.stream(fields.path("refused_by").spliterator(), false).anyMatch(sdk -> sdk.textValue().equals("java"));
        }

        Literal literal() throws InvalidProtocolBufferException {
            return Literal.parseFrom(Base64.getDecoder().decode(fields.get("literal").textValue()));
        }

        LiteralType type() throws InvalidProtocolBufferException {
            return LiteralType.parseFrom(Base64.getDecoder().decode(fields.get("type").textValue()));
        }

        void refuses(Executable what) {
            String message = assertThrows(LiteralException.class, what).getMessage();
            assertTrue(fields.path("says").size() > 0, "the case does not say what a refusal says");
            fields.get("says").forEach(words -> assertTrue(
                    message.toLowerCase(Locale.ROOT).contains(words.textValue().toLowerCase(Locale.ROOT)), message + " does not say " + words));
        }
    }

    /** Java has no such value. */
    static final class NoJavaValue extends Exception {
        private static final long serialVersionUID = 1;
    }

    static Stream<Case> cases() throws IOException {
        JsonNode cases = new ObjectMapper().readTree(Files.readString(Path.of("../testdata/literals.json"))).get("cases");
        assertTrue(cases.size() > 100, "there are %d cases".formatted(cases.size()));
        return StreamSupport.stream(cases.spliterator(), false).map(fields -> new Case(fields.get("name").textValue(), fields));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void aLiteralIsReadExactlyOrRefused(Case golden) throws Exception {
        if (!golden.fields.has("literal")) {
            assertTrue(golden.fields.has("value"));
            return;
        }
        Literal literal = golden.literal();
        if (!golden.fields.has("value") || golden.refusedHere()) {
            golden.refuses(() -> Literals.decode(literal, Object.class));
        } else {
            assertEquals(exact(built(golden.fields.get("value"))), exact(Literals.decode(literal, Object.class)));
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void aValueIsWrittenAsFlytekitDoesOrRefused(Case golden) throws Exception {
        if (!golden.fields.has("value") || golden.fields.has("reads_only")) {
            assertTrue(golden.fields.has("literal"));
            return;
        }
        Object value;
        try {
            value = built(golden.fields.get("value"));
        } catch (NoJavaValue e) {
            assertTrue(golden.refusedHere());
            return;
        }
        LiteralType type = golden.type();
        if (!golden.fields.has("literal")) {
            golden.refuses(() -> Literals.encode(value, type));
            return;
        }
        Literal written = Literals.encode(value, type);
        if (golden.fields.has("several")) {
            assertEquals(exact(value), exact(Literals.decode(written, Object.class)));
        } else {
            assertEquals(golden.literal(), written);
        }
    }

    private static Object built(JsonNode form) throws NoJavaValue {
        assertEquals(1, form.size(), form.toString());
        String kind = form.fieldNames().next();
        JsonNode value = form.get(kind);
        return switch (kind) {
            case "none" -> null;
            case "bool" -> value.booleanValue();
            case "str" -> value.textValue();
            case "int" -> Plain.whole(new BigInteger(value.textValue()));
            case "float", "number" -> switch (value.textValue()) {
                case "nan" -> Double.NaN;
                case "inf" -> Double.POSITIVE_INFINITY;
                case "-inf" -> Double.NEGATIVE_INFINITY;
                default -> Double.parseDouble(value.textValue());
            };
            case "bytes" -> HexFormat.of().parseHex(value.textValue());
            case "datetime" -> instant(value);
            case "timestamp" -> new MsgPackTimestamp(instant(value));
            case "duration" -> Duration.ofSeconds(seconds(value), value.get("nanos").intValue());
            case "list" -> {
                List<Object> list = new ArrayList<>();
                for (JsonNode item : value) {
                    list.add(built(item));
                }
                yield list;
            }
            case "map" -> {
                Map<String, Object> map = new LinkedHashMap<>();
                for (Map.Entry<String, JsonNode> entry : value.properties()) {
                    map.put(entry.getKey(), built(entry.getValue()));
                }
                yield map;
            }
            case "dict" -> {
                Map<Object, Object> dict = new LinkedHashMap<>();
                for (JsonNode entry : value) {
                    Object key = built(entry.get(0));
                    if (key instanceof byte[]) {
                        throw new NoJavaValue();
                    }
                    dict.put(key, built(entry.get(1)));
                }
                yield dict;
            }
            default -> builtApart(kind, value);
        };
    }

    private static Object builtApart(String kind, JsonNode value) throws NoJavaValue {
        String uri = value.path("uri").textValue();
        String format = value.path("format").textValue();
        return switch (kind) {
            case "extension" -> throw new NoJavaValue();
            case "binary" -> new Binary(HexFormat.of().parseHex(value.get("bytes").textValue()), value.get("tag").textValue());
            case "file" -> new FlyteFile(uri, format);
            case "directory" -> new FlyteDirectory(uri, format);
            case "error" -> com.flyteidl.core.Error.newBuilder()
                    .setMessage(value.get("message").textValue()).setFailedNodeId(value.get("failed_node").textValue()).build();
            case "dataset" -> new StructuredDataset(uri, format, StreamSupport.stream(value.get("columns").spliterator(), false)
                    .map(column -> new StructuredDataset.Column(column.get(0).textValue(), Types.simple(SimpleType.valueOf(column.get(1).textValue()))))
                    .toList());
            case "schema" -> new FlyteSchema(uri, StreamSupport.stream(value.get("columns").spliterator(), false)
                    .map(column -> new FlyteSchema.Column(column.get(0).textValue(), SchemaColumnType.valueOf(column.get(1).textValue())))
                    .toList());
            default -> throw new AssertionError("the kind " + kind + " is unknown to this test");
        };
    }

    private static long seconds(JsonNode value) {
        return Long.parseLong(value.get("seconds").textValue());
    }

    private static Instant instant(JsonNode value) throws NoJavaValue {
        try {
            return Instant.ofEpochSecond(seconds(value), value.get("nanos").intValue());
        } catch (DateTimeException e) {
            throw new NoJavaValue();
        }
    }

    /** Bytes are equal if their contents are. Other values know it themselves, also 0.0 and -0.0, 1 and 1.0. */
    private static Object exact(Object value) {
        if (value instanceof byte[] bytes) {
            return "bytes " + HexFormat.of().formatHex(bytes);
        }
        if (value instanceof List<?> list) {
            List<Object> made = new ArrayList<>();
            list.forEach(item -> made.add(exact(item)));
            return made;
        }
        if (value instanceof Map<?, ?> map) {
            Map<Object, Object> made = new LinkedHashMap<>();
            map.forEach((key, entry) -> made.put(key, exact(entry)));
            return made;
        }
        return value;
    }
}
