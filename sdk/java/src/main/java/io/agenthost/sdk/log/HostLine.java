package io.agenthost.sdk.log;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Map;
import org.slf4j.event.Level;

/** One log line as hclog writes it, which is what the host understands: six digits of a second's fraction, no more, no less. */
final class HostLine {
    private static final JsonFactory JSON = new JsonFactory();
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);
    /** The host cuts lines at 64 KiB. */
    private static final int MAX_TEXT = 12 << 10;

    private HostLine() {}

    static String of(Level level, String logger, String message, Map<String, ?> fields, Throwable throwable) {
        StringWriter line = new StringWriter();
        try (JsonGenerator json = JSON.createGenerator(line)) {
            json.writeStartObject();
            json.writeStringField("@level", level.name().toLowerCase(Locale.ROOT));
            json.writeStringField("@message", cut(String.valueOf(message)));
            json.writeStringField("@module", logger);
            json.writeStringField("@timestamp", TIME.format(Instant.now()));
            for (Map.Entry<String, ?> field : fields.entrySet()) {
                json.writeFieldName(field.getKey().startsWith("@") ? "_" + field.getKey().substring(1) : field.getKey());
                value(json, field.getValue());
            }
            if (throwable != null) {
                json.writeStringField("error", cut(throwable.toString()));
                json.writeStringField("stack", cut(stack(throwable)));
            }
            json.writeEndObject();
        } catch (IOException e) {
            throw new IllegalStateException("writing to memory", e);
        }
        return line.toString();
    }

    private static void value(JsonGenerator json, Object value) throws IOException {
        if (value == null) {
            json.writeNull();
        } else if (value instanceof Boolean truth) {
            json.writeBoolean(truth);
        } else if (value instanceof Integer || value instanceof Long || value instanceof Short || value instanceof Byte) {
            json.writeNumber(((Number) value).longValue());
        } else if (value instanceof Double || value instanceof Float) {
            json.writeNumber(((Number) value).doubleValue());
        } else {
            json.writeString(cut(text(value)));
        }
    }

    private static String text(Object value) {
        try {
            return String.valueOf(value);
        } catch (RuntimeException e) {
            return "toString of " + value.getClass().getName() + " failed: " + e;
        }
    }

    private static String stack(Throwable throwable) {
        StringWriter stack = new StringWriter();
        throwable.printStackTrace(new PrintWriter(stack));
        return stack.toString();
    }

    private static String cut(String text) {
        return text.length() <= MAX_TEXT ? text : text.substring(0, MAX_TEXT) + "… (%d characters cut)".formatted(text.length() - MAX_TEXT);
    }
}
