package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** An attempt's query is found, and an attempt given up, by a process that did not start the query. */
class FindTest extends OnFakesnow {
    private AgentTest one;
    private AgentTest other;

    @BeforeEach
    void plugins() throws Exception {
        one = plugin();
        other = plugin();
    }

    @AfterEach
    void close() throws Exception {
        snow.held = null;
        snow.unlisted = false;
        one.close();
        other.close();
    }

    private static AgentTest plugin() throws Exception {
        return AgentTest.of(Main.plugin()).configure(Map.of("url", snow.url(), "call_timeout", "60s"));
    }

    private static TestTask attempt(String key) throws Exception {
        return Tasks.of(folder, "select").sql("select 1").secret("snowflake_private_key", keys.plain()).idempotencyKey(key);
    }

    private static void assertRefused(Status.Code code, Executable call) {
        assertEquals(code, assertThrows(StatusRuntimeException.class, call).getStatus().getCode());
    }

    private static void assertAbandoned(AgentTest agent, String key) throws Exception {
        TestTask attempt = attempt(key);
        assertRefused(Status.Code.ABORTED, () -> agent.find(attempt));
        assertRefused(Status.Code.ABORTED, () -> agent.create(attempt));
    }

    private List<Snow.Query> queries(String key) {
        return snow.queries.values().stream().filter(query -> query.tag.equals("agenthost-" + key)).toList();
    }

    @Test
    void findsTheQueryOfAnAttemptAndStartsNone() throws Exception {
        TestTask attempt = attempt("found");
        assertRefused(Status.Code.NOT_FOUND, () -> one.find(attempt));
        assertEquals(List.of(), queries("found"));
        byte[] made = one.create(attempt).meta();
        assertArrayEquals(made, one.find(attempt).meta());
        assertArrayEquals(made, other.find(attempt).meta());
        assertEquals(1, queries("found").size());
    }

    @Test
    void startsNoQueryOfAnAbandonedAttempt() throws Exception {
        for (int i = 0; i < 2; i++) {
            one.abandon(attempt("early"));
            assertAbandoned(one, "early");
            assertAbandoned(other, "early");
        }
        assertEquals(List.of(), queries("early"));
    }

    @Test
    void cancelsTheQueryOfAnAbandonedAttempt() throws Exception {
        snow.held = "RUNNING";
        TestJob job = one.create(attempt("late"));
        other.abandon(attempt("late"));
        assertEquals("ABORTED", job.get().phase());
        assertAbandoned(one, "late");
        assertAbandoned(other, "late");
        assertEquals(1, queries("late").size());
    }

    @Test
    void remembersThatAnAttemptWithAFinishedQueryWasAbandoned() throws Exception {
        one.create(attempt("done")).await();
        other.abandon(attempt("done"));
        assertEquals(List.of("SUCCESS"), queries("done").stream().map(query -> query.status).toList());
        assertAbandoned(one, "done");
    }

    /** As does one that read the history before another process abandoned the attempt, and starts its query after that. */
    @Test
    void aCreationThatTheHistoryTellsNothingLosesToTheAbandonment() throws Exception {
        one.abandon(attempt("lost"));
        snow.unlisted = true;
        assertRefused(Status.Code.ABORTED, () -> other.create(attempt("lost")));
        assertEquals(List.of(), queries("lost"));
    }

    /** The other way round: the query is there, and the history does not list it yet. */
    @Test
    @Timeout(60)
    void anAbandonmentCancelsAQueryThatIsNotListedYet() throws Exception {
        snow.held = "RUNNING";
        snow.unlisted = true;
        TestTask attempt = attempt("unlisted-late");
        TestJob job = one.create(attempt);
        CompletableFuture<Void> abandoning = CompletableFuture.runAsync(() -> other.abandon(attempt));
        while (!job.get().phase().equals("ABORTED")) {
            Thread.sleep(20);
        }
        assertFalse(abandoning.isDone(), "the history does not say so yet");
        snow.unlisted = false;
        abandoning.get();
        assertAbandoned(one, "unlisted-late");
    }
}
