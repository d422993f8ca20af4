package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.SimpleType;
import io.agenthost.plugin.v1.DescribeResponse;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** What the SDK promises to authors of agents, in process. */
class AgentsTest {
    record Count(long n, String key) {}

    record Custom(String fail) {}

    /** Does what its task's custom part says. */
    static final class Counter implements AsyncAgent<Count> {
        final AtomicInteger closed = new AtomicInteger();

        @Override
        public Count create(Task task) throws Exception {
            long n = task.input("n", Long.class);
            String fail = task.custom(Custom.class).fail();
            if ("runtime".equals(fail)) {
                throw new IllegalStateException("out of order");
            } else if ("io".equals(fail)) {
                throw new java.io.IOException("the disk is full");
            } else if ("unavailable".equals(fail)) {
                throw AgentException.unavailable("the warehouse is closed");
            } else if ("error".equals(fail)) {
                throw new StackOverflowError("too deep");
            }
            return new Count(n, task.idempotencyKey());
        }

        @Override
        public Resource get(Job<Count> job) {
            long n = job.meta().n();
            if (n == 0) {
                return Resource.running("at it");
            }
            if (n < 0) {
                return Resource.retryableFailed("no more slots").withUserError("Quota");
            }
            return Resource.succeeded(Map.of("doubled", 2 * n)).withLink("Console", "https://example.com/1").withInfo("key", job.meta().key());
        }

        @Override
        public void delete(Job<Count> job) {
            if (job.meta().n() == 404) {
                throw AgentException.notFound("no such count");
            }
        }

        @Override
        public void logs(Job<Count> job, LogQuery query, LogStream out) throws InterruptedException {
            out.send(List.of(new LogLine("line 0"), new LogLine("line 1")));
            out.send(List.of(new LogLine("line 2")));
            out.nextToken("3");
        }
    }

    static final class Echo implements SyncAgent {
        @Override
        public Resource execute(Task task) {
            return "unfinished".equals(task.custom(Custom.class).fail()) ? Resource.running("not yet") : Resource.succeeded(task.inputs());
        }
    }

    private static Plugin plugin() {
        return Plugin.named("test", "1.2.3")
                .async("count", new Counter(), new Registration().also(new Category("count", 2)))
                .sync("echo", new Echo());
    }

    private static LiteralType simple(SimpleType type) {
        return LiteralType.newBuilder().setSimple(type).build();
    }

    private static StatusRuntimeException refused(org.junit.jupiter.api.function.Executable call) {
        return assertThrows(StatusRuntimeException.class, call);
    }

    @Test
    void aJobIsCreatedPolledAndDeleted() throws Exception {
        String key = "a".repeat(64);
        try (AgentTest test = AgentTest.of(plugin())) {
            TestJob job = test.create(TestTask.of("count").version(1).input("n", 21).idempotencyKey(key));
            assertEquals("{\"n\":21,\"key\":\"" + key + "\"}", new String(job.meta(), StandardCharsets.UTF_8));
            TestResult result = job.await();
            assertEquals(42L, result.output("doubled", Long.class));
            assertEquals(Map.of("Console", "https://example.com/1"), result.links());
            job.delete();
        }
    }

    @Test
    void metadataOfOtherVersionsIsRead() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            byte[] newer = "{\"n\": 2, \"field_of_tomorrow\": [1]}".getBytes(StandardCharsets.UTF_8);
            assertEquals(4L, test.job(new Category("count", 0), newer).get().output("doubled", Long.class));
            byte[] foreign = {(byte) 0x80, 4, 'p'};
            StatusRuntimeException refused = refused(() -> test.job(new Category("count", 0), foreign).get());
            assertEquals(Status.Code.INVALID_ARGUMENT, refused.getStatus().getCode());
        }
    }

    @Test
    void errorsKeepTheirCodeAndNameTheAgent() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            for (List<?> one : List.of(
                    List.of("runtime", Status.Code.INTERNAL, "out of order"),
                    List.of("io", Status.Code.INTERNAL, "the disk is full"),
                    List.of("error", Status.Code.INTERNAL, "too deep"),
                    List.of("unavailable", Status.Code.UNAVAILABLE, "the warehouse is closed"))) {
                Status status = refused(() -> test.create(TestTask.of("count").input("n", 1).custom(Map.of("fail", one.get(0))))).getStatus();
                assertEquals(one.get(1), status.getCode(), status.toString());
                assertTrue(status.getDescription().contains("count") && status.getDescription().contains((String) one.get(2)), status.toString());
                boolean placed = status.getDescription().matches("[^\\n]* \\(AgentsTest\\.java:[0-9]+\\)"); // one place, not a stack
                assertEquals(one.get(1) == Status.Code.INTERNAL, placed, status.toString());
            }
            byte[] gone = "{\"n\": 404}".getBytes(StandardCharsets.UTF_8);
            assertEquals(Status.Code.NOT_FOUND, refused(() -> test.job(new Category("count", 0), gone).delete()).getStatus().getCode());
        }
    }

    @Test
    void anAgentsPromiseHoldsForItsCategoriesAndThatOfAllAgentsForThePlugin() throws Exception {
        Registration promising = new Registration().also(new Category("count", 2)).idempotentCreate();
        Plugin mixed = Plugin.named("p", "1").async("count", new Counter(), promising).async("other", new Counter());
        assertEquals(List.of(List.of(), List.of("count/0", "count/2")), promises(mixed));
        Plugin all = Plugin.named("p", "1").async("count", new Counter(), promising).sync("echo", new Echo());
        assertEquals(List.of(List.of("idempotent_create"), List.of()), promises(all));
        Plugin whole = Plugin.named("p", "1").async("count", new Counter(), promising).async("other", new Counter()).idempotentCreate();
        assertEquals(List.of(List.of("idempotent_create"), List.of()), promises(whole));
        assertEquals(List.of(List.of(), List.of()), promises(Plugin.named("p", "1").async("count", new Counter())));
    }

    /** What Describe promises for the plugin, and for which single categories. */
    private static List<List<String>> promises(Plugin plugin) throws Exception {
        try (AgentTest test = AgentTest.of(plugin)) {
            DescribeResponse said = test.describe();
            said.getCategoryCapabilitiesList().forEach(promised -> assertEquals(List.of("idempotent_create"), promised.getCapabilitiesList()));
            return List.of(said.getCapabilitiesList().stream().toList(),
                    said.getCategoryCapabilitiesList().stream().map(promised -> promised.getName() + "/" + promised.getVersion()).toList());
        }
    }

    record Limits(int maxRows, double ratio) {}

    @Test
    void theCustomPartIsReadAsARecord() throws Exception {
        SyncAgent agent = task -> {
            Limits limits = task.custom(Limits.class);
            return Resource.succeeded(Map.of("max_rows", limits.maxRows(), "ratio", limits.ratio()));
        };
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("limits", agent))) {
            // All numbers of a custom part are floats on the wire.
            TestResult result = test.run(TestTask.of("limits").custom(Map.of("max_rows", 3, "ratio", 2, "unknown", true)));
            assertEquals(3L, result.output("max_rows", Long.class));
            assertEquals(2.0, result.output("ratio", Double.class));
            StatusRuntimeException wrong = refused(() -> test.run(TestTask.of("limits").custom(Map.of("max_rows", "three", "ratio", 2))));
            assertEquals(Status.Code.INVALID_ARGUMENT, wrong.getStatus().getCode());
            assertTrue(wrong.getMessage().contains("the custom part of the limits template does not fit: .max_rows"), wrong.getMessage());
        }
    }

    @Test
    void anInputThatDoesNotFitIsNamed() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            Status missing = refused(() -> test.create(TestTask.of("count"))).getStatus();
            assertEquals(Status.Code.INVALID_ARGUMENT, missing.getCode());
            assertTrue(missing.getDescription().contains("input \"n\""), missing.getDescription());
            Status wrong = refused(() -> test.create(TestTask.of("count").input("n", "many"))).getStatus();
            assertEquals(Status.Code.INVALID_ARGUMENT, wrong.getCode());
            assertTrue(wrong.getDescription().contains("input \"n\""), wrong.getDescription());
        }
    }

    @Test
    void aFailureHasItsCode() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            TestResult result = test.run(TestTask.of("count").input("n", -1));
            assertEquals("RETRYABLE_FAILED", result.phase());
            assertEquals("Quota", result.code());
        }
    }

    @Test
    void logsStreamLineByLine() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            assertEquals(List.of("line 0", "line 1", "line 2"), test.create(TestTask.of("count").input("n", 1)).logs());
        }
    }

    @Test
    void aSyncAgentAnswersInTheDeclaredTypes() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            TestResult result = test.execute(TestTask.of("echo").input("x", 1).output("x", simple(SimpleType.FLOAT)));
            assertEquals(1.0, result.output("x", Double.class));
            refused(() -> test.execute(TestTask.of("echo").input("x", "a").output("x", simple(SimpleType.INTEGER))));
        }
    }

    @Test
    void aCallOfTheWrongKindSaysWhichIsRight() throws Exception {
        try (AgentTest test = AgentTest.of(plugin())) {
            Status unknown = refused(() -> test.create(TestTask.of("nothing"))).getStatus();
            assertEquals(Status.Code.NOT_FOUND, unknown.getCode());
            assertTrue(unknown.getDescription().contains("nothing"), unknown.getDescription());
            Status sync = refused(() -> test.create(TestTask.of("echo"))).getStatus();
            assertTrue(sync.getDescription().contains("ExecuteTaskSync"), sync.getDescription());
            Status async = refused(() -> test.execute(TestTask.of("count"))).getStatus();
            assertTrue(async.getDescription().contains("CreateTask"), async.getDescription());
        }
    }

    /** What the plugin is told. */
    record Config(@JsonPropertyDescription("Where queries run.") String region, Integer limit) {}

    @Test
    void aConfigurationIsCheckedKeyByKeyBeforeTasksCome() throws Exception {
        Plugin plugin = plugin().configure(Config.class, config -> {
            if (!"eu".equals(config.region())) {
                throw new ConfigException("region", "must be eu");
            }
        });
        try (AgentTest test = AgentTest.of(plugin)) {
            List<ConfigError> errors = test.configErrors(Map.of("regoin", "eu", "limit", "many"));
            assertTrue(errors.stream().anyMatch(e -> e.key().equals("regoin") && e.message().contains("region")), errors.toString());
            assertTrue(errors.stream().anyMatch(e -> e.key().equals("limit")), errors.toString());
            assertEquals(List.of(new ConfigError("region", "must be eu")), test.configErrors(Map.of("region", "us")));
            test.configure(Map.of("region", "eu"));
            test.create(TestTask.of("count").input("n", 1));
            assertTrue(test.describe().getConfigSchema().contains("Where queries run."));
        }
    }

    @Test
    void aCallThatBlocksHoldsUpNoOther() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        SyncAgent slow = task -> {
            release.await();
            return Resource.succeeded();
        };
        try (AgentTest test = AgentTest.of(plugin().sync("slow", slow))) {
            List<Thread> callers = java.util.stream.IntStream.range(0, 50).mapToObj(i -> new Thread(() -> {
                try {
                    test.execute(TestTask.of("slow"));
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            })).toList();
            callers.forEach(Thread::start);
            assertEquals(42L, test.run(TestTask.of("count").input("n", 21)).output("doubled", Long.class));
            release.countDown();
            for (Thread caller : callers) {
                caller.join();
            }
        }
    }

    @Test
    void aSecretDoesNotPrint() {
        assertEquals("[secret]", Secret.hiding("hunter2").toString());
        assertEquals("hunter2", Secret.hiding("hunter2").reveal());
        assertArrayEquals(new String[] {"[secret]"}, new String[] {String.valueOf(Secret.hiding("x"))});
    }

    /** As Kotlin's data classes are to Jackson with its module: a creator whose parameters say whether they must be given. */
    static final class Wanted {
        private final long n;
        private final List<Instant> times;
        private final String region;

        @JsonCreator
        Wanted(@JsonProperty(value = "n", required = true) long n, @JsonProperty(value = "times", required = true) List<Instant> times,
                @JsonProperty("region") String region) {
            this.n = n;
            this.times = times;
            this.region = region == null ? "eu" : region;
        }
    }

    @Test
    void allInputsAreReadIntoAClassThatJacksonMakes() throws Exception {
        SyncAgent agent = task -> {
            Wanted wanted = task.inputs(Wanted.class);
            return Resource.succeeded(Map.of("n", wanted.n, "times", wanted.times, "region", wanted.region));
        };
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("s", agent))) {
            TestResult result = test.run(TestTask.of("s").input("n", 3).input("times", List.of(Instant.EPOCH)));
            assertEquals(List.of(3L, "eu"), List.of(result.output("n", Long.class), result.output("region", String.class)));
            assertEquals(List.of(Instant.EPOCH), result.output("times", Object.class));
            Status wrong = refused(() -> test.run(TestTask.of("s").input("n", "three"))).getStatus();
            assertEquals(Status.Code.INVALID_ARGUMENT, wrong.getCode());
            assertTrue(wrong.getDescription().contains("input \"n\"") && wrong.getDescription().contains("input \"times\" is missing"), wrong.toString());
        }
    }
}
