package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.flyteidl.admin.GetTaskMetricsRequest;
import com.flyteidl.admin.TaskCategory;
import com.flyteidl.core.NodeExecutionIdentifier;
import com.flyteidl.core.SimpleType;
import com.flyteidl.core.TaskExecutionIdentifier;
import com.flyteidl.core.WorkflowExecutionIdentifier;
import com.flyteidl.service.AsyncAgentServiceGrpc;
import com.google.protobuf.ByteString;
import io.agenthost.sdk.ConfigError;
import io.agenthost.sdk.literal.Types;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The plugin, on tasks that flytekit compiled, against fakesnow. */
class SnowflakeAgentTest extends OnFakesnow {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String SECRET = "secret-of-the-test";

    private AgentTest agent;

    @BeforeEach
    void plugin() throws Exception {
        agent = AgentTest.of(Main.plugin()).configure(Map.of("url", snow.url(), "call_timeout", "60s"));
    }

    @AfterEach
    void close() throws Exception {
        snow.held = null;
        snow.unlisted = false;
        snow.retryAfter = null;
        agent.close();
    }

    private static TestTask task(String name) throws Exception {
        return Tasks.of(folder, name).secret("snowflake_private_key", keys.plain());
    }

    private static JsonNode meta(TestJob job) throws Exception {
        return JSON.readTree(job.meta());
    }

    private static Snow.Query query(TestJob job) throws Exception {
        return snow.queries.get(meta(job).path("query_id").asText());
    }

    @Test
    void runsTasksThatFlytekitCompiled() throws Exception {
        TestResult made = agent.run(task("setup"));
        assertEquals("SUCCEEDED", made.phase(), made.message());
        assertFalse(made.resource().hasOutputs(), "a task without outputs gets none");
        assertEquals("SUCCEEDED", agent.run(task("load")).phase());

        TestJob job = agent.create(task("select"));
        TestResult result = job.await();
        assertEquals("SUCCEEDED", result.phase(), result.message());
        String id = meta(job).path("query_id").asText();
        assertEquals("snowflake://FLYTE:acme-eu1/SMALL/LAKE/PUBLIC/" + id, result.literal("results").getScalar().getStructuredDataset().getUri());
        assertEquals("", result.literal("results").getScalar().getStructuredDataset().getMetadata().getStructuredDatasetType().getFormat());
        assertEquals(Map.of("Snowflake Query Details", "https://app.snowflake.com/eu1/acme/#/compute/history/queries/" + id + "/detail"), result.links());
        assertEquals(1, query(job).result.path("total").asInt(), "the row that load wrote, quote and all, is found by its list and number");
        JsonNode info = result.customInfo(JsonNode.class);
        assertEquals(3, info.path("rows").asInt());
        assertEquals(4096, info.path("bytes_scanned").asInt());
        assertEquals(1500, info.path("elapsed_ms").asInt());
        assertEquals("SUCCESS, 1.5 s", result.message());
    }

    @Test
    void bindsEveryKind() throws Exception {
        TestJob job = agent.create(task("kinds"));
        TestResult result = job.await();
        assertEquals("SUCCEEDED", result.phase(), result.message());
        List<String> bound = query(job).bindings.findValuesAsText("value");
        assertEquals(List.of("7", "1.5", "a", "true", "2026-11-25 06:00:00.000000+00:00", "01:00:02.000000"), bound.subList(0, 6));
        assertTrue(query(job).bindings.path("7").path("value").isNull(), "None is NULL: " + query(job).bindings);
    }

    /** A task that can never run has FAILED: an error of create would be repeated by Flyte for each retry. */
    private void assertFails(String wanted, TestTask task) throws Exception {
        int before = snow.queries.size();
        TestJob job = agent.create(task);
        TestResult result = job.get();
        assertEquals("FAILED", result.phase());
        assertEquals("InvalidTask", result.code());
        assertTrue(result.message().contains(wanted), result.message());
        job.delete();
        assertEquals(before, snow.queries.size(), "no query is made of it");
    }

    @Test
    void refusesAnInputByNameForGood() throws Exception {
        assertFails("input \"f\" is the float NaN", task("kinds").input("f", Double.NaN, Types.simple(SimpleType.FLOAT)));
        assertFails("input \"f\" is the float -Infinity", task("kinds").input("f", Double.NEGATIVE_INFINITY, Types.simple(SimpleType.FLOAT)));
        assertFails("input \"i\" is a dict or a dataclass", task("kinds").input("i", Map.of("k", 1), Types.simple(SimpleType.STRUCT)));
        assertFails("no input \"nobody\"", task("kinds").sql("select %(nobody)s"));
    }

    /** What a query has of an input is what was put in, also at the edges of its type, as far as the emulator tells. */
    @Test
    void bindsWhatComesBackEqual() throws Exception {
        TestTask edges = task("kinds").sql("select 1 as found where %(i)s = -9223372036854775808 and %(s)s = 'it''s ? -- \u2603' and %(b)s = false "
                        + "and cast(%(f)s as float) = 1.7976931348623157e308 and cast(%(t)s as timestamp_ntz) = '9999-12-31 23:59:59.999999'::timestamp_ntz")
                .input("i", Long.MIN_VALUE, Types.simple(SimpleType.INTEGER)).input("s", "it's ? -- \u2603", Types.simple(SimpleType.STRING))
                .input("b", false, Types.simple(SimpleType.BOOLEAN)).input("f", Double.MAX_VALUE, Types.simple(SimpleType.FLOAT))
                .input("t", Instant.parse("9999-12-31T23:59:59.999999Z"), Types.simple(SimpleType.DATETIME));
        TestJob job = agent.create(edges);
        TestResult result = job.await();
        assertEquals("SUCCEEDED", result.phase(), result.message());
        assertEquals(1, query(job).result.path("total").asInt(), "every value is equal to its constant in the SQL");
    }

    @Test
    void keepsNanoseconds() throws Exception {
        TestTask fine = task("kinds").input("t", Instant.parse("2026-11-25T06:00:00.000000001Z"), Types.simple(SimpleType.DATETIME))
                .input("d", Duration.ofNanos(86_399_999_999_999L), Types.simple(SimpleType.DURATION));
        List<String> bound = query(agent.create(fine)).bindings.findValuesAsText("value");
        assertEquals(List.of("2026-11-25 06:00:00.000000001+00:00", "23:59:59.999999999"), bound.subList(4, 6));
    }

    @Test
    void tellsWhatSnowflakeHasAgainstAQuery() throws Exception {
        TestResult result = agent.run(task("wrong"));
        assertEquals("FAILED", result.phase());
        assertEquals("Snowflake002003", result.code());
        assertTrue(result.message().contains("002003") && result.message().toUpperCase().contains("NO_SUCH_TABLE"), result.message());
        assertEquals(1, result.links().size());
    }

    @Test
    void keepsExactlyWhatFlytekitKeeps() throws Exception {
        TestJob job = agent.create(task("select"));
        assertEquals(JSON.readTree("""
                {"user": "FLYTE", "account": "acme-eu1", "database": "LAKE", "schema": "PUBLIC", "warehouse": "SMALL",
                 "query_id": "%s", "has_output": true}""".formatted(meta(job).path("query_id").asText())), meta(job));
        assertEquals(false, meta(agent.create(task("setup"))).path("has_output").asBoolean(true));
    }

    @ParameterizedTest
    @CsvSource({
        "QUEUED, QUEUED", "RESUMING_WAREHOUSE, WAITING_FOR_RESOURCES", "QUEUED_REPARING_WAREHOUSE, WAITING_FOR_RESOURCES", "RUNNING, RUNNING",
        "ABORTING, RUNNING", "BLOCKED, RUNNING", "RESTARTED, RUNNING", "NO_DATA, RUNNING", "SOMETHING_NEW, RUNNING", "SUCCESS, SUCCEEDED",
        "ABORTED, ABORTED", "FAILED_WITH_ERROR, FAILED", "FAILED_WITH_INCIDENT, RETRYABLE_FAILED", "DISCONNECTED, RETRYABLE_FAILED",
    })
    void mapsEveryStatus(String status, String phase) throws Exception {
        snow.held = status;
        TestResult result = agent.create(task("select")).get();
        assertEquals(phase, result.phase());
        if (!status.equals("SUCCESS")) {
            assertTrue(result.message().startsWith(status), result.message());
        }
    }

    @ParameterizedTest
    @CsvSource({"604, ABORTED", "603, RETRYABLE_FAILED", "625, RETRYABLE_FAILED", "630, FAILED", "606, FAILED", "100038, FAILED"})
    void tellsFailuresThatPassFromOthers(int code, String phase) throws Exception {
        snow.held = "FAILED_WITH_ERROR";
        TestJob job = agent.create(task("select"));
        query(job).code = code;
        query(job).message = "something of Snowflake's";
        TestResult result = job.get();
        assertEquals(phase, result.phase());
        assertEquals("FAILED_WITH_ERROR, %06d: something of Snowflake's".formatted(code), result.message());
    }

    @Test
    void makesOneQueryOfAnAttempt() throws Exception {
        int before = snow.queries.size();
        TestJob first = agent.create(task("select").idempotencyKey("one"));
        List<String> ids = IntStream.range(0, 4).parallel().mapToObj(i -> {
            try {
                return meta(agent.create(task("select").idempotencyKey("two"))).path("query_id").asText();
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        }).distinct().toList();
        assertEquals(1, ids.size(), "calls at once share a query");
        assertEquals(before + 2, snow.queries.size());
        try (AgentTest restarted = AgentTest.of(Main.plugin()).configure(Map.of("url", snow.url(), "call_timeout", "60s"))) {
            assertEquals(meta(first), meta(restarted.create(task("select").idempotencyKey("one"))));
        }
        assertNotEquals(meta(first), meta(agent.create(task("select").idempotencyKey("three"))));
        assertEquals("agenthost-one", query(first).tag);
        assertEquals(List.of("idempotent_create", "find_by_key"), agent.describe().getCapabilitiesList());
    }

    /** Flyte gives the tasks of a subworkflow that is used twice equal ids: they differ in output prefix and inputs only. */
    @Test
    void makesAQueryForEachUseOfASubworkflow() throws Exception {
        snow.held = "RUNNING";
        TaskExecutionIdentifier id = TaskExecutionIdentifier.newBuilder().setNodeExecutionId(NodeExecutionIdentifier.newBuilder().setNodeId("n0")
                .setExecutionId(WorkflowExecutionIdentifier.newBuilder().setProject("p").setDomain("d").setName("f1"))).build();
        List<TestJob> jobs = new ArrayList<>();
        // The last: the first use, repeated.
        for (String prefix : List.of("s3://b/f1-n0-0-n0-0", "s3://b/f1-n1-0-n0-0", "s3://b/f1-n0-1-n0-0")) {
            TestTask task = task("kinds").input("i", jobs.size(), Types.simple(SimpleType.INTEGER)).executionId(id).outputPrefix(prefix);
            TestJob job = agent.create(task);
            assertEquals(meta(job), meta(agent.create(task)), prefix);
            assertTrue(query(job).bindings.toString().contains("\"value\":\"%d\"".formatted(jobs.size())), query(job).bindings.toString());
            jobs.add(job);
        }
        jobs.get(0).delete();
        assertEquals(List.of("ABORTED", "RUNNING", "RUNNING"), List.of(jobs.get(0).get().phase(), jobs.get(1).get().phase(), jobs.get(2).get().phase()));
    }

    /** The request's id stands in where the history does not list the query yet, for another process and session, too. */
    @Test
    void makesOneQueryOfAnAttemptThatIsNotListedYet() throws Exception {
        snow.unlisted = true;
        TestJob first = agent.create(task("select").idempotencyKey("unlisted"));
        TestJob again = agent.create(task("select").idempotencyKey("unlisted"));
        assertEquals(meta(first), meta(again), "in the same session");
        try (AgentTest restarted = AgentTest.of(Main.plugin()).configure(Map.of("url", snow.url(), "call_timeout", "60s"))) {
            assertEquals(meta(first), meta(restarted.create(task("select").idempotencyKey("unlisted"))), "in another session");
        }
        String id = Attempt.requestId("agenthost-unlisted").toString();
        assertEquals(List.of(id, id, id), query(first).requests);

        TestJob other = agent.create(task("select").idempotencyKey("unlisted-2"));
        assertNotEquals(meta(first), meta(other));
        assertEquals(List.of(Attempt.requestId("agenthost-unlisted-2").toString()), query(other).requests);
        assertNotEquals(query(first).requests.get(0), query(other).requests.get(0));
    }

    @Test
    void makesAQueryOfEachTaskWithoutAKey() throws Exception {
        snow.unlisted = true;
        assertNotEquals(meta(agent.create(task("select").idempotencyKey(""))), meta(agent.create(task("select").idempotencyKey(""))));
    }

    /** Here the driver asks again by itself. */
    @ParameterizedTest
    @EnumSource
    void makesOneQueryWhenTheAnswerDoesNotCome(Snow.Mishap mishap) throws Exception {
        snow.mishap = mishap;
        TestTask task = task("select").idempotencyKey(mishap.name());
        TestJob job = agent.create(task);
        String id = Attempt.requestId("agenthost-" + mishap).toString();
        assertEquals(List.of(id, id), query(job).requests, "the answer to the first request did not come");
        assertEquals(meta(job), meta(agent.create(task)));
        assertEquals(1, snow.queries.values().stream().filter(q -> q.tag.equals("agenthost-" + mishap)).count());
    }

    /** Snowflake ends the queries of a session that is closed. */
    @ParameterizedTest
    @CsvSource({"RUNNING, false", "SUCCESS, true"})
    void closesOnlySessionsWhoseQueriesHaveEnded(String status, boolean closes) throws Exception {
        snow.held = status;
        Snow.Query query;
        try (AgentTest other = AgentTest.of(Main.plugin()).configure(Map.of("url", snow.url(), "call_timeout", "60s"))) {
            query = query(other.create(task("select")));
        }
        assertEquals(closes, snow.closed.contains(query.session));
    }

    /** The driver would carry them out, with the files of the machine that the plugin runs on. */
    @ParameterizedTest
    @ValueSource(strings = {"put file:///etc/hostname @stage", "/* out */ GET @stage file:///tmp"})
    void movesNoFiles(String sql) throws Exception {
        TestTask task = task("select").sql(sql);
        assertFails("PUT and GET", task);
    }

    @Test
    void cancelsOnceAndLeavesEndedQueriesAlone() throws Exception {
        snow.held = "RUNNING";
        TestJob job = agent.create(task("select"));
        job.delete();
        assertEquals("ABORTED", job.get().phase());
        job.delete();

        snow.held = null;
        TestJob done = agent.create(task("select"));
        done.await();
        done.delete();
        assertNotEquals("ABORTED", query(done).status);
    }

    /** Snowflake keeps no log of a query, and measures totals, which are in the custom info. */
    @Test
    void hasNeitherLogsNorSeries() throws Exception {
        TestJob job = agent.create(task("select"));
        GetTaskMetricsRequest metrics = GetTaskMetricsRequest.newBuilder().setTaskCategory(TaskCategory.newBuilder().setName("snowflake"))
                .setResourceMeta(ByteString.copyFrom(job.meta())).build();
        Executable series = () -> AsyncAgentServiceGrpc.newBlockingStub(agent.channel()).getTaskMetrics(metrics);
        for (Executable call : List.<Executable>of(job::logs, series)) {
            assertEquals(Status.Code.UNIMPLEMENTED, assertThrows(StatusRuntimeException.class, call).getStatus().getCode());
        }
    }

    @Test
    void logsInWithAnEncryptedKey() throws Exception {
        snow.logins.clear();
        agent.create(task("select").secret("snowflake_private_key", keys.encrypted())
                .secret("snowflake_private_key_passphrase", Keys.PASSPHRASE));
        String[] token = snow.logins.get(0).path("TOKEN").asText().split("\\.");
        assertEquals("SNOWFLAKE_JWT", snow.logins.get(0).path("AUTHENTICATOR").asText());
        assertTrue(isSigned(token[0] + "." + token[1], token[2]), "the key signed the login");
    }

    private static boolean isSigned(String text, String signature) throws Exception {
        String body = keys.publicKey().replaceAll("-----[A-Z ]+-----|\\s", "");
        Signature check = Signature.getInstance("SHA256withRSA");
        check.initVerify(KeyFactory.getInstance("RSA").generatePublic(new X509EncodedKeySpec(Base64.getDecoder().decode(body))));
        check.update(text.getBytes(StandardCharsets.UTF_8));
        return check.verify(Base64.getUrlDecoder().decode(signature));
    }

    @ParameterizedTest
    @CsvSource({"password, snowflake_password, '', PASSWORD", "oauth, snowflake_token, OAUTH, TOKEN",
        "pat, snowflake_token, PROGRAMMATIC_ACCESS_TOKEN, TOKEN"})
    void logsInOtherwise(String method, String secret, String authenticator, String field) throws Exception {
        snow.logins.clear();
        try (AgentTest other = AgentTest.of(Main.plugin()).configure(Map.of("url", snow.url(), "authenticator", method, "call_timeout", "60s"))) {
            TestJob job = other.create(task("select").secret(secret, SECRET));
            assertFalse(new String(job.meta(), StandardCharsets.UTF_8).contains(SECRET));
            assertFalse(job.await().resource().toString().contains(SECRET));
        }
        assertEquals(authenticator, snow.logins.get(0).path("AUTHENTICATOR").asText().replace("SNOWFLAKE", ""));
        assertEquals(SECRET, snow.logins.get(0).path(field).asText());
    }

    @Test
    void keepsSecretsOutOfErrors() throws Exception {
        String broken = "-----BEGIN PRIVATE KEY-----\n" + SECRET + "\n-----END PRIVATE KEY-----";
        StatusRuntimeException thrown = assertThrows(StatusRuntimeException.class,
                () -> agent.create(task("select").secret("snowflake_private_key", broken)));
        assertTrue(thrown.getMessage().contains("on account acme-eu1 as user FLYTE: the driver refuses the key_pair credentials"), thrown.getMessage());
        assertFalse(thrown.getMessage().contains(SECRET), thrown.getMessage());
    }

    @Test
    void reusesASession() throws Exception {
        snow.logins.clear();
        agent.run(task("select"));
        agent.run(task("kinds"));
        assertEquals(1, snow.logins.size());
    }

    /** Without a key nothing is asked before the query, by which the driver would learn that its session is over. */
    @Test
    void opensAnotherSessionWhenOneHasExpired() throws Exception {
        snow.expired = query(agent.create(task("select"))).session;
        snow.logins.clear();
        TestJob job = agent.create(task("select"));
        assertNotEquals(snow.expired, query(job).session);
        assertEquals(1, query(job).requests.size());
        assertEquals(1, snow.logins.size());
    }

    @Test
    void triesAgainWhenSnowflakeIsBusy() throws Exception {
        agent.create(task("kinds"));
        snow.unavailable.set(1);
        TestJob job = agent.create(task("kinds"));
        assertEquals("SUCCEEDED", job.await().phase());
    }

    /** The driver's own first pause is one second. */
    @ParameterizedTest
    @CsvSource({"true, a login", "false, a query"})
    void waitsAsLongAsItIsTold(boolean first, String about) throws Exception {
        if (!first) {
            agent.create(task("kinds"));
        }
        snow.retryAfter = "3";
        snow.unavailable.set(1);
        long start = System.nanoTime();
        TestJob job = agent.create(task("kinds").idempotencyKey("told-" + first));
        Duration waited = Duration.ofNanos(System.nanoTime() - start);
        assertEquals(0, snow.unavailable.get());
        assertTrue(waited.compareTo(Duration.ofSeconds(3)) >= 0, () -> "%s came again after %s".formatted(about, waited));
        assertEquals("SUCCEEDED", job.await().phase());
    }

    @Test
    void namesMissingSettings() throws Exception {
        assertFails("lacks database, schema, warehouse", TestTask.of("snowflake").sql("select 1").config("user", "u").config("account", "a"));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{\"url\": \"ftp://x\"} url", "{\"max_sessions\": 0} max_sessions", "{\"authenticator\": \"magic\"} authenticator",
        "{\"credentials\": [{\"user\": \"u\"}]} credentials[0].secret", "{\"accout\": \"a\"} accout",
        "{\"credentials\": [{\"project\": \"p\", \"secret\": \"s\"}]} credentials[0].user",
    })
    void namesWhatIsWrongInTheConfig(String given) throws Exception {
        int space = given.lastIndexOf(' ');
        try (AgentTest other = AgentTest.of(Main.plugin())) {
            List<ConfigError> errors = other.configErrors(JSON.readValue(given.substring(0, space), Map.class));
            assertEquals(List.of(given.substring(space + 1)), errors.stream().map(ConfigError::key).toList(), errors.toString());
        }
    }
}
