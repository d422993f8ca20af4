package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralOffloadedMetadata;
import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.literal.Binary;
import io.agenthost.sdk.literal.FlyteDirectory;
import io.agenthost.sdk.literal.FlyteFile;
import io.agenthost.sdk.literal.Generic;
import io.agenthost.sdk.literal.LiteralException;
import io.agenthost.sdk.literal.Literals;
import io.agenthost.sdk.literal.StructuredDataset;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** The table of types, types.tsv, is what each kind of input is bound as, read back as Snowflake reads it. UPDATE_TYPES=1 writes it. */
class TypesTest {
    private static final Path TABLE = Path.of("types.tsv");
    private static final DateTimeFormatter DATETIME = DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss.[SSSSSSSSS][SSSSSS]xxx");

    /** A type of Flyte's, with values at its edges. */
    private record Kind(String name, Object... values) {}

    private static List<Kind> kinds() {
        Literal offloaded = Literal.newBuilder().setOffloadedMetadata(LiteralOffloadedMetadata.newBuilder().setUri("s3://b/o.pb").setSizeBytes(9)).build();
        return List.of(
                new Kind("int", 0L, (1L << 53) + 1, Long.MAX_VALUE, Long.MIN_VALUE),
                new Kind("float", 0.1, -0.0, Double.MIN_VALUE, Double.MAX_VALUE, 1e23, Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY),
                new Kind("str", "", "it's ? %(x)s ☃\u0000\uD83D\uDE00", "01234"),
                new Kind("enum", "red"),
                new Kind("bool", true, false),
                new Kind("datetime", Instant.parse("0001-01-01T00:00:00Z"), Instant.parse("9999-12-31T23:59:59.999999999Z"),
                        Instant.parse("2016-12-31T23:59:59.999999Z"), Instant.parse("1969-12-31T23:59:59.000000001Z")),
                new Kind("timedelta", Duration.ZERO, Duration.ofNanos(1), Duration.ofHours(24).minusNanos(1), Duration.ofHours(24), Duration.ofNanos(-1),
                        Duration.ofDays(300 * 365)),
                new Kind("bytes", new byte[] {0, -1}, new byte[0]),
                new Kind("bytes with a tag", new Binary(new byte[] {0, -1}, "pickle")),
                new Kind("None", (Object) null),
                new Kind("list[int]", List.of(1L, (1L << 53) + 1), List.of()),
                new Kind("list[Union[int, float, None]]", Arrays.asList(1L, 2.5, null)),
                new Kind("dict", new Generic(Map.of("k", 1)), Map.of("k", (Object) 1L)),
                new Kind("file", new FlyteFile("s3://b/f", "csv")),
                new Kind("directory", new FlyteDirectory("s3://b/d", "")),
                new Kind("dataset", new StructuredDataset("s3://b/t", "parquet", List.of())),
                new Kind("a value that Flyte has put into storage", offloaded));
    }

    @Test
    void holdsTheTable() throws Exception {
        TreeSet<String> cells = new TreeSet<>();
        for (Kind kind : kinds()) {
            for (String position : List.of("named parameter", "list item")) {
                if (kind.name().startsWith("list") && position.equals("list item")) {
                    cells.add(cell(new Kind("list within a list", Arrays.stream(kind.values()).map(List::of).toArray()), "named parameter"));
                } else {
                    Object[] values = position.equals("named parameter") ? kind.values()
                            : Arrays.stream(kind.values()).map(Collections::singletonList).toArray();
                    cells.add(cell(new Kind(kind.name(), values), position));
                }
            }
        }
        cells.add("out\tdataset\tquery\tscalar\texact\tthe result's address, snowflake://…; nothing of it is read");
        String text = "direction\tflyte\tengine\tposition\toutcome\tnote\n" + String.join("\n", cells) + "\n";
        if ("1".equals(System.getenv("UPDATE_TYPES"))) {
            Files.writeString(TABLE, text);
        }
        assertEquals(Files.readString(TABLE), text, "UPDATE_TYPES=1 writes it");
    }

    private static String cell(Kind kind, String position) {
        TreeSet<String> engines = new TreeSet<>();
        TreeSet<String> notes = new TreeSet<>();
        boolean isText = false;
        for (Object value : kind.values()) {
            List<Values.Binding> bindings;
            try {
                Object input = Literals.decode(value instanceof Literal literal ? literal : Literals.encode(value), Object.class);
                bindings = Values.bindings(Pyformat.bind("select %(x)s", Collections.singletonMap("x", input)).values());
            } catch (AgentException | LiteralException e) {
                notes.add(e.getMessage().replaceAll("input \"x(\\[0])?\" ?", "").replaceAll("^(is the \\w+ )[^,]+", "$1…")
                        .replaceAll("\\b\\d+ bytes", "… bytes").replace("at [0]: ", ""));
                continue;
            }
            List<?> wanted = value instanceof List<?> list ? list : Collections.singletonList(value);
            assertEquals(wanted.size(), bindings.size());
            for (int i = 0; i < bindings.size(); i++) {
                engines.add(bindings.get(i).type());
                isText = isText || wanted.get(i) instanceof Instant || wanted.get(i) instanceof Duration;
                assertSame(wanted.get(i), bindings.get(i));
            }
        }
        if (isText) {
            notes.add("as its text, which Snowflake converts where a time is wanted");
        }
        String outcome = engines.isEmpty() ? "refused" : isText ? "widened" : "exact";
        return String.join("\t", "in", kind.name(), engines.isEmpty() ? "none" : String.join(", ", engines), position, outcome, String.join("; ", notes));
    }

    /** Reads a binding as Snowflake's documentation says it reads the text of each type. */
    private static void assertSame(Object wanted, Values.Binding binding) {
        String text = binding.value();
        if (wanted instanceof byte[] bytes) {
            assertArrayEquals(bytes, HexFormat.of().parseHex(text));
            return;
        }
        Object read = switch (binding.type()) {
            case "ANY" -> text;
            case "FIXED" -> Long.valueOf(text);
            case "REAL" -> Double.valueOf(text);
            case "BOOLEAN" -> Boolean.valueOf(text);
            default -> wanted instanceof Instant ? OffsetDateTime.parse(text, DATETIME).toInstant()
                    : wanted instanceof Duration ? Duration.ofNanos(LocalTime.parse(text).toNanoOfDay()) : text;
        };
        assertEquals(wanted, read);
    }
}
