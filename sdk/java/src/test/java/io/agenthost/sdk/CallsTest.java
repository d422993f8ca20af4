package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** How calls begin, end and are given up. */
class CallsTest {
    @Test
    void aCallerWhoGivesUpInterruptsTheCall() throws Exception {
        CountDownLatch begun = new CountDownLatch(1);
        CompletableFuture<String> ended = new CompletableFuture<>();
        SyncAgent endless = task -> {
            begun.countDown();
            try {
                new CountDownLatch(1).await();
            } catch (InterruptedException e) {
                ended.complete("interrupted");
                throw e;
            }
            return Resource.succeeded();
        };
        SyncAgent next = task -> Resource.succeeded(Map.of("interrupted", Thread.interrupted()));
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("endless", endless).sync("next", next));
                Context.CancellableContext caller = Context.current().withCancellation()) {
            CompletableFuture<Status.Code> answer = new CompletableFuture<>();
            Runnable call = () -> {
                StatusRuntimeException ending = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("endless")));
                answer.complete(ending.getStatus().getCode());
            };
            new Thread(caller.wrap(call)).start();
            begun.await();
            caller.cancel(null);
            assertEquals(Status.Code.CANCELLED, answer.get(1, TimeUnit.MINUTES));
            assertEquals("interrupted", ended.get(1, TimeUnit.MINUTES));
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

    @Test
    void aCallKnowsWhenItsCallerStopsWaiting() throws Exception {
        SyncAgent asking = task -> Resource.succeeded(Map.of("left", Duration.between(Instant.now(), task.deadline().orElseThrow()).toSeconds()));
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("asking", asking)).maxWait(Duration.ofHours(1))) {
            long left = test.execute(TestTask.of("asking")).output("left", Long.class);
            assertTrue(left > 3500 && left <= 3600, left + " s are left of an hour");
        }
    }

    @Test
    void anAgentThatBlocksForEverTakesNoMoreCallsAndTheOthersDo() throws Exception {
        CountDownLatch begun = new CountDownLatch(LeftCalls.MAX);
        CountDownLatch release = new CountDownLatch(1);
        SyncAgent deaf = task -> {
            begun.countDown();
            for (boolean released = false; !released;) {
                try {
                    release.await();
                    released = true;
                } catch (InterruptedException e) {
                    // It does not heed it.
                }
            }
            return Resource.succeeded();
        };
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("deaf", deaf).sync("other", task -> Resource.succeeded()));
                Context.CancellableContext caller = Context.current().withCancellation()) {
            Runnable call = () -> assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("deaf")));
            Stream.generate(() -> new Thread(caller.wrap(call))).limit(LeftCalls.MAX).forEach(Thread::start);
            begun.await();
            caller.cancel(null);
            while (LeftCalls.of("deaf").size() < LeftCalls.MAX) {
                Thread.onSpinWait();
            }
            Status refused = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("deaf"))).getStatus();
            assertEquals(Status.Code.UNAVAILABLE, refused.getCode());
            for (String want : List.of("agent deaf: Execute: 100 of its calls go on", "CallsTest.java", "let an interrupt end it")) {
                assertTrue(refused.getDescription().contains(want), refused.getDescription());
            }
            assertEquals("SUCCEEDED", test.execute(TestTask.of("other")).phase());
            release.countDown();
        }
        while (LeftCalls.of("deaf").size() > 0) {
            Thread.onSpinWait();
        }
    }

    @Test
    void anAgentThatDoesNotCloseKeepsNoOtherFromIt() throws Exception {
        CountDownLatch never = new CountDownLatch(1);
        List<String> closed = Collections.synchronizedList(new ArrayList<>());
        Services services = new Services(Plugin.named("p", "1").sync("a", new Closing("a", closed)).onClose(never::await));
        List<String> failures = services.close(Duration.ofSeconds(2));
        services.shutdown();
        assertEquals(List.of("a"), closed);
        assertTrue(failures.size() == 1 && failures.get(0).contains("its close takes too long"), failures.toString());
    }
}
