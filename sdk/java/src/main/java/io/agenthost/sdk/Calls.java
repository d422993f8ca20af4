package io.agenthost.sdk;

import io.grpc.Context;
import io.grpc.ForwardingServerCallListener;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/** Counts the agents' calls in flight, and refuses new ones once the plugin stops. */
final class Calls implements ServerInterceptor {
    private static final Metadata.Key<String> NOT_TAKEN = Metadata.Key.of(Contract.NOT_TAKEN_TRAILER, Metadata.ASCII_STRING_MARSHALLER);

    private final String plugin;
    private int inFlight;
    private boolean stopping;

    Calls(String plugin) {
        this.plugin = plugin;
    }

    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
        // go-plugin's own calls do not count: its stream of prints lives as long as the plugin.
        if (!call.getMethodDescriptor().getFullMethodName().startsWith("flyteidl.")) {
            return next.startCall(call, headers);
        }
        if (!begin()) {
            Metadata trailers = new Metadata();
            trailers.put(NOT_TAKEN, "1"); // tells the host that the call was not begun and can be made again elsewhere
            call.close(refusal(), trailers);
            return new ServerCall.Listener<>() {};
        }
        return new Counted<>(next.startCall(call, headers));
    }

    /** Ends a call's count when gRPC is done with it, after the agent's method has returned: listeners run one after the other. */
    private final class Counted<Q> extends ForwardingServerCallListener.SimpleForwardingServerCallListener<Q> {
        private final AtomicBoolean ended = new AtomicBoolean();

        Counted(ServerCall.Listener<Q> listener) {
            super(listener);
        }

        @Override
        public void onComplete() {
            super.onComplete();
            endOnce();
        }

        @Override
        public void onCancel() {
            super.onCancel();
            endOnce();
        }

        private void endOnce() {
            if (ended.compareAndSet(false, true)) {
                end();
            }
        }
    }

    /** When the caller of the call on this thread stops waiting. */
    static Optional<Instant> deadline() {
        return Optional.ofNullable(Context.current().getDeadline())
                .map(deadline -> Instant.now().plusNanos(deadline.timeRemaining(TimeUnit.NANOSECONDS)));
    }

    /** Counts a call in, which must be ended; not once the plugin stops. */
    synchronized boolean begin() {
        if (!stopping) {
            inFlight++;
        }
        return !stopping;
    }

    synchronized void end() {
        inFlight--;
        if (stopping) {
            notifyAll();
        }
    }

    /** What a call gets that comes once the plugin stops. */
    Status refusal() {
        return Status.UNAVAILABLE.withDescription("plugin %s is stopping".formatted(plugin));
    }

    /** Refuses new calls and waits for those in flight. Returns how many have not ended in time. */
    synchronized int drain(Duration maxWait) throws InterruptedException {
        stopping = true;
        long end = System.nanoTime() + maxWait.toNanos();
        for (long left = maxWait.toNanos(); inFlight > 0 && left > 0; left = end - System.nanoTime()) {
            TimeUnit.NANOSECONDS.timedWait(this, left);
        }
        return inFlight;
    }
}
