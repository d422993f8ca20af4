package io.agenthost.snowflake;

import io.grpc.Context;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs calls of the driver on threads of its own, and stops waiting for them in time: the driver's own timeouts are coarse,
 * and it does not heed interruption while it reads.
 */
final class Bounded implements AutoCloseable {
    private static final long MARGIN_MILLIS = 200; // For the answer's way back to the caller.

    private final ExecutorService threads = Executors.newCachedThreadPool(Bounded::daemon);
    private final Duration most;

    Bounded(Duration most) {
        this.most = most;
    }

    static Thread daemon(Runnable work) {
        Thread thread = new Thread(work, "snowflake");
        thread.setDaemon(true);
        return thread;
    }

    /** The call's result, or nothing when there is none in time. */
    <T> Optional<T> run(Callable<T> call) throws Exception {
        Future<T> running = threads.submit(call);
        try {
            T result = running.get(Math.max(1, limit()), TimeUnit.MILLISECONDS);
            return Optional.ofNullable(result);
        } catch (TimeoutException e) {
            return Optional.empty();
        } catch (ExecutionException e) {
            throw e.getCause() instanceof Exception cause ? cause : e;
        }
    }

    private long limit() {
        var deadline = Context.current().getDeadline();
        return deadline == null ? most.toMillis() : Math.min(most.toMillis(), deadline.timeRemaining(TimeUnit.MILLISECONDS) - MARGIN_MILLIS);
    }

    @Override
    public void close() {
        threads.shutdownNow();
    }
}
