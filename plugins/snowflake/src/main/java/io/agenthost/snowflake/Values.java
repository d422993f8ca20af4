package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Types;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;

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

    static void bind(PreparedStatement statement, List<Object> values) throws SQLException {
        for (int i = 0; i < values.size(); i++) {
            bind(statement, i + 1, values.get(i));
        }
    }

    private static void bind(PreparedStatement statement, int index, Object value) throws SQLException {
        if (value == null) {
            statement.setNull(index, Types.VARCHAR);
        } else if (value instanceof Long number) {
            statement.setLong(index, number);
        } else if (value instanceof Double number) {
            statement.setDouble(index, number);
        } else if (value instanceof Boolean flag) {
            statement.setBoolean(index, flag);
        } else if (value instanceof byte[] bytes) {
            statement.setBytes(index, bytes);
        } else {
            statement.setString(index, (String) value);
        }
    }
}
