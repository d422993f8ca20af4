package io.agenthost.sdk;

import io.grpc.ServerBuilder;
import io.grpc.ServerInterceptor;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;

/**
 * A plugin: its agents, its configuration and its promises. A program is one of them:
 *
 * <pre>{@code
 * public static void main(String[] args) {
 *     Plugin.named("warehouse", "1.0.0").async("warehouse_query", new Warehouse()).serve();
 * }
 * }</pre>
 */
public final class Plugin {
    /** The SDK's version, which Describe tells the host. */
    public static final String SDK_VERSION = "0.1.0";

    private static final Duration CLOSE_GRACE = Duration.ofSeconds(10);

    private final String name;
    private final String version;
    private final Registry registry = new Registry();
    private final List<String> capabilities = new ArrayList<>();
    private final List<AutoCloseable> closers = new ArrayList<>();
    private final List<ServerInterceptor> interceptors = new ArrayList<>();
    private final Set<Object> closing = Collections.newSetFromMap(new IdentityHashMap<>());
    private final CompletableFuture<Instant> replaced = new CompletableFuture<>();
    private Configuration<?> configuration;

    private Plugin(String name, String version) {
        if (name.isEmpty()) {
            throw new IllegalArgumentException("a plugin needs a name");
        }
        this.name = name;
        this.version = version;
    }

    /**
     * Begins a plugin.
     *
     * @param name its own name, such as "duckdb"
     * @param version its version, such as "1.4.0": free text, shown to people
     */
    public static Plugin named(String name, String version) {
        return new Plugin(name, version);
    }

    /** Adds an asynchronous agent for a task category at version 0. */
    public Plugin async(String category, AsyncAgent<?> agent) {
        return async(category, agent, new Registration());
    }

    /** Adds an asynchronous agent, registered in a particular way. */
    public Plugin async(String category, AsyncAgent<?> agent, Registration how) {
        registry.add(category, how, new AsyncAdapter<>(agent), null);
        closeAtTheEnd(agent);
        return this;
    }

    /** Adds a synchronous agent for a task category at version 0. */
    public Plugin sync(String category, SyncAgent agent) {
        return sync(category, agent, new Registration());
    }

    /** Adds a synchronous agent, registered in a particular way. */
    public Plugin sync(String category, SyncAgent agent, Registration how) {
        registry.add(category, how, null, agent);
        closeAtTheEnd(agent);
        return this;
    }

    /**
     * Lets the plugin take configuration: the {@code config:} block that the host's file has for it.
     *
     * <p>Its type is a record. Its JSON Schema is published, and a block is checked against it strictly: unknown keys,
     * wrong types and missing required ones are reported, all at once, by key. Then the handler is called, exactly once and
     * before the first task. Keys are the components' names in snake case. {@code @JsonProperty(required = true)} makes one
     * required, {@code @JsonProperty(defaultValue = "eu")} gives it a default (JSON where it is not text),
     * {@code @JsonPropertyDescription} describes it; enums, nested records, lists, maps and Optional are understood;
     * {@code Duration} is written as "30s" and {@link Size} as "2GiB"; a {@link SecretRef} names
     * a secret, which must be there. A key that is null counts as not given. What is neither given nor has a default is null, or
     * 0, or empty. The record's constructor may throw a {@link ConfigException}.
     */
    public <C> Plugin configure(Class<C> type, ConfigHandler<C> handler) {
        if (configuration != null) {
            throw new IllegalStateException("plugin %s has two configurations: a plugin takes one".formatted(name));
        }
        configuration = new Configuration<>(type, handler);
        return this;
    }

    /**
     * Promises for every agent of the plugin that two create calls with the same {@link Task#idempotencyKey} make one job. Only
     * then does the host repeat a create whose answer was lost in a crash. {@link Registration#idempotentCreate} promises it for
     * one agent.
     */
    public Plugin idempotentCreate() {
        return capability(Contract.CAPABILITY_IDEMPOTENT_CREATE);
    }

    /** Promises something by name. Names that the host does not know are ignored. */
    public Plugin capability(String capability) {
        capabilities.add(capability);
        return this;
    }

    /** Adds something to do when the plugin stops, before what was added earlier is closed. */
    public Plugin onClose(AutoCloseable closer) {
        closers.add(closer);
        return this;
    }

    /**
     * Adds an interceptor of all calls, such as instrumentation. OpenTelemetry's
     * {@code GrpcTelemetry.create(openTelemetry).createServerInterceptor()} makes a span for each call, in the trace that the host's
     * call belongs to. It sees each call by itself: the host then sends none together with others in one message, which costs less.
     */
    public Plugin intercept(ServerInterceptor interceptor) {
        interceptors.add(interceptor);
        return this;
    }

    /**
     * Completes when the host begins to put another process in the place of this one, with when the calls under way must have ended:
     * for what goes on behind the calls. The process takes calls until then.
     */
    public CompletableFuture<Instant> replaced() {
        return replaced.copy();
    }

    /** Tells it. The first time counts. */
    void isReplaced(Instant end) {
        replaced.completeAsync(() -> end);
    }

    private void closeAtTheEnd(Object agent) {
        if (agent instanceof AutoCloseable closeable && closing.add(agent)) {
            closers.add(closeable);
        }
    }

    /**
     * Serves the plugin until the host stops it, and ends the process: with a hint for people when no host started it.
     *
     * <p>What is printed to System.out from the first use of this class on goes to the log, as does what java.util.logging
     * gets; log with slf4j.
     */
    public void serve() {
        if (registry.isEmpty()) {
            throw new IllegalStateException("plugin %s has no agent: add one with async or sync".formatted(name));
        }
        System.exit(PluginProcess.run(this));
    }

    /**
     * Adds the plugin's services to a gRPC server of your own, in a test say, which must then be built soon.
     *
     * @return waits for the calls in flight, refusing new ones, and closes the agents
     */
    public AutoCloseable addTo(ServerBuilder<?> server) {
        Services services = new Services(this);
        services.addTo(server);
        return () -> {
            List<String> failures = services.close(CLOSE_GRACE);
            services.shutdown();
            if (!failures.isEmpty()) {
                throw new IllegalStateException(String.join("; ", failures));
            }
        };
    }

    // The first use of this class is as early as the SDK can be: nothing may be printed before the handshake.
    static {
        Stdout.divert();
    }

    String name() {
        return name;
    }

    String version() {
        return version;
    }

    Registry registry() {
        return registry;
    }

    List<String> capabilities() {
        return capabilities;
    }

    List<ServerInterceptor> interceptors() {
        return interceptors;
    }

    List<AutoCloseable> closers() {
        return closers;
    }

    Configuration<?> configuration() {
        return configuration;
    }
}
