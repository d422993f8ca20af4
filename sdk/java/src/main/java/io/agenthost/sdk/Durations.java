package io.agenthost.sdk;

import java.math.BigDecimal;
import java.time.Duration;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Durations as they are written in configuration: "90s", "1h30m", "250ms". */
final class Durations {
    static final String PATTERN = "^[+-]?(0|([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$";
    private static final Pattern PART = Pattern.compile("([0-9.]+)([a-zµμ]+)");
    private static final Map<String, Long> NANOS = Map.of("ns", 1L, "us", 1_000L, "µs", 1_000L, "μs", 1_000L, "ms", 1_000_000L,
            "s", 1_000_000_000L, "m", 60_000_000_000L, "h", 3_600_000_000_000L);

    private Durations() {}

    static Duration parse(String text) {
        if (!text.matches(PATTERN)) {
            throw new IllegalArgumentException("must be a duration such as 30s or 1h30m, got \"%s\"".formatted(text));
        }
        BigDecimal nanos = BigDecimal.ZERO;
        for (Matcher part = PART.matcher(text); part.find();) {
            nanos = nanos.add(new BigDecimal(part.group(1)).multiply(BigDecimal.valueOf(NANOS.get(part.group(2)))));
        }
        BigDecimal[] seconds = nanos.divideAndRemainder(BigDecimal.valueOf(1_000_000_000));
        Duration duration = Duration.ofSeconds(seconds[0].longValue(), seconds[1].longValue());
        return text.startsWith("-") ? duration.negated() : duration;
    }
}
