package io.agenthost.sdk.log;

import io.grpc.Context;
import io.grpc.Metadata;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Which trace a call belongs to, by W3C Trace Context: enough for lines of the log. Spans are OpenTelemetry's. */
public final class Trace {
    private static final Metadata.Key<String> HEADER = Metadata.Key.of("traceparent", Metadata.ASCII_STRING_MARSHALLER);
    private static final Pattern FORM = Pattern.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}");
    private static final Context.Key<Map<String, String>> FIELDS = Context.keyWithDefault("agenthost-trace", Map.of());

    /** What a request says of its trace to whom it goes to. */
    private static final Context.Key<Map<String, String>> HEADERS = Context.keyWithDefault("agenthost-trace-headers", Map.of());
    private static final Metadata.Key<String> STATE = Metadata.Key.of("tracestate", Metadata.ASCII_STRING_MARSHALLER);

    private Trace() {}

    /** The context of a call with what its metadata says of its trace. The SDK calls this. */
    public static Context in(Context call, Metadata headers) {
        String header = headers.get(HEADER);
        if (header == null) {
            return call;
        }
        Matcher parts = FORM.matcher(header);
        if (!parts.matches()) {
            return call;
        }
        return call.withValue(FIELDS, Map.of("trace_id", parts.group(1), "span_id", parts.group(2)))
                .withValue(HEADERS, headers.containsKey(STATE) ? Map.of("traceparent", header, "tracestate", headers.get(STATE)) : Map.of("traceparent", header));
    }

    /** The headers by which requests of the call under way carry its trace on (W3C Trace Context); none where it has none. */
    public static Map<String, String> headers() {
        return HEADERS.get();
    }

    /** What a line of the call under way says of its trace. */
    static Map<String, String> fields() {
        return FIELDS.get();
    }
}
