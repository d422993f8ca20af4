package io.agenthost.sdk;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonValue;
import java.math.BigDecimal;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A number of bytes that is written as "2GiB" or "512MB" in configuration: B, kB, MB, GB, TB are powers of 1000, KiB, MiB,
 * GiB, TiB powers of 1024.
 */
public record Size(long bytes) {
    static final String PATTERN = "^[0-9]+(\\.[0-9]+)? ?([kKMGT]i?)?B$";
    private static final Pattern PARTS = Pattern.compile("([0-9.]+) ?([a-zA-Z]+)");
    private static final Map<String, Long> UNITS = new LinkedHashMap<>();

    static {
        UNITS.put("TiB", 1L << 40);
        UNITS.put("GiB", 1L << 30);
        UNITS.put("MiB", 1L << 20);
        UNITS.put("KiB", 1L << 10);
        UNITS.put("TB", 1_000_000_000_000L);
        UNITS.put("GB", 1_000_000_000L);
        UNITS.put("MB", 1_000_000L);
        UNITS.put("kB", 1_000L);
        UNITS.put("KB", 1_000L);
        UNITS.put("B", 1L);
    }

    /** Reads a size as it is written in configuration. */
    @JsonCreator
    public static Size of(String text) {
        Matcher parts = PARTS.matcher(text);
        Long unit = parts.matches() ? UNITS.get(parts.group(2)) : null;
        try {
            if (unit != null) {
                return new Size(new BigDecimal(parts.group(1)).multiply(BigDecimal.valueOf(unit)).toBigInteger().longValueExact());
            }
        } catch (ArithmeticException | NumberFormatException e) {
            // Told below.
        }
        throw new IllegalArgumentException("must be a size such as 2GiB or 512MB, got \"%s\"".formatted(text));
    }

    /** The size in the largest binary unit that shows it exactly, such as "2GiB". */
    @Override
    @JsonValue
    public String toString() {
        for (Map.Entry<String, Long> unit : UNITS.entrySet()) {
            if (unit.getKey().endsWith("iB") && bytes != 0 && bytes % unit.getValue() == 0) {
                return bytes / unit.getValue() + unit.getKey();
            }
        }
        return bytes + "B";
    }
}
