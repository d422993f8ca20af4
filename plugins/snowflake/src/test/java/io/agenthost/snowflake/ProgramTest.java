package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.agenthost.sdk.Category;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The plugin as the program that the host starts, with secrets of its own. */
class ProgramTest extends OnFakesnow {
    private static final String PASSWORD = "password-of-the-test";
    private static final Category SNOWFLAKE = new Category("snowflake", 0);

    @AfterEach
    void release() {
        snow.held = null;
        snow.logins.clear();
    }

    private static AgentTest program(Map<String, Object> config) throws Exception {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Map<String, String> secrets = Map.of("_FSEC_SNOWFLAKE_PRIVATE_KEY", keys.encrypted(),
                "_FSEC_SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", Keys.PASSPHRASE, "_FSEC_OF_PROJECT", PASSWORD);
        AgentTest program = AgentTest.command(List.of(java, "-cp", System.getProperty("java.class.path"), Main.class.getName()), secrets);
        return program.configure(config);
    }

    private static Map<String, Object> config() {
        return Map.of("url", snow.url(), "call_timeout", "60s");
    }

    /** flytekit dumps with Python's json, whose white space is another; another process knows nothing but the metadata. */
    @Test
    void takesOverJobsOfOthers() throws Exception {
        TestTask task = Tasks.of(folder, "kinds").idempotencyKey("program");
        byte[] meta;
        try (AgentTest first = program(config())) {
            meta = first.create(task).meta();
        }
        byte[] pythons = new String(meta, StandardCharsets.UTF_8).replace("\":", "\": ").replace(",", ", ").getBytes(StandardCharsets.UTF_8);
        try (AgentTest second = program(config())) {
            TestResult result = second.job(SNOWFLAKE, pythons).await();
            assertEquals("SUCCEEDED", result.phase(), result.message());
            assertEquals(new String(meta, StandardCharsets.UTF_8), new String(second.create(task).meta(), StandardCharsets.UTF_8));
        }
        assertEquals(1, snow.queries.values().stream().filter(query -> query.tag.equals("agenthost-program")).count());
    }

    @Test
    void deletesWhatIsUnknownOrGone() throws Exception {
        snow.held = "RUNNING";
        try (AgentTest program = program(config())) {
            TestJob job = program.create(Tasks.of(folder, "select"));
            job.delete();
            job.delete();
            assertEquals("ABORTED", job.get().phase());
            String unknown = new String(job.meta(), StandardCharsets.UTF_8).replaceFirst("\"query_id\":\"[^\"]*\"",
                    "\"query_id\":\"00000000-0000-0000-0000-000000000000\"");
            program.job(SNOWFLAKE, unknown.getBytes(StandardCharsets.UTF_8)).delete();
            program.job(SNOWFLAKE, unknown.replace("00000000-0000", "'; drop--").getBytes(StandardCharsets.UTF_8)).delete();
        }
    }

    @Test
    void logsInAsAProjectIsConfigured() throws Exception {
        Map<String, Object> flights = Map.of("project", "flights", "domain", "development", "user", "FLYTE", "authenticator", "password",
                "secret", "of_project");
        Map<String, Object> other = Map.of("project", "other", "user", "SOMEBODY", "authenticator", "oauth", "secret", "nowhere");
        try (AgentTest program = program(Map.of("url", snow.url(), "call_timeout", "60s", "credentials", List.of(other, flights)))) {
            TestJob job = program.create(Tasks.of(folder, "kinds"));
            TestResult result = job.await();
            assertEquals("SUCCEEDED", result.phase(), result.message());
            assertFalse((new String(job.meta(), StandardCharsets.UTF_8) + result.resource()).contains(PASSWORD));
        }
        assertEquals(PASSWORD, snow.logins.get(0).path("PASSWORD").asText());
    }
}
