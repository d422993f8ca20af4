package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.literal.Binary;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import net.snowflake.client.api.resultset.SnowflakeType;

/** Inputs as what Snowflake can bind. */
final class Values {
    private static final DateTimeFormatter DATETIME = DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss.SSSSSSxxx");
    /** Snowflake's times have nanoseconds; the shorter form is what its Python driver writes, whose times have microseconds. */
    private static final DateTimeFormatter FINE_DATETIME = DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss.SSSSSSSSSxxx");

    private Values() {}

    /** Checks an input, and writes times as Snowflake's Python driver does: as text, which Snowflake converts where it must. */
    static Object bindable(String name, Object value) {
        if (value instanceof Double number && !Double.isFinite(number)) {
            throw AgentException.invalidArgument("input \"%s\" is the float %s, which cannot be bound: write 'NaN'::float, 'inf'::float or '-inf'::float in the SQL"
                    .formatted(name, number));
        } else if (value == null || value instanceof Long || value instanceof Double || value instanceof String
                || value instanceof Boolean || value instanceof byte[]) {
            return value;
        } else if (value instanceof Instant instant) {
            return (isFine(instant.getNano()) ? FINE_DATETIME : DATETIME).format(instant.atOffset(ZoneOffset.UTC));
        } else if (value instanceof Duration duration) {
            return time(name, duration);
        }
        throw AgentException.invalidArgument(("input \"%s\" is %s, which Snowflake cannot bind: int, float, str, bool, bytes, datetime, "
                + "timedelta, None and lists of them can be").formatted(name, kind(value)));
    }

    /** What a value is that cannot be bound, in Flyte's words. */
    private static String kind(Object value) {
        if (value instanceof Map) {
            return "a dict or a dataclass";
        } else if (value instanceof List) {
            return "a list within a list";
        } else if (value instanceof BigInteger) {
            return "an int of more than 64 bits with a sign";
        } else if (value instanceof Binary binary) {
            return "bytes in the form \"%s\"".formatted(binary.tag());
        }
        return "a " + value.getClass().getSimpleName();
    }

    private static boolean isFine(int nanos) {
        return nanos % 1000 != 0;
    }

    private static String time(String name, Duration duration) {
        if (duration.isNegative() || duration.toDays() > 0) {
            throw AgentException.invalidArgument("input \"%s\" is the timedelta %s, and Snowflake's TIME ends at 24 hours; pass seconds as int"
                    .formatted(name, duration));
        }
        int nanos = duration.toNanosPart();
        String fraction = isFine(nanos) ? "%09d".formatted(nanos) : "%06d".formatted(nanos / 1000);
        return "%02d:%02d:%02d.%s".formatted(duration.toHours(), duration.toMinutesPart(), duration.toSecondsPart(), fraction);
    }

    /** A value as Snowflake takes it: everything is written as text. */
    record Binding(String type, String value) {}

    static List<Binding> bindings(List<Object> values) {
        return values.stream().map(Values::binding).toList();
    }

    private static Binding binding(Object value) {
        if (value == null) {
            return new Binding(SnowflakeType.ANY.name(), null);
        } else if (value instanceof byte[] bytes) {
            return new Binding(SnowflakeType.BINARY.name(), HexFormat.of().withUpperCase().formatHex(bytes));
        }
        return new Binding(type(value).name(), value.toString());
    }

    private static SnowflakeType type(Object value) {
        if (value instanceof Long) {
            return SnowflakeType.FIXED;
        } else if (value instanceof Double) {
            return SnowflakeType.REAL;
        }
        return value instanceof Boolean ? SnowflakeType.BOOLEAN : SnowflakeType.TEXT;
    }
}
