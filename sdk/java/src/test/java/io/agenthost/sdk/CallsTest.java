package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;

/** How calls begin, end and are given up. */
class CallsTest {
    @Test
    void aCallerWhoGivesUpInterruptsTheCall() throws Exception {
        BlockingQueue<Throwable> thrown = new LinkedBlockingQueue<>();
        SyncAgent endless = task -> {
            try {
                new CountDownLatch(1).await();
            } catch (InterruptedException e) {
                thrown.add(e);
                throw e;
            }
            return Resource.succeeded();
        };
        SyncAgent next = task -> Resource.succeeded(java.util.Map.of("interrupted", Thread.interrupted()));
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("endless", endless).sync("next", next))) {
            StatusRuntimeException late = assertThrows(StatusRuntimeException.class,
                    () -> test.patience(Duration.ofMillis(50)).execute(TestTask.of("endless")));
            assertEquals(Status.Code.DEADLINE_EXCEEDED, late.getStatus().getCode());
            assertTrue(thrown.take() instanceof InterruptedException);
            assertFalse(test.execute(TestTask.of("next")).output("interrupted", Boolean.class), "a later call on the thread was interrupted");
        }
    }

    static final class Closing implements SyncAgent, AutoCloseable {
        private final String name;
        private final List<String> closed;

        Closing(String name, List<String> closed) {
            this.name = name;
            this.closed = closed;
        }

        @Override
        public Resource execute(Task task) {
            return Resource.succeeded();
        }

        @Override
        public void close() {
            closed.add(name);
            if (name.equals("b")) {
                throw new IllegalStateException("b does not close");
            }
        }
    }

    @Test
    void agentsAreClosedOnceTheLastFirstWhateverOneThrows() throws Exception {
        List<String> closed = Collections.synchronizedList(new ArrayList<>());
        Closing a = new Closing("a", closed);
        AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("a", a).sync("a2", a).sync("b", new Closing("b", closed)).onClose(() -> closed.add("c")));
        IllegalStateException failure = assertThrows(IllegalStateException.class, test::close);
        assertEquals(List.of("c", "b", "a"), closed);
        assertTrue(failure.getMessage().contains("b does not close"), failure.getMessage());
    }

    @Test
    void aLongMessageIsCutInTheMiddle() throws Exception {
        SyncAgent wordy = task -> {
            throw AgentException.unavailable("head" + "x".repeat(100_000) + "tail");
        };
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("wordy", wordy))) {
            String said = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("wordy"))).getStatus().getDescription();
            assertTrue(said.length() < 5_000 && said.contains("head") && said.endsWith("tail"), said);
        }
    }

    @Test
    void aSyncAgentMustEndTheTask() throws Exception {
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("s", task -> Resource.running("")).sync("n", task -> null))) {
            Status unfinished = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("s"))).getStatus();
            assertEquals(Status.Code.FAILED_PRECONDITION, unfinished.getCode());
            assertTrue(unfinished.getDescription().contains("terminal phase, not RUNNING"), unfinished.getDescription());
            Status nothing = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("n"))).getStatus();
            assertTrue(nothing.getDescription().contains("null instead of a resource"), nothing.getDescription());
        }
    }
}
