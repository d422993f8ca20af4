package io.agenthost.sdk.testing;

import com.flyteidl.admin.Agent;
import com.flyteidl.admin.CreateRequestHeader;
import com.flyteidl.admin.CreateTaskRequest;
import com.flyteidl.admin.ExecuteTaskSyncRequest;
import com.flyteidl.admin.ExecuteTaskSyncResponse;
import com.flyteidl.admin.ListAgentsRequest;
import com.flyteidl.admin.Resource;
import com.flyteidl.service.AgentMetadataServiceGrpc;
import com.flyteidl.service.AsyncAgentServiceGrpc;
import com.flyteidl.service.SyncAgentServiceGrpc;
import io.agenthost.plugin.v1.ConfigureRequest;
import io.agenthost.plugin.v1.DescribeRequest;
import io.agenthost.plugin.v1.DescribeResponse;
import io.agenthost.plugin.v1.PluginServiceGrpc;
import io.agenthost.sdk.Category;
import io.agenthost.sdk.ConfigError;
import io.agenthost.sdk.Plugin;
import io.agenthost.sdk.internal.Json;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * A plugin under test, and a client for it that does as Flyte does. Calls that go wrong throw gRPC's
 * {@link io.grpc.StatusRuntimeException}.
 *
 * <pre>{@code
 * try (AgentTest test = AgentTest.of(Plugin.named("warehouse", "1.0.0").async("warehouse_query", new Warehouse()))) {
 *     TestResult result = test.run(TestTask.of("warehouse_query").input("statement", "select 1"));
 *     assertEquals("select 1", result.output("ran", String.class));
 * }
 * }</pre>
 */
public final class AgentTest implements AutoCloseable {
    private static final Metadata.Key<String> IDEMPOTENCY_KEY = Metadata.Key.of("agenthost-idempotency-key", Metadata.ASCII_STRING_MARSHALLER);
    private static final Metadata.Key<String> FIND_ONLY = Metadata.Key.of("agenthost-find-only", Metadata.ASCII_STRING_MARSHALLER);
    private static final Metadata.Key<String> ABANDON = Metadata.Key.of("agenthost-abandon", Metadata.ASCII_STRING_MARSHALLER);
    private static final Duration MAX_WAIT = Duration.ofMinutes(1);

    private final ManagedChannel channel;
    private final AutoCloseable end;
    private final Duration maxWait;

    private AgentTest(ManagedChannel channel, AutoCloseable end, Duration maxWait) {
        this.channel = channel;
        this.end = end;
        this.maxWait = maxWait;
    }

    /** Runs the plugin in this process. */
    public static AgentTest of(Plugin plugin) throws IOException {
        String name = UUID.randomUUID().toString();
        InProcessServerBuilder builder = InProcessServerBuilder.forName(name);
        AutoCloseable services = plugin.addTo(builder);
        Server server = builder.build().start();
        ManagedChannel channel = InProcessChannelBuilder.forName(name).build();
        return new AgentTest(channel, () -> {
            services.close();
            server.shutdownNow();
        }, MAX_WAIT);
    }

    /** Starts the plugin's program as the host does: with its handshake, under mutual TLS, on a unix socket. */
    public static AgentTest command(List<String> command) throws Exception {
        return command(command, Map.of());
    }

    /** Starts the plugin's program with more in its environment, such as secrets. */
    public static AgentTest command(List<String> command, Map<String, String> environment) throws Exception {
        return of(PluginProgram.start(command, environment));
    }

    static AgentTest of(PluginProgram program) {
        return new AgentTest(program.channel(), program, MAX_WAIT);
    }

    /** The same plugin with another limit on how long calls and jobs may take; the default is a minute. */
    public AgentTest maxWait(Duration maxWait) {
        return new AgentTest(channel, end, maxWait);
    }

    Duration maxWait() {
        return maxWait;
    }

    /** A channel to the plugin, for calls that this class does not make. */
    public Channel channel() {
        return channel;
    }

    /** What the plugin says of itself. */
    public DescribeResponse describe() {
        return plugin().describe(DescribeRequest.getDefaultInstance());
    }

    /** The agents as Flyte hears of them. */
    public List<Agent> agents() {
        return AgentMetadataServiceGrpc.newBlockingStub(channel).withDeadlineAfter(maxWait.toMillis(), TimeUnit.MILLISECONDS)
                .listAgents(ListAgentsRequest.getDefaultInstance()).getAgentsList();
    }

    /** Configures the plugin with a map or a record, as the host's file would. An AssertionError tells what is wrong. */
    public AgentTest configure(Object config) {
        List<ConfigError> errors = configErrors(config);
        if (!errors.isEmpty()) {
            throw new AssertionError("the configuration is wrong: " + errors);
        }
        return this;
    }

    /** Configures the plugin and returns what it has against the configuration. */
    public List<ConfigError> configErrors(Object config) {
        String block = Json.MAPPER.valueToTree(config).toString();
        return plugin().configure(ConfigureRequest.newBuilder().setConfig(block).build()).getErrorsList().stream()
                .map(error -> new ConfigError(error.getKey(), error.getMessage())).toList();
    }

    /** Runs a task to its end, with whichever kind of agent serves its type. */
    public TestResult run(TestTask task) throws InterruptedException {
        String type = task.template().getType();
        boolean sync = agents().stream().anyMatch(agent -> agent.getIsSync()
                && agent.getSupportedTaskCategoriesList().stream().anyMatch(category -> category.getName().equals(type)));
        return sync ? execute(task) : create(task).await();
    }

    /** Creates a job with an asynchronous agent. */
    public TestJob create(TestTask task) {
        return createTask(task, new Metadata());
    }

    /** The job that was made for the task's attempt; it makes none. The agent must be a {@link io.agenthost.sdk.Finder}. */
    public TestJob find(TestTask task) {
        Metadata form = new Metadata();
        form.put(FIND_ONLY, "1");
        return createTask(task, form);
    }

    /** Gives the task's attempt up. The agent must be a {@link io.agenthost.sdk.Finder}. */
    public void abandon(TestTask task) {
        Metadata form = new Metadata();
        form.put(ABANDON, "1");
        createTask(task, form);
    }

    /** Calls CreateTask in one of its forms, which metadata tells apart. */
    private TestJob createTask(TestTask task, Metadata form) {
        Channel called = ClientInterceptors.intercept(channel(task), MetadataUtils.newAttachHeadersInterceptor(form));
        byte[] meta = AsyncAgentServiceGrpc.newBlockingStub(called).withDeadlineAfter(maxWait.toMillis(), TimeUnit.MILLISECONDS)
                .createTask(CreateTaskRequest.newBuilder().setTemplate(task.template()).setInputs(task.inputs())
                        .setOutputPrefix(task.outputPrefix()).setTaskExecutionMetadata(task.metadata()).setUnknownFields(task.connection()).build())
                .getResourceMeta().toByteArray();
        return new TestJob(this, new Category(task.template().getType(), task.template().getTaskTypeVersion()), meta, task);
    }

    /** A job by its metadata, such as one that an older version of the agent has made. */
    public TestJob job(Category category, byte[] meta) {
        return new TestJob(this, category, meta, TestTask.of(category.name()));
    }

    /** Executes a task with a synchronous agent. */
    public TestResult execute(TestTask task) throws InterruptedException {
        CompletableFuture<Resource> answer = new CompletableFuture<>();
        StreamObserver<ExecuteTaskSyncRequest> request = SyncAgentServiceGrpc.newStub(channel(task))
                .withDeadlineAfter(maxWait.toMillis(), TimeUnit.MILLISECONDS).executeTaskSync(new FirstAnswer(answer));
        request.onNext(ExecuteTaskSyncRequest.newBuilder().setHeader(CreateRequestHeader.newBuilder().setTemplate(task.template())
                .setOutputPrefix(task.outputPrefix()).setTaskExecutionMetadata(task.metadata()).setUnknownFields(task.connection())).build());
        request.onNext(ExecuteTaskSyncRequest.newBuilder().setInputs(task.inputs()).build());
        request.onCompleted();
        try {
            return new TestResult(answer.get());
        } catch (ExecutionException e) {
            throw io.grpc.Status.fromThrowable(e.getCause()).asRuntimeException();
        }
    }

    AsyncAgentServiceGrpc.AsyncAgentServiceBlockingStub async() {
        return AsyncAgentServiceGrpc.newBlockingStub(channel).withDeadlineAfter(maxWait.toMillis(), TimeUnit.MILLISECONDS);
    }

    private PluginServiceGrpc.PluginServiceBlockingStub plugin() {
        return PluginServiceGrpc.newBlockingStub(channel).withDeadlineAfter(maxWait.toMillis(), TimeUnit.MILLISECONDS);
    }

    private Channel channel(TestTask task) {
        if (task.idempotencyKey().isEmpty()) {
            return channel;
        }
        Metadata headers = new Metadata();
        headers.put(IDEMPOTENCY_KEY, task.idempotencyKey());
        return ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers));
    }

    /** Stops the plugin, which closes its agents. */
    @Override
    public void close() throws Exception {
        try {
            end.close();
        } finally {
            channel.shutdownNow();
        }
    }

    private record FirstAnswer(CompletableFuture<Resource> answer) implements StreamObserver<ExecuteTaskSyncResponse> {
        @Override
        public void onNext(ExecuteTaskSyncResponse part) {
            answer.complete(part.getHeader().getResource());
        }

        @Override
        public void onError(Throwable failure) {
            answer.completeExceptionally(failure);
        }

        @Override
        public void onCompleted() {
            answer.completeExceptionally(new AssertionError("the agent answered nothing"));
        }
    }
}
