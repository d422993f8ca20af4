package io.agenthost.sdk.log;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.grpc.Context;
import io.grpc.Metadata;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Lines of a call name its trace. */
class TraceTest {
    private static final Metadata.Key<String> HEADER = Metadata.Key.of("traceparent", Metadata.ASCII_STRING_MARSHALLER);

    private static Map<String, String> fieldsOf(String traceparent) {
        Metadata headers = new Metadata();
        if (traceparent != null) {
            headers.put(HEADER, traceparent);
        }
        AtomicReference<Map<String, String>> seen = new AtomicReference<>();
        Trace.in(Context.current(), headers).run(() -> seen.set(Trace.fields()));
        return seen.get();
    }

    @Test
    void aCallsTraceIsInTheFieldsOfItsLines() {
        assertEquals(Map.of("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736", "span_id", "00f067aa0ba902b7"),
                fieldsOf("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assertEquals(Map.of(), Trace.fields());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", "00-x-y-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    })
    void whatNamesNoTraceIsLeftOut(String traceparent) {
        assertEquals(Map.of(), fieldsOf(traceparent));
        assertEquals(Map.of(), fieldsOf(null));
    }
}
