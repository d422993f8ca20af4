package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The types of a configuration, held to what is written and said in all languages. */
class ConfigGoldenTest {
    private static final JsonNode GOLDEN = read();

    enum Region {
        eu,
        us
    }

    record Limits(int cpu, Size memory) {}

    record Pool(@JsonProperty(required = true) String name, Size size) {}

    record Config(@JsonProperty(required = true) Region region, @JsonProperty(defaultValue = "agenthost") String name,
            @JsonProperty(defaultValue = "3") int retries, double rate, boolean dryRun, @JsonProperty(defaultValue = "1m") Duration timeout, Size memory,
            Optional<Limits> limits, List<String> hosts, List<Pool> pools, Map<String, Integer> weights, Optional<SecretRef> token) {}

    private static JsonNode read() {
        try {
            return new ObjectMapper().readTree(Path.of("../testdata/config.json").toFile());
        } catch (java.io.IOException e) {
            throw new IllegalStateException(e);
        }
    }

    static Stream<JsonNode> good() {
        return StreamSupport.stream(GOLDEN.path("good").spliterator(), false);
    }

    static Stream<JsonNode> bad() {
        return StreamSupport.stream(GOLDEN.path("bad").spliterator(), false);
    }

    private static List<ConfigError> configure(JsonNode row, List<Config> taken) throws Exception {
        JsonNode block = row.path("config");
        Services services = new Services(Plugin.named("golden", "1").sync("s", task -> null).configure(Config.class, taken::add));
        return services.configure(block.isTextual() ? block.textValue() : block.toString());
    }

    @ParameterizedTest
    @MethodSource("good")
    void whatIsGoodIsRead(JsonNode row) throws Exception {
        List<Config> taken = new ArrayList<>();
        assertEquals(List.of(), configure(row, taken), row.toString());
        Config got = taken.get(0);
        ObjectNode read = Json.MAPPER.createObjectNode().put("region", got.region().name()).put("name", got.name()).put("retries", got.retries())
                .put("rate", got.rate()).put("dry_run", got.dryRun()).put("timeout", got.timeout().toMillis() / 1000.0);
        Optional.ofNullable(got.memory()).ifPresent(memory -> read.put("memory", memory.bytes()));
        got.limits().ifPresent(limits -> read.putObject("limits").put("cpu", limits.cpu()).put("memory", limits.memory().bytes()));
        read.set("hosts", Json.MAPPER.valueToTree(got.hosts()));
        read.set("weights", Json.MAPPER.valueToTree(got.weights()));
        got.token().ifPresent(token -> read.put("token", token.get().reveal()));
        row.path("read").properties().forEach(want -> assertEquals(plain(want.getValue()), plain(read.path(want.getKey())), want.getKey() + " of " + row));
    }

    /** Numbers are equal whatever kind they are of. */
    private static String plain(JsonNode value) {
        return value.isNumber() ? value.decimalValue().stripTrailingZeros().toPlainString() : value.toString();
    }

    @ParameterizedTest
    @MethodSource("bad")
    void whatIsBadIsRefusedInTheWordsOfAllLanguages(JsonNode row) throws Exception {
        List<ConfigError> want = new ArrayList<>();
        row.path("errors").forEach(error -> want.add(new ConfigError(error.path("key").asText(), error.path("message").asText())));
        List<Config> taken = new ArrayList<>();
        assertEquals(want, configure(row, taken));
        assertEquals(List.of(), taken);
    }

    @Test
    void theFileIsReadAsItIsMeant() {
        assertTrue(good().count() >= 20 && bad().count() >= 40, "the golden file has too few rows");
        GOLDEN.path("environment").properties().forEach(variable ->
                assertEquals(variable.getValue().asText(), System.getenv(variable.getKey()), "surefire's environment in the pom"));
    }
}
