package io.agenthost.sdk;

import io.grpc.Deadline;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import sun.misc.Signal;
import sun.misc.SignalHandler;

/** The orderly end of a plugin's process: when the host asks for it, at SIGTERM, and when the host is gone. */
final class Ending {
    private static final Logger LOG = LoggerFactory.getLogger(Ending.class);
    /** How long a plugin takes at most, from being asked to stop, for its calls in flight and its agents' close. */
    private static final Duration STOP_GRACE = Duration.ofSeconds(5);
    /** How long it then takes at most for the last answers to leave. */
    private static final Duration ANSWER_GRACE = Duration.ofSeconds(1);

    private final Listener listener;
    private final AtomicBoolean begun = new AtomicBoolean();
    private final CountDownLatch closed = new CountDownLatch(1);

    Ending(Listener listener) {
        this.listener = listener;
        listener.control().onShutdown(this::end);
    }

    /** Ends the plugin at SIGTERM and at the death of its parent; leaves SIGINT, which a terminal sends to all, to the host. */
    void onTerminate() {
        Signal.handle(new Signal("INT"), SignalHandler.SIG_IGN);
        Signal.handle(new Signal("TERM"), signal -> end(null));
        ProcessHandle.current().parent().ifPresent(parent -> parent.onExit().thenRun(() -> end(null)));
    }

    /**
     * Closes the agents, within the grace or within four fifths of what the caller waits if that is less, so that the
     * answer still reaches it.
     */
    private void end(Deadline deadline) {
        if (!begun.compareAndSet(false, true)) {
            return;
        }
        Duration grace = STOP_GRACE;
        if (deadline != null) {
            Duration maxWait = Duration.ofNanos(deadline.timeRemaining(TimeUnit.NANOSECONDS)).multipliedBy(4).dividedBy(5);
            grace = maxWait.compareTo(grace) < 0 ? maxWait : grace;
        }
        for (String failure : listener.services().close(grace)) {
            LOG.error("the plugin did not stop cleanly: {}", failure);
        }
        closed.countDown();
    }

    /** Waits until the plugin has ended. */
    void await() throws InterruptedException {
        closed.await();
        listener.stop(ANSWER_GRACE.toMillis(), TimeUnit.MILLISECONDS);
    }
}
