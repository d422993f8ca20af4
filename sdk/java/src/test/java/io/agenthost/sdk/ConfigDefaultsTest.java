package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

class ConfigDefaultsTest {
    record Config(@JsonPropertyDescription("How long.") @JsonProperty(defaultValue = "9s") Duration limit,
            @JsonProperty(defaultValue = "3") int most, @JsonProperty(defaultValue = "true") boolean on) {}

    @Test
    void defaultsOfEveryKindReachTheBlock() throws Exception {
        ObjectNode block = Json.MAPPER.createObjectNode();
        assertEquals(List.of(), new ConfigSchema(Config.class).check(block));
        assertEquals(Json.MAPPER.readTree("{\"limit\": \"9s\", \"most\": 3, \"on\": true}"), block);
    }
}
