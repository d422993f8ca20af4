package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import java.util.List;
import net.snowflake.client.api.resultset.SnowflakeType;

/** Inputs as what Snowflake can bind. */
final class Values {
    private static final DateTimeFormatter DATETIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss.SSSSSSxxx");

    private Values() {}

    /** Checks an input, and writes times as Snowflake's Python driver does: as text, which Snowflake converts where it must. */
    static Object bindable(String name, Object value) {
        if (value == null || value instanceof Long || value instanceof Double || value instanceof String
                || value instanceof Boolean || value instanceof byte[]) {
            return value;
        } else if (value instanceof Instant instant) {
            return DATETIME.format(instant.atOffset(ZoneOffset.UTC));
        } else if (value instanceof Duration duration) {
            return time(name, duration);
        }
        throw AgentException.invalidArgument(("input \"%s\" is a %s, which Snowflake cannot bind: int, float, str, bool, bytes, datetime, "
                + "timedelta, None and lists of them can be").formatted(name, value.getClass().getSimpleName()));
    }

    private static String time(String name, Duration duration) {
        if (duration.isNegative() || duration.toDays() > 0) {
            throw AgentException.invalidArgument("input \"%s\" is the timedelta %s, and Snowflake's TIME ends at 24 hours; pass seconds as int"
                    .formatted(name, duration));
        }
        return "%02d:%02d:%02d.%06d".formatted(duration.toHours(), duration.toMinutesPart(), duration.toSecondsPart(), duration.toNanosPart() / 1000);
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
