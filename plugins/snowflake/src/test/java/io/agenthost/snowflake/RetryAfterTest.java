package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Duration;
import java.time.Instant;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RetryAfterTest {
    @ParameterizedTest
    @CsvSource({
        "0, 0", "120, 120", "-1, 0", "soon, 0", "99999999999999999999, 0", "1.5, 0", "'', 0",
        "'Wed, 25 Nov 2026 06:00:07 GMT', 7", "'Wed, 25 Nov 2026 05:59:00 GMT', 0", "'Wed, 32 Nov 2026 05:59:00 GMT', 0",
    })
    void readsSecondsAndDates(String value, long seconds) {
        assertEquals(Duration.ofSeconds(seconds), RetryAfter.parse(value, Instant.parse("2026-11-25T06:00:00Z")));
    }
}
