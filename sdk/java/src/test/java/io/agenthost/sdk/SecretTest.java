package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.JsonProcessingException;
import io.agenthost.sdk.internal.Json;
import io.grpc.Status;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SecretTest {
    @TempDir
    Path directory;

    @Test
    void theEnvironmentComesBeforeTheFile() throws Exception {
        Files.writeString(directory.resolve("api_key"), " from the file\n");
        Map<String, String> environment = Map.of("FLYTE_SECRETS_DEFAULT_DIR", directory.toString());
        assertEquals("from the file", Secret.of("API_key", environment).reveal());
        assertEquals("", Secret.of("api_key", Map.of("_FSEC_API_KEY", "")).reveal());
        assertEquals("v", Secret.of("api_key", Map.of("FLYTE_SECRETS_ENV_PREFIX", "S_", "S_API_KEY", "v")).reveal());
    }

    @Test
    void theFilesNameCanHaveAPrefix() throws Exception {
        Files.writeString(directory.resolve("sec-api_key"), "v");
        assertEquals("v", Secret.of("api_key",
                Map.of("FLYTE_SECRETS_DEFAULT_DIR", directory.toString(), "FLYTE_SECRETS_FILE_PREFIX", "sec-")).reveal());
    }

    @Test
    void anAbsentOneSaysWhereItWasLookedFor() {
        AgentException absent = assertThrows(AgentException.class, () -> Secret.of("api_key", Map.of("FLYTE_SECRETS_DEFAULT_DIR", directory.toString())));
        assertEquals(Status.Code.FAILED_PRECONDITION, absent.code());
        assertTrue(absent.getMessage().contains("_FSEC_API_KEY") && absent.getMessage().contains(directory.resolve("api_key").toString()), absent.getMessage());
    }

    @Test
    void aKeyLeadsNowhereElse() {
        for (String key : new String[] {"", "../passwd", "a\\b"}) {
            assertEquals(Status.Code.INVALID_ARGUMENT, assertThrows(AgentException.class, () -> Secret.of(key, Map.of())).code());
        }
    }

    record Meta(String id, Secret token) {}

    @Test
    void itCannotBeStored() {
        assertThrows(JsonProcessingException.class, () -> Json.MAPPER.writeValueAsString(new Meta("1", Secret.hiding("hunter2"))));
        assertEquals("Meta[id=1, token=[secret]]", new Meta("1", Secret.hiding("hunter2")).toString());
    }
}
