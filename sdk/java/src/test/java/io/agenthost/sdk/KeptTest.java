package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonProperty;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What an agent gives away to be kept: metadata, outputs and custom info. What cannot be kept is refused at once, by name. */
class KeptTest {
    /** Returns what it is given. */
    private abstract static class Returning<M> implements AsyncAgent<M> {
        private final M meta;

        Returning(M meta) {
            this.meta = meta;
        }

        @Override
        public M create(Task task) {
            return meta;
        }

        @Override
        public Resource get(Job<M> job) {
            return Resource.succeeded();
        }

        @Override
        public void delete(Job<M> job) {}
    }

    /** As Kotlin compiles a data class: getters, and one constructor, whose parameters Jackson cannot name. */
    static final class DataClass {
        private final String id;

        DataClass(String id) {
            this.id = id;
        }

        public String getId() {
            return id;
        }
    }

    static final class WithoutGetters {
        private final String id = "7";
    }

    static final class HalfRead {
        @JsonProperty(access = JsonProperty.Access.READ_ONLY)
        public String id = "";

        static HalfRead of(String id) {
            HalfRead made = new HalfRead();
            made.id = id;
            return made;
        }
    }

    record Holding(String id, Thread worker) {}

    record Hiding(String id, Secret token) {}

    record Whole(String id, Instant at, Optional<String> region, List<Double> ratios, Map<String, Integer> counts, Set<String> names, int none) {}

    static final class Created {
        private final String id;

        @JsonCreator
        Created(@JsonProperty("id") String id) {
            this.id = id;
        }

        public String getId() {
            return id;
        }

        /** Differs each time that it is asked. */
        public long getAge() {
            return System.nanoTime();
        }
    }

    private static Status refusal(AsyncAgent<?> agent) throws Exception {
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").async("kept", agent))) {
            return assertThrows(StatusRuntimeException.class, () -> test.create(TestTask.of("kept"))).getStatus();
        }
    }

    static List<List<?>> badMetadata() {
        return List.of(
                List.of(new Returning<Whole>(null) {}, "it returned null", "Whole"),
                List.of(new Returning<>(new DataClass("7")) {}, "KeptTest$DataClass", "cannot be read", "Kotlin data class with jackson-module-kotlin"),
                List.of(new Returning<>(new WithoutGetters()) {}, "KeptTest$WithoutGetters", "getters"),
                List.of(new Returning<>(HalfRead.of("7")) {}, "KeptTest$HalfRead", "loses id"),
                List.of(new Returning<>(new Holding("7", Thread.currentThread())) {}, "worker", "a Java Thread is no value"),
                List.of(new Returning<>(new Hiding("7", Secret.hiding("hunter2"))) {}, "token", "a secret cannot be written"));
    }

    @ParameterizedTest
    @MethodSource("badMetadata")
    void metadataThatCannotBeReadAgainIsRefusedAtCreation(List<?> row) throws Exception {
        Status status = refusal((AsyncAgent<?>) row.get(0));
        assertEquals(Status.Code.INTERNAL, status.getCode());
        String said = status.getDescription();
        assertTrue(said.startsWith("agent kept: Create: ") && !said.contains("hunter2"), said);
        for (Object want : row.subList(1, row.size())) {
            assertTrue(said.contains((String) want), said);
        }
    }

    static List<AsyncAgent<?>> goodMetadata() {
        return List.of(
                new Returning<>(new Whole("7", Instant.EPOCH, Optional.empty(), List.of(0.1, 3.0), Map.of("a", 1), Set.of("a", "b", "c"), 0)) {},
                new Returning<>(new Created("7")) {},
                new Returning<>("just an id") {},
                new Returning<>(Map.of("id", 7)) {});
    }

    @ParameterizedTest
    @MethodSource("goodMetadata")
    void metadataThatCanBeReadIsTaken(AsyncAgent<?> agent) throws Exception {
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").async("kept", agent))) {
            assertEquals("SUCCEEDED", test.run(TestTask.of("kept")).phase());
        }
    }

    /** Writes what it cannot read. */
    static final class BadCodec extends Returning<String> implements MetaCodec<String> {
        private final byte[] written;

        BadCodec(byte[] written) {
            super("7");
            this.written = written;
        }

        @Override
        public byte[] encodeMeta(String meta) {
            return written;
        }

        @Override
        public String decodeMeta(byte[] data) {
            throw new IllegalArgumentException("no magic number");
        }
    }

    @Test
    void aCodecThatCannotReadWhatItWroteIsRefused() throws Exception {
        assertTrue(refusal(new BadCodec("7".getBytes(StandardCharsets.UTF_8))).getDescription().contains("no magic number"));
        assertTrue(refusal(new BadCodec(null)).getDescription().contains("encodeMeta returned null"));
    }

    /** Values with getters only, as libraries make them. */
    static final class Getters {
        public String getName() {
            return "Ada";
        }
    }

    static List<Object> noValues() throws Exception {
        Runnable lambda = () -> {};
        List<Object> itself = new ArrayList<>();
        itself.add(itself);
        return List.of(new Thread(), lambda, new Object(), CompletableFuture.completedFuture(1), new ReentrantLock(), new IllegalStateException("x"),
                ProcessHandle.current(), new WithoutGetters(), List.of(new Thread()), Map.of("a", new Holding("1", new Thread())), itself);
    }

    @ParameterizedTest
    @MethodSource("noValues")
    void anOutputThatIsNoValueIsRefusedByItsName(Object value) throws Exception {
        SyncAgent agent = task -> Resource.succeeded(Map.of("result", value));
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("kept", agent))) {
            String said = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("kept"))).getStatus().getDescription();
            assertTrue(said.contains("output result") && said.contains("a Java "), said);
        }
    }

    @Test
    void anOutputThatIsAnObjectOfGettersIsTaken() throws Exception {
        SyncAgent agent = task -> Resource.succeeded(Map.of("result", new Getters()));
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("kept", agent))) {
            assertEquals(Map.of("name", "Ada"), test.execute(TestTask.of("kept")).output("result", Object.class));
        }
    }

    @Test
    void customInfoThatIsNoValueIsRefusedByItsKey() throws Exception {
        SyncAgent agent = task -> Resource.succeeded().withInfo("worker", new Thread());
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("kept", agent))) {
            String said = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("kept"))).getStatus().getDescription();
            assertTrue(said.contains("custom info.worker: a Java Thread is no value"), said);
        }
    }

    record Configured(String region) {
        Configured {
            Secret.of("no_such_secret");
        }
    }

    @Test
    void aMissingSecretHasOneCodeWhereverItIsAskedFor() throws Exception {
        SyncAgent agent = task -> {
            switch (task.input("where", String.class)) {
                case "inputs" -> task.inputs(Configured.class);
                case "future" -> CompletableFuture.supplyAsync(() -> Secret.of("no_such_secret")).get();
                default -> task.secret("no_such_secret");
            }
            return Resource.succeeded();
        };
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("kept", agent).configure(Configured.class, config -> {}))) {
            Status configuring = assertThrows(StatusRuntimeException.class, () -> test.configure(Map.of())).getStatus();
            assertEquals(Status.Code.FAILED_PRECONDITION, configuring.getCode(), configuring.toString());
        }
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("kept", agent))) {
            for (String where : List.of("inputs", "future", "task")) {
                Status status = assertThrows(StatusRuntimeException.class,
                        () -> test.execute(TestTask.of("kept").input("where", where).input("region", "eu"))).getStatus();
                assertEquals(Status.Code.FAILED_PRECONDITION, status.getCode(), status.toString());
                assertTrue(status.getDescription().contains("there is no secret \"no_such_secret\""), status.toString());
            }
        }
    }
}
