package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.agenthost.plugin.v1.DescribeResponse;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What an agent that finds jobs by their key promises the host. */
class FinderTest {
    private static final String ABANDONED = "abandoned";

    /** Has its jobs by the attempts' keys. */
    static class Deaf implements AsyncAgent<String> {
        final Map<String, String> jobs = new ConcurrentHashMap<>();

        @Override
        public String create(Task task) {
            String job = jobs.computeIfAbsent(task.idempotencyKey(), key -> "job of " + key);
            if (job.equals(ABANDONED)) {
                throw AgentException.abandoned("no job is made for it any more");
            }
            return job;
        }

        @Override
        public Resource get(Job<String> job) {
            throw new AssertionError("nobody polls it");
        }

        @Override
        public void delete(Job<String> job) {}
    }

    static final class Ledger extends Deaf implements Finder<String> {
        @Override
        public String find(Task task) {
            String job = jobs.get(task.idempotencyKey());
            if (job == null) {
                throw AgentException.notFound("no job has this key");
            } else if (job.equals(ABANDONED)) {
                throw AgentException.abandoned("it was given up");
            }
            return job;
        }

        @Override
        public void abandon(Task task) {
            jobs.put(task.idempotencyKey(), ABANDONED);
        }
    }

    private static TestTask attempt() {
        return TestTask.of("ledger").idempotencyKey("a");
    }

    private static void assertRefused(Status.Code code, Executable call) {
        assertEquals(code, assertThrows(StatusRuntimeException.class, call).getStatus().getCode());
    }

    @Test
    void aFinderAnswersForTheAttemptAndMakesNothing() throws Exception {
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").async("ledger", new Ledger()))) {
            assertEquals(List.of("find_by_key"), test.describe().getCapabilitiesList());
            for (int i = 0; i < 2; i++) {
                assertRefused(Status.Code.NOT_FOUND, () -> test.find(attempt()));
            }
            byte[] made = test.create(attempt()).meta();
            assertArrayEquals(made, test.find(attempt()).meta());
            for (int i = 0; i < 2; i++) {
                test.abandon(attempt());
                assertRefused(Status.Code.ABORTED, () -> test.find(attempt()));
                assertRefused(Status.Code.ABORTED, () -> test.create(attempt()));
            }
        }
    }

    @Test
    void anAgentThatCannotFindSaysSoAndMakesNothing() throws Exception {
        Deaf deaf = new Deaf();
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").async("ledger", deaf))) {
            assertEquals(List.of(), test.describe().getCapabilitiesList());
            assertRefused(Status.Code.UNIMPLEMENTED, () -> test.find(attempt()));
            assertRefused(Status.Code.UNIMPLEMENTED, () -> test.abandon(attempt()));
            assertEquals(Map.of(), deaf.jobs);
        }
    }

    @Test
    void whatOneAgentPromisesStandsTogether() throws Exception {
        Plugin plugin = Plugin.named("p", "1").async("deaf", new Deaf()).async("ledger", new Ledger(), new Registration().idempotentCreate());
        try (AgentTest test = AgentTest.of(plugin)) {
            DescribeResponse said = test.describe();
            assertEquals(List.of(), said.getCapabilitiesList());
            assertEquals(List.of("ledger"), said.getCategoryCapabilitiesList().stream().map(one -> one.getName()).toList());
            assertEquals(List.of("idempotent_create", "find_by_key"), said.getCategoryCapabilities(0).getCapabilitiesList());
        }
    }
}
