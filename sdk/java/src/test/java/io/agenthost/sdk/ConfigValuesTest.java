package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What stands in a `config:` block, and what is said of it. */
class ConfigValuesTest {
    enum Region {
        EU,
        US
    }

    record Limits(Size memory, Duration grace) {}

    record Config(@JsonProperty(required = true) Region region, Limits limits, List<String> hosts, Map<String, Integer> weights,
            Optional<Path> stateDir, @JsonProperty("maxRows") Integer most, @JsonProperty(defaultValue = "[\"a\"]") List<String> tags) {
        Config {
            if (most != null && most < 0) {
                throw new ConfigException("maxRows", "must not be negative");
            }
        }
    }

    private static List<ConfigError> apply(String block, List<Config> taken) throws Exception {
        return new Configuration<>(Config.class, taken::add).apply((ObjectNode) Json.MAPPER.readTree(block));
    }

    @Test
    void everyKindOfValueArrives() throws Exception {
        List<Config> taken = new ArrayList<>();
        String block = """
                {"region": "EU", "limits": {"memory": "2GiB", "grace": "1h30m"}, "hosts": ["x"], "weights": {"x": 1},
                 "state_dir": "/var/x", "maxRows": 5}""";
        assertEquals(List.of(), apply(block, taken));
        assertEquals(List.of(new Config(Region.EU, new Limits(new Size(2L << 30), Duration.ofMinutes(90)), List.of("x"), Map.of("x", 1),
                Optional.of(Path.of("/var/x")), 5, List.of("a"))), taken);
    }

    @Test
    void allThatIsWrongIsToldByKey() throws Exception {
        List<Config> taken = new ArrayList<>();
        List<ConfigError> errors = apply("""
                {"regoin": "EU", "limits": {"memory": "lots", "grac": "1s"}, "hosts": ["x", 1], "weights": {"x": "heavy"}, "maxRows": 1.5}""", taken);
        assertEquals(List.of(), taken);
        assertEquals(List.of(
                new ConfigError("hosts[1]", "must be a string, got 1"),
                new ConfigError("limits.grac", "unknown key: did you mean \"grace\"?"),
                new ConfigError("limits.memory", "must be a size such as 2GiB or 512MB, got \"lots\""),
                new ConfigError("maxRows", "must be an integer, got 1.5"),
                new ConfigError("region", "is required"),
                new ConfigError("regoin", "unknown key: did you mean \"region\"?"),
                new ConfigError("weights.x", "must be an integer, got \"heavy\"")), errors);
        assertEquals(List.of(new ConfigError("region", "must be one of EU, US, got \"eu\"")), apply("{\"region\": \"eu\"}", taken));
    }

    @Test
    void whatTheRecordsConstructorSaysIsTold() throws Exception {
        assertEquals(List.of(new ConfigError("maxRows", "must not be negative")), apply("{\"region\": \"EU\", \"maxRows\": -1}", new ArrayList<>()));
    }

    @Test
    void whatAComponentCannotHoldIsToldByItsKey() throws Exception {
        String said = apply("{\"region\": \"EU\", \"maxRows\": 99999999999}", new ArrayList<>()).toString();
        assertTrue(said.contains("key=maxRows, message=must be an integer that int can hold: "), said);
    }

    @Test
    void durationsAreReadAsTheHostReadsThem() {
        assertEquals(Duration.ofMillis(250), Durations.parse("250ms"));
        assertEquals(Duration.ofMillis(5_430_500), Durations.parse("1h30m30.5s"));
        assertEquals(Duration.ofSeconds(-1), Durations.parse("-1s"));
        assertEquals(Duration.ZERO, Durations.parse("0"));
        for (String wrong : new String[] {"", "s", "1", "1 s", "1d", "1.2.3s", "."}) {
            assertTrue(assertThrows(IllegalArgumentException.class, () -> Durations.parse(wrong), wrong).getMessage().contains("such as 30s"), wrong);
        }
    }

    @Test
    void sizesAreReadAndWritten() {
        assertEquals(1_500_000, Size.of("1.5MB").bytes());
        assertEquals(512L << 20, Size.of("512 MiB").bytes());
        assertEquals("2GiB", new Size(2L << 30).toString());
        assertEquals("1000B", new Size(1000).toString());
        for (String wrong : new String[] {"", "2", "2XB", "-1GB", "99999999TiB", "1.2.3GB"}) {
            assertThrows(IllegalArgumentException.class, () -> Size.of(wrong), wrong);
        }
    }
}
