package io.agenthost.sdk.literal;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.type.TypeReference;
import com.flyteidl.core.BlobType;
import com.flyteidl.core.EnumType;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralOffloadedMetadata;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.Scalar;
import com.flyteidl.core.SchemaType.SchemaColumn.SchemaColumnType;
import com.flyteidl.core.SimpleType;
import com.flyteidl.core.StructuredDatasetType;
import com.google.protobuf.ByteString;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What becomes what. */
class LiteralsTest {
    enum Colour {
        RED,
        @JsonProperty("light-green")
        GREEN
    }

    record Point(int x, double y, Optional<String> shownName) {}

    private static final LiteralType INTEGER = Types.simple(SimpleType.INTEGER);
    private static final LiteralType FLOAT = Types.simple(SimpleType.FLOAT);
    private static final LiteralType STRING = Types.simple(SimpleType.STRING);

    static Stream<Arguments> valuesThatComeBack() {
        Instant noon = Instant.parse("2024-02-29T12:00:00.123456789Z");
        UUID id = UUID.randomUUID();
        return Stream.of(
                Arguments.of(42L, Long.class), Arguments.of(42, int.class), Arguments.of((short) 7, short.class), Arguments.of((byte) -7, Byte.class),
                Arguments.of(BigInteger.TEN, BigInteger.class), Arguments.of(Long.MIN_VALUE, long.class),
                Arguments.of(0.1, double.class), Arguments.of(0.5f, float.class), Arguments.of(Double.NaN, Double.class),
                Arguments.of(new BigDecimal("0.1"), BigDecimal.class), Arguments.of(true, boolean.class), Arguments.of("ä\u0000", String.class),
                Arguments.of(Colour.GREEN, Colour.class), Arguments.of(id, UUID.class),
                Arguments.of(noon, Instant.class), Arguments.of(noon.atOffset(ZoneOffset.UTC), OffsetDateTime.class),
                Arguments.of(LocalDate.of(2024, 2, 29), LocalDate.class), Arguments.of(Duration.ofSeconds(-90, 5), Duration.class),
                Arguments.of(new Point(1, 2.0, Optional.of("a")), Point.class), Arguments.of(new Point(1, 2.5, Optional.empty()), Point.class),
                Arguments.of(new FlyteFile("s3://b/f", "csv"), FlyteFile.class), Arguments.of(new FlyteDirectory("s3://b/d"), FlyteDirectory.class),
                Arguments.of(new StructuredDataset("s3://b/t", "parquet", List.of(new StructuredDataset.Column("n", INTEGER))), StructuredDataset.class),
                Arguments.of(new FlyteSchema("s3://b/s", List.of(new FlyteSchema.Column("n", SchemaColumnType.INTEGER))), FlyteSchema.class),
                Arguments.of(new Binary(new byte[] {1, 2}, "proto"), Binary.class),
                Arguments.of(Optional.of("x"), new TypeReference<Optional<String>>() {}.getType()),
                Arguments.of(Optional.empty(), new TypeReference<Optional<Integer>>() {}.getType()),
                Arguments.of(List.of(1, 2), new TypeReference<List<Integer>>() {}.getType()),
                Arguments.of(Set.of("a", "b"), new TypeReference<Set<String>>() {}.getType()),
                Arguments.of(List.of(List.of(new Point(1, 2, Optional.empty()))), new TypeReference<List<List<Point>>>() {}.getType()),
                Arguments.of(Map.of("a", 1), new TypeReference<Map<String, Integer>>() {}.getType()),
                Arguments.of(Map.of("p", new Point(1, 2, Optional.empty())), new TypeReference<Map<String, Point>>() {}.getType()));
    }

    @ParameterizedTest
    @MethodSource("valuesThatComeBack")
    void aValueComesBackAsWhatItWas(Object value, java.lang.reflect.Type type) {
        assertEquals(value, Literals.<Object>decode(Literals.encode(value), type));
    }

    @Test
    void arraysComeBack() {
        assertArrayEquals(new int[] {1, 2}, Literals.decode(Literals.encode(new int[] {1, 2}), int[].class));
        assertArrayEquals(new String[] {"a"}, Literals.decode(Literals.encode(List.of("a")), String[].class));
        assertArrayEquals(new byte[] {0, -1}, Literals.decode(Literals.encode(new byte[] {0, -1}), byte[].class));
    }

    @Test
    void bytesWithATagAreNoBytes() {
        Binary pickle = new Binary(new byte[] {-128}, "pickle");
        assertEquals(pickle, Literals.decode(Literals.encode(pickle), Binary.class));
        String problem = assertThrows(LiteralException.class, () -> Literals.decode(Literals.encode(pickle), byte[].class)).problem();
        assertTrue(problem.contains("a binary with tag \"pickle\""), problem);
    }

    static Stream<Arguments> naturalValues() {
        Map<String, Object> dict = new LinkedHashMap<>();
        dict.put("n", 1L);
        dict.put("f", 1.0);
        dict.put("none", null);
        dict.put("list", List.of("a", true));
        return Stream.of(
                Arguments.of(3, 3L), Arguments.of(3.0f, 3.0), Arguments.of("a", "a"), Arguments.of('a', "a"),
                Arguments.of(Arrays.asList(1, null), Arrays.asList(1L, null)), Arguments.of(dict, dict),
                Arguments.of(new Generic(Map.of("n", 1)), Map.of("n", 1.0)));
    }

    @ParameterizedTest
    @MethodSource("naturalValues")
    void anObjectIsWhateverIsNatural(Object value, Object natural) {
        assertEquals(natural, Literals.decode(Literals.encode(value), Object.class));
    }

    /** Bytes that msgpack-python 1.1 writes for {"x": 3, "y": 1.5, "shown_name": "ü", "more": [1]}, as flytekit does for a dataclass. */
    @Test
    void aDataclassIsARecord() {
        byte[] packed = java.util.HexFormat.of().parseHex("84a17803a179cb3ff8000000000000aa73686f776e5f6e616d65a2c3bca46d6f72659101");
        assertEquals(new Point(3, 1.5, Optional.of("ü")), Literals.decode(msgpack(packed), Point.class));
        assertEquals(List.of(1L), ((Map<?, ?>) Literals.decode(msgpack(packed), Object.class)).get("more"));
    }

    /** flytekit sends an attribute of a dataclass as the msgpack of its value. */
    @Test
    void anAttributeOfADataclassIsAScalar() {
        assertEquals(3, Literals.decode(msgpack(new byte[] {3}), int.class));
        assertEquals("a", Literals.decode(msgpack(new byte[] {(byte) 0xa1, 'a'}), String.class));
    }

    @Test
    void anOldDataclassIsARecordToo() {
        assertEquals(new Point(3, 4, Optional.empty()), Literals.decode(Literals.encode(new Generic(Map.of("x", 3, "y", 4))), Point.class));
    }

    @Test
    void aDictKeepsIntegersAndFloatsApart() {
        TypeReference<Map<String, Object>> dict = new TypeReference<>() {};
        assertEquals(Map.of("f", 3.0, "n", 3L), Literals.decode(Literals.encode(Map.of("f", 3.0, "n", 3)), dict));
    }

    static Stream<Arguments> refusals() {
        Literal three = Literals.encode(3);
        Literal text = Literals.encode("3");
        return Stream.of(
                Arguments.of(text, Integer.class, "a string cannot be read as Integer"),
                Arguments.of(three, String.class, "an integer cannot be read as String"),
                Arguments.of(three, boolean.class, "an integer cannot be read as boolean"),
                Arguments.of(Literals.encode(2.5), int.class, "a float cannot be read as int"),
                Arguments.of(Literals.encode(1L << 40), int.class, "1099511627776 is out of the range of int"),
                Arguments.of(Literals.encode((1L << 53) + 1), double.class, "9007199254740993 has more digits than double"),
                Arguments.of(Literals.encode((Object) null), String.class, "none cannot be read as String"),
                Arguments.of(Literals.encode((Object) null), int.class, "none cannot be read as int"),
                Arguments.of(Literals.encode(List.of(1)), String.class, "a list cannot be read as String"),
                Arguments.of(Literals.encode(Map.of("a", 1)), String.class, "the value cannot be read as String"),
                Arguments.of(Literals.encode("BLUE"), Colour.class, "\"BLUE\" is not one of RED, light-green"),
                Arguments.of(Literals.encode("x"), UUID.class, "a string cannot be read as UUID"),
                Arguments.of(Literals.encode("2024-01-01T00:00:00Z"), Instant.class, "a string cannot be read as Instant"),
                Arguments.of(Literals.encode(new FlyteFile("f")), FlyteDirectory.class, "a file cannot be read as FlyteDirectory"),
                Arguments.of(Literals.encode(Duration.ZERO), Instant.class, "a duration cannot be read as Instant"),
                Arguments.of(Literal.getDefaultInstance(), Object.class, "an empty literal has no value"));
    }

    @ParameterizedTest
    @MethodSource("refusals")
    void whatDoesNotFitIsRefused(Literal literal, Class<?> type, String problem) {
        assertEquals(problem, assertThrows(LiteralException.class, () -> Literals.decode(literal, type)).problem());
    }

    @Test
    void aRefusalSaysWhere() {
        Literal nested = Literals.encode(List.of(List.of(1), List.of(2, "x")));
        LiteralException refused = assertThrows(LiteralException.class, () -> Literals.decode(nested, new TypeReference<List<List<Integer>>>() {}));
        assertEquals("[1][1]", refused.path());
        Literal point = Literals.encode(List.of(Map.of("x", "one", "y", 1)));
        assertEquals("[0].x", assertThrows(LiteralException.class, () -> Literals.decode(point, new TypeReference<List<Point>>() {})).path());
    }

    @Test
    void anOffloadedValueIsExplained() {
        Literal offloaded = Literal.newBuilder().setOffloadedMetadata(LiteralOffloadedMetadata.newBuilder().setUri("s3://b/o").setSizeBytes(12)).build();
        String problem = assertThrows(LiteralException.class, () -> Literals.decode(offloaded, Object.class)).problem();
        assertTrue(problem.contains("s3://b/o") && problem.contains("12 bytes"), problem);
    }

    @Test
    void theDeclaredTypeIsFollowed() {
        assertEquals(3.0, Literals.encode(3, FLOAT).getScalar().getPrimitive().getFloatValue());
        assertEquals(3, Literals.encode(3.0, INTEGER).getScalar().getPrimitive().getInteger());
        assertEquals(Literals.encode(List.of(1.0, 2.5)), Literals.encode(List.of(1, 2.5), Types.listOf(FLOAT)));
        assertEquals(2, Literals.encode(Map.of("a", 2), Types.mapOf(INTEGER)).getMap().getLiteralsOrThrow("a").getScalar().getPrimitive().getInteger());
        LiteralType colour = LiteralType.newBuilder().setEnumType(EnumType.newBuilder().addValues("light-green")).build();
        assertEquals("light-green", Literals.encode(Colour.GREEN, colour).getScalar().getPrimitive().getStringValue());
        LiteralType csv = LiteralType.newBuilder().setBlob(BlobType.newBuilder().setFormat("csv")).build();
        assertEquals(new FlyteFile("s3://b/f", "csv"), Literals.decode(Literals.encode("s3://b/f", csv), FlyteFile.class));
        LiteralType table = LiteralType.newBuilder().setStructuredDatasetType(StructuredDatasetType.newBuilder().setFormat("parquet")).build();
        assertEquals(new StructuredDataset("s3://b/t", "parquet"), Literals.decode(Literals.encode("s3://b/t", table), StructuredDataset.class));
    }

    @Test
    void aUnionNamesTheVariantThatFitsBest() {
        LiteralType union = Types.unionOf(FLOAT, INTEGER, Types.simple(SimpleType.NONE));
        assertEquals(INTEGER, Literals.encode(1, union).getScalar().getUnion().getType());
        assertEquals(FLOAT, Literals.encode(1.0, union).getScalar().getUnion().getType());
        assertTrue(Literals.isNone(Literals.encode(Optional.empty(), union)));
        assertEquals(FLOAT, Literals.encode(1, Types.unionOf(STRING, FLOAT)).getScalar().getUnion().getType());
        assertEquals(Optional.of(1), Literals.decode(Literals.encode(1, Types.optional(INTEGER)), new TypeReference<Optional<Integer>>() {}));
        assertThrows(LiteralException.class, () -> Literals.encode(true, union));
    }

    @Test
    void whatTheDeclaredTypeForbidsIsRefused() {
        assertEquals("a Java String cannot be written as integer", problem("3", INTEGER));
        assertEquals("2.5 is not a whole number, and integer is declared", problem(2.5, INTEGER));
        assertEquals("18446744073709551616 is out of the range of integer", problem(BigInteger.ONE.shiftLeft(64), INTEGER));
        assertEquals("9007199254740993 has more digits than a float", problem((1L << 53) + 1, FLOAT));
        assertEquals("null cannot be written as string", problem(null, STRING));
        assertEquals("a Java Integer cannot be written as list[integer]", problem(1, Types.listOf(INTEGER)));
        assertEquals("a Java FlyteDirectory cannot be written as file",
                problem(new FlyteDirectory("d"), LiteralType.newBuilder().setBlob(BlobType.getDefaultInstance()).build()));
        assertEquals("[1]", assertThrows(LiteralException.class, () -> Literals.encode(List.of("a", 1), Types.listOf(STRING))).path());
    }

    private static String problem(Object value, LiteralType declared) {
        return assertThrows(LiteralException.class, () -> Literals.encode(value, declared)).problem();
    }

    @Test
    void literalsPassThrough() {
        Literal literal = Literals.encode(1);
        assertEquals(literal, Literals.decode(literal, Literal.class));
        assertEquals(List.of(literal), Literals.decode(Literals.encode(List.of(literal)), new TypeReference<List<Literal>>() {}));
    }

    @Test
    void brokenMsgPackIsRefusedWhateverItClaims() {
        for (String hex : List.of("", "c1", "81a161", "dbffffffff", "c6ffffffff", "ddffffffff", "dfffffffff", "0101", "c70563aabbccddee")) {
            LiteralException refused = assertThrows(LiteralException.class,
                    () -> Literals.decode(msgpack(java.util.HexFormat.of().parseHex(hex)), Object.class), hex);
            assertTrue(refused.problem().startsWith("the msgpack "), refused.problem());
        }
        byte[] deep = new byte[100_000];
        Arrays.fill(deep, (byte) 0x91);
        assertThrows(LiteralException.class, () -> Literals.decode(msgpack(deep), Object.class));
    }

    private static Literal msgpack(byte[] bytes) {
        return Literal.newBuilder().setScalar(Scalar.newBuilder().setBinary(
                com.flyteidl.core.Binary.newBuilder().setTag(Binary.MSGPACK).setValue(ByteString.copyFrom(bytes)))).build();
    }

    static Stream<Arguments> valuesThatNoLiteralHolds() {
        return Stream.of(
                Arguments.of(new Generic(Map.of("deep", List.of((1L << 53) + 1))), Types.simple(SimpleType.STRUCT)),
                Arguments.of(new Generic(Map.of("deep", BigInteger.TWO.pow(64).subtract(BigInteger.ONE))), Types.simple(SimpleType.STRUCT)),
                Arguments.of(Map.of("deep", new BigDecimal("1e400")), Types.simple(SimpleType.STRUCT)),
                Arguments.of(new Generic(Map.of("deep", Double.NaN)), Types.simple(SimpleType.STRUCT)),
                Arguments.of(new Generic(Map.of(1, "one")), Types.simple(SimpleType.STRUCT)),
                Arguments.of(Map.of("deep", new BigDecimal("0.12345678901234567890")), Types.simple(SimpleType.STRUCT)),
                Arguments.of(new BigDecimal("0.12345678901234567890"), FLOAT),
                Arguments.of("\ud800", STRING), Arguments.of(Map.of("\ud800", 1), Types.mapOf(INTEGER)),
                Arguments.of(Map.of("\ud800", 1), Types.simple(SimpleType.STRUCT)), Arguments.of(Map.of("deep", "\ud800"), Types.simple(SimpleType.STRUCT)),
                Arguments.of((1L << 53) + 1, FLOAT), Arguments.of(BigInteger.TEN.pow(400), FLOAT), Arguments.of(new BigDecimal("1e400"), FLOAT),
                Arguments.of(Duration.ofDays(4_000_000), Types.simple(SimpleType.DURATION)),
                Arguments.of(Instant.parse("+10000-01-01T00:00:00Z"), Types.simple(SimpleType.DATETIME)));
    }

    @ParameterizedTest
    @MethodSource("valuesThatNoLiteralHolds")
    void whatALiteralCannotHoldIsRefused(Object value, LiteralType declared) {
        assertThrows(LiteralException.class, () -> Literals.encode(value, declared));
    }

    @Test
    void whatAJavaTypeCannotHoldIsRefused() {
        Literal huge = Literals.encode(1e300, FLOAT);
        assertThrows(LiteralException.class, () -> Literals.decode(huge, float.class));
        Literal noon = Literals.encode(Instant.parse("2024-02-29T12:00:00Z"), Types.simple(SimpleType.DATETIME));
        assertThrows(LiteralException.class, () -> Literals.decode(noon, LocalDate.class));
        for (byte[] packed : List.of(
                new byte[] {(byte) 0x82, 1, 10, (byte) 0xa1, '1', 11}, // {1: 10, "1": 11}
                new byte[] {(byte) 0x81, (byte) 0xc0, 1}, new byte[] {(byte) 0x81, (byte) 0x91, 1, 1})) {
            Literal literal = Literals.encode(new Binary(packed, Binary.MSGPACK), Types.simple(SimpleType.BINARY));
            assertThrows(LiteralException.class, () -> Literals.decode(literal, new TypeReference<Map<String, Object>>() {}));
            assertThrows(LiteralException.class, () -> Literals.decode(literal, Point.class));
        }
    }

    record Measured(byte[] data, Instant at, MsgPackTimestamp stamp, double zero, Object whole, long number, Map<Integer, String> names) {}

    record Untyped(Object data, Object at, Object zero) {}

    record Texts(String text, List<String> texts) {}

    @Test
    void whatJsonLacksIsKeptInARecord() {
        MsgPackTimestamp stamp = new MsgPackTimestamp(Instant.parse("2024-02-29T12:00:00.123456789Z"));
        Map<String, Object> dict = Map.of("data", new byte[] {0, -1}, "at", stamp, "stamp", stamp, "zero", -0.0, "whole", 3.0, "number", 3.0,
                "names", Map.of(7, "seven"));
        Measured measured = Literals.decode(Literals.encode(dict), Measured.class);
        assertArrayEquals(new byte[] {0, -1}, measured.data());
        assertEquals(List.of(stamp.time(), stamp, -0.0, 3.0, 3L, Map.of(7, "seven")),
                List.of(measured.at(), measured.stamp(), measured.zero(), measured.whole(), measured.number(), measured.names()));
        Untyped untyped = Literals.decode(Literals.encode(dict), Untyped.class);
        assertArrayEquals(new byte[] {0, -1}, (byte[]) untyped.data());
        assertEquals(List.of(stamp, -0.0), List.of(untyped.at(), untyped.zero()));
        Map<?, ?> written = (Map<?, ?>) Literals.decode(Literals.encode(measured), Object.class);
        assertEquals(stamp, written.get("stamp"));
        assertEquals("2024-02-29T12:00:00.123456789Z", written.get("at"));
    }

    record Reals(double x, Float s, List<Double> list, double[] array, int[] ints) {}

    @Test
    void wholeNumbersInADictAreNoOtherFloats() {
        long bent = (1L << 53) + 1;
        Reals reals = Literals.decode(Literals.encode(Map.of("x", 1L << 53, "s", 1 << 24, "list", List.of(3), "array", List.of(4), "ints", List.of(5.0, 6))), Reals.class);
        assertArrayEquals(new int[] {5, 6}, reals.ints());
        assertEquals(List.of(0x1p53, 0x1p24f, List.of(3.0), 4.0), List.of(reals.x(), reals.s(), reals.list(), reals.array()[0]));
        for (Map<String, Object> dict : List.<Map<String, Object>>of(Map.of("x", bent), Map.of("s", (1 << 24) + 1),
                Map.of("list", List.of(bent)), Map.of("array", List.of(bent)), Map.of("x", BigInteger.TWO.pow(64).subtract(BigInteger.ONE)))) {
            LiteralException refused = assertThrows(LiteralException.class, () -> Literals.decode(Literals.encode(dict), Reals.class), dict.toString());
            assertTrue(refused.problem().contains("has more digits than"), refused.problem());
        }
        assertThrows(LiteralException.class, () -> Literals.decode(Literals.encode(Map.of("a", bent)), new TypeReference<Map<String, Double>>() {}));
    }

    record Primitives(int n, double x, boolean b, long[] array, Integer boxed) {}

    @Test
    void noneIsNoNumber() {
        Primitives zeros = Literals.decode(Literals.encode(Map.of("array", List.of(1))), Primitives.class);
        assertEquals(Arrays.asList(0, 0.0, false, null), Arrays.asList(zeros.n(), zeros.x(), zeros.b(), zeros.boxed()));
        for (String name : List.of("n", "x", "b", "array")) {
            Map<String, Object> dict = new LinkedHashMap<>();
            dict.put(name, name.equals("array") ? Arrays.asList(1, null) : null);
            dict.put("boxed", null);
            String problem = assertThrows(LiteralException.class, () -> Literals.decode(Literals.encode(dict), Primitives.class), name).problem();
            assertTrue(problem.startsWith("none cannot be read as "), problem);
        }
    }

    @Test
    void bytesAndTimestampsAreNoTexts() {
        for (Object other : List.of(new byte[] {1}, new MsgPackTimestamp(Instant.EPOCH))) {
            for (Map<String, Object> dict : List.of(Map.of("text", other), Map.<String, Object>of("texts", List.of(other)))) {
                assertThrows(LiteralException.class, () -> Literals.decode(Literals.encode(dict), Texts.class), dict.toString());
            }
            assertThrows(LiteralException.class, () -> Literals.encode(new Generic(Map.of("a", other)), Types.simple(SimpleType.STRUCT)));
        }
    }
}
