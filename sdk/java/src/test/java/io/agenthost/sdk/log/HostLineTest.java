package io.agenthost.sdk.log;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import io.agenthost.sdk.internal.Json;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.slf4j.event.Level;

class HostLineTest {
    private static JsonNode line(Map<String, ?> fields, Throwable thrown) throws Exception {
        String line = HostLine.of(Level.WARN, "a.B", "one\ntwo", fields, thrown);
        assertFalse(line.contains("\n"), "a log line has a line break: " + line);
        return Json.MAPPER.readTree(line);
    }

    @Test
    void aLineIsAsTheHostReadsIt() throws Exception {
        JsonNode line = line(Map.of("rows", 3, "share", 0.5, "ok", true), null);
        assertEquals("warn", line.get("@level").textValue());
        assertEquals("one\ntwo", line.get("@message").textValue());
        assertEquals("a.B", line.get("@module").textValue());
        assertTrue(line.get("@timestamp").textValue().matches("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z"), line.toString());
        assertEquals(3, line.get("rows").intValue());
        assertEquals(0.5, line.get("share").doubleValue());
        assertTrue(line.get("ok").booleanValue());
    }

    @Test
    void noFieldTakesThePlaceOfTheHosts() throws Exception {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("@message", 5);
        fields.put("nothing", null);
        fields.put("broken", new Object() {
            @Override
            public String toString() {
                throw new IllegalStateException("no");
            }
        });
        JsonNode line = line(fields, null);
        assertEquals("one\ntwo", line.get("@message").textValue());
        assertEquals(5, line.get("_message").intValue());
        assertTrue(line.get("broken").textValue().contains("toString"), line.toString());
    }

    @Test
    void anExceptionBringsItsStackAndALongLineIsCut() throws Exception {
        JsonNode line = line(Map.of("long", "x".repeat(200_000)), new IllegalStateException("out of order"));
        assertEquals("java.lang.IllegalStateException: out of order", line.get("error").textValue());
        assertTrue(line.get("stack").textValue().contains("HostLineTest"), line.toString());
        assertTrue(line.toString().length() < 60_000, "the line has %d characters".formatted(line.toString().length()));
    }
}
