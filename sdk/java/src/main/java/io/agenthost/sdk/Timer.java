package io.agenthost.sdk;

import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Ends calls whose time is over. What is due before all else wakes the timer's thread, which each of many short calls would do that come one
 * by one. So there is something due before them, once a second while there are calls.
 */
final class Timer extends ScheduledThreadPoolExecutor {
    private final AtomicBoolean ticks = new AtomicBoolean();

    Timer(ThreadFactory threads) {
        super(1, threads);
        setRemoveOnCancelPolicy(true);
    }

    @Override
    public ScheduledFuture<?> schedule(Runnable command, long delay, TimeUnit unit) {
        if (ticks.compareAndSet(false, true)) {
            super.schedule(() -> ticks.set(false), 1, TimeUnit.SECONDS);
        }
        return super.schedule(command, delay, unit);
    }
}
