package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import io.grpc.ServerBuilder;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/** A plugin's services, on whatever server: that of the plugin's process, or one in the process of a test. */
final class Services {
    /** What each agent has for its close, however little is left for all of them. */
    private static final Duration MIN_CLOSE = Duration.ofMillis(50);

    private final Plugin plugin;
    private final Calls calls;
    private final ExecutorService threads = Executors.newCachedThreadPool(new CallThreads());
    private final Timer timer = new Timer(new CallThreads());
    private final AsyncService agents = new AsyncService(this);
    private final CallService streams = new CallService(this, agents);
    private boolean configured;

    Services(Plugin plugin) {
        this.plugin = plugin;
        this.calls = new Calls(plugin.name());
    }

    /** Adds the services to a server: no limit on the size of messages, and a thread for each call, which may block. */
    void addTo(ServerBuilder<?> server) {
        plugin.interceptors().forEach(server::intercept); // those added first are the innermost
        server.executor(threads).maxInboundMessageSize(Integer.MAX_VALUE).intercept(calls).intercept(new Headers())
                .addService(agents).addService(new SyncService(this))
                .addService(new MetadataService(this)).addService(new DescribeService(this));
        if (plugin.interceptors().isEmpty()) { // which would not see calls on a stream
            server.callExecutor(new CallService.OnTransport()).addService(streams.definition());
        }
    }

    Plugin plugin() {
        return plugin;
    }

    Registry registry() {
        return plugin.registry();
    }

    Calls calls() {
        return calls;
    }

    /** What calls run on. */
    Executor threads() {
        return threads;
    }

    /** What ends calls on streams whose time is over. */
    Timer timer() {
        return timer;
    }

    void execute(Runnable call) {
        threads.execute(io.grpc.Context.current().wrap(call));
    }

    /** Hands a {@code config:} block, JSON text, to the plugin. */
    synchronized List<ConfigError> configure(String block) throws StatusException {
        ObjectNode value;
        try {
            JsonNode parsed = Json.MAPPER.readTree(block.isBlank() ? "{}" : block);
            if (!(parsed instanceof ObjectNode object)) {
                return List.of(new ConfigError("", "the block must be a mapping of keys to values: it is " + ConfigSchema.kind(parsed)));
            }
            value = object;
        } catch (JsonProcessingException e) {
            return List.of(new ConfigError("", "the block must be a mapping of keys to values: " + e.getOriginalMessage()));
        }
        Configuration<?> configuration = plugin.configuration();
        if (configuration == null) {
            return value.isEmpty() ? List.of()
                    : List.of(new ConfigError("", "the plugin %s takes no configuration: remove the `config:` block".formatted(plugin.name())));
        }
        if (configured) {
            throw AgentException.failedPrecondition("plugin %s is configured already: a process takes its configuration once".formatted(plugin.name()));
        }
        List<ConfigError> errors = Guard.run(plugin.name(), new Category(""), "Configure", () -> configuration.apply(value));
        configured = errors.isEmpty();
        return errors;
    }

    /** A plugin with configuration needs it before it can take tasks. */
    synchronized void requireConfiguration() {
        if (plugin.configuration() != null && !configured) {
            throw AgentException.failedPrecondition("plugin %s has no configuration yet: the host must call Configure before the first task"
                    .formatted(plugin.name()));
        }
    }

    /**
     * Waits until the calls in flight have ended, refusing new ones, and then closes the agents, each once, the last
     * registered first. Calls get three quarters of the time; what has not ended by then is left behind.
     *
     * @return what did not go well
     */
    List<String> close(Duration maxWait) {
        List<String> failures = new ArrayList<>();
        long until = System.nanoTime() + maxWait.toNanos();
        try {
            int left = calls.drain(maxWait.multipliedBy(3).dividedBy(4));
            if (left > 0) {
                failures.add("plugin %s stops with %d calls in flight".formatted(plugin.name(), left));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        streams.end();
        List<AutoCloseable> closers = new ArrayList<>(plugin.closers());
        Collections.reverse(closers);
        closeAll(closers, until, failures);
        return failures;
    }

    /** Closes one after the other, each on a thread of its own: one that never ends takes no more than its share of the time. */
    private void closeAll(List<AutoCloseable> closers, long until, List<String> failures) {
        for (int i = 0; i < closers.size(); i++) {
            AutoCloseable closer = closers.get(i);
            long share = (until - System.nanoTime()) / (closers.size() - i);
            Future<?> closed = threads.submit(() -> Guard.run(plugin.name(), new Category(""), "close", () -> {
                closer.close();
                return null;
            }));
            try {
                closed.get(Math.max(share, MIN_CLOSE.toNanos()), TimeUnit.NANOSECONDS);
            } catch (ExecutionException e) {
                failures.add(e.getCause() instanceof StatusException status ? status.getStatus().getDescription() : Guard.describe(e.getCause()));
            } catch (TimeoutException e) {
                failures.add("plugin %s stops before %s is closed: its close takes too long".formatted(plugin.name(), closer.getClass().getName()));
                closed.cancel(true);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return;
            }
        }
    }

    /** Lets go of the threads. */
    void shutdown() {
        threads.shutdownNow();
        timer.shutdownNow();
    }

    /** Answers a call with what the work returns, or with what it throws as a status. */
    static <A> void answer(StreamObserver<A> answer, Callable<A> work) {
        complete(answer, () -> answer.onNext(work.call()));
    }

    /** Completes a call when the work is done, or ends it with what the work throws. */
    static void complete(StreamObserver<?> answer, Work work) {
        try {
            work.run();
        } catch (AgentException e) {
            answer.onError(e.code().toStatus().withDescription(Guard.cut(e.getMessage())).withCause(e).asException());
            return;
        } catch (StatusException e) {
            answer.onError(e);
            return;
        } catch (Exception e) {
            answer.onError(Status.INTERNAL.withDescription(Guard.cut(Guard.describe(e))).withCause(e).asException());
            return;
        }
        answer.onCompleted();
    }

    /** Work that may throw. */
    interface Work {
        void run() throws Exception;
    }

    /** Names the threads, and keeps none of them from letting the process end. */
    private static final class CallThreads implements java.util.concurrent.ThreadFactory {
        private final AtomicInteger made = new AtomicInteger();

        @Override
        public Thread newThread(Runnable work) {
            Thread thread = new Thread(work, "agent-" + made.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        }
    }
}
