package io.agenthost.sdk;

import com.flyteidl.admin.CreateTaskRequest;
import com.flyteidl.admin.CreateTaskResponse;
import com.flyteidl.admin.DeleteTaskRequest;
import com.flyteidl.admin.DeleteTaskResponse;
import com.flyteidl.admin.GetTaskLogsRequest;
import com.flyteidl.admin.GetTaskLogsResponse;
import com.flyteidl.admin.GetTaskMetricsRequest;
import com.flyteidl.admin.GetTaskMetricsResponse;
import com.flyteidl.admin.GetTaskRequest;
import com.flyteidl.admin.GetTaskResponse;
import com.flyteidl.admin.TaskCategory;
import com.flyteidl.service.AsyncAgentServiceGrpc;
import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import com.google.protobuf.Timestamp;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/** flyteidl.service.AsyncAgentService. */
@SuppressWarnings("deprecation") // task_type, which agents before task categories were routed by
final class AsyncService extends AsyncAgentServiceGrpc.AsyncAgentServiceImplBase {
    private final Services services;

    AsyncService(Services services) {
        this.services = services;
    }

    @Override
    public void createTask(CreateTaskRequest request, StreamObserver<CreateTaskResponse> answer) {
        Services.answer(answer, () -> {
            Task task = new Task(request.getTemplate(), request.getInputs(), request.getOutputPrefix(), request.getTaskExecutionMetadata(),
                    IdempotencyKey.of(request.getTaskExecutionMetadata(), request.getOutputPrefix()), 0, Wire.connectionOf(request));
            Registry.Registered agent = find(task.category());
            return switch (Form.ofCall()) {
                case CREATE -> Guard.run(agent.name(), task.category(), "Create", () -> created(agent.async().create(task)));
                case FIND -> Guard.run(agent.name(), task.category(), "Find", () -> created(agent.async().find(task)));
                case ABANDON -> Guard.run(agent.name(), task.category(), "Abandon", () -> {
                    agent.async().abandon(task);
                    return CreateTaskResponse.getDefaultInstance();
                });
            };
        });
    }

    private static CreateTaskResponse created(ByteString meta) {
        return CreateTaskResponse.newBuilder().setResourceMeta(meta).build();
    }

    @Override
    public void getTask(GetTaskRequest request, StreamObserver<GetTaskResponse> answer) {
        Services.answer(answer, () -> {
            Job<ByteString> job = job(request, request.getTaskType(), request.getTaskCategory(), request.getResourceMeta(), request.getOutputPrefix());
            Registry.Registered agent = find(job.category());
            return Guard.run(agent.name(), job.category(), "Get", () ->
                    GetTaskResponse.newBuilder().setResource(Wire.polled(agent.async().get(job))).build());
        });
    }

    @Override
    public void deleteTask(DeleteTaskRequest request, StreamObserver<DeleteTaskResponse> answer) {
        Services.answer(answer, () -> {
            Job<ByteString> job = job(request, request.getTaskType(), request.getTaskCategory(), request.getResourceMeta(), "");
            Registry.Registered agent = find(job.category());
            return Guard.run(agent.name(), job.category(), "Delete", () -> {
                agent.async().delete(job);
                return DeleteTaskResponse.getDefaultInstance();
            });
        });
    }

    @Override
    public void getTaskMetrics(GetTaskMetricsRequest request, StreamObserver<GetTaskMetricsResponse> answer) {
        Services.answer(answer, () -> {
            Job<ByteString> job = job(request, request.getTaskType(), request.getTaskCategory(), request.getResourceMeta(), "");
            Registry.Registered agent = find(job.category());
            MetricsQuery query = new MetricsQuery(request.getQueriesList(),
                    request.hasStartTime() ? Optional.of(instant(request.getStartTime())) : Optional.empty(),
                    request.hasEndTime() ? Optional.of(instant(request.getEndTime())) : Optional.empty(),
                    Duration.ofSeconds(request.getStep().getSeconds(), request.getStep().getNanos()));
            return Guard.run(agent.name(), job.category(), "Metrics", () ->
                    GetTaskMetricsResponse.newBuilder().addAllResults(agent.async().metrics(job, query)).build());
        });
    }

    @Override
    public void getTaskLogs(GetTaskLogsRequest request, StreamObserver<GetTaskLogsResponse> answer) {
        LogSender sender = new LogSender((ServerCallStreamObserver<GetTaskLogsResponse>) answer);
        // On a thread of its own: gRPC tells the sender that the caller can take more on the one that it called.
        services.execute(() -> Services.complete(answer, () -> {
            Job<ByteString> job = job(request, request.getTaskType(), request.getTaskCategory(), request.getResourceMeta(), "");
            Registry.Registered agent = find(job.category());
            Guard.run(agent.name(), job.category(), "Logs", () -> {
                agent.async().logs(job, new LogQuery(request.getLines(), request.getToken()), sender);
                return null;
            });
        }));
    }

    private static Instant instant(Timestamp stamp) {
        return Instant.ofEpochSecond(stamp.getSeconds(), stamp.getNanos());
    }

    private static Job<ByteString> job(Message request, String taskType, TaskCategory routed, ByteString meta, String outputPrefix) {
        Category category = routed.getName().isEmpty() ? new Category(taskType) : new Category(routed.getName(), routed.getVersion());
        return new Job<>(meta, category, outputPrefix, Wire.connectionOf(request));
    }

    /** The asynchronous agent for a category. */
    private Registry.Registered find(Category category) {
        Registry.Registered found = services.registry().find(category);
        if (found.async() == null) {
            throw AgentException.failedPrecondition("task category \"%s\" is served by the synchronous agent \"%s\": call SyncAgentService.ExecuteTaskSync"
                    .formatted(category.name(), found.name()));
        }
        services.requireConfiguration();
        return found;
    }
}
