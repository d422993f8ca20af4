package io.agenthost.sdk;

import com.flyteidl.admin.CreateRequestHeader;
import com.flyteidl.admin.ExecuteTaskSyncRequest;
import com.flyteidl.admin.ExecuteTaskSyncResponse;
import com.flyteidl.admin.ExecuteTaskSyncResponseHeader;
import com.flyteidl.core.LiteralMap;
import com.flyteidl.service.SyncAgentServiceGrpc;
import io.grpc.StatusException;
import io.grpc.stub.StreamObserver;

/** flyteidl.service.SyncAgentService. */
final class SyncService extends SyncAgentServiceGrpc.SyncAgentServiceImplBase {
    private final Services services;

    SyncService(Services services) {
        this.services = services;
    }

    @Override
    public StreamObserver<ExecuteTaskSyncRequest> executeTaskSync(StreamObserver<ExecuteTaskSyncResponse> answer) {
        return new Request(answer);
    }

    /** The request's parts: a header, and inputs in any number of messages. */
    private final class Request implements StreamObserver<ExecuteTaskSyncRequest> {
        private final StreamObserver<ExecuteTaskSyncResponse> answer;
        private final LiteralMap.Builder inputs = LiteralMap.newBuilder();
        private CreateRequestHeader header;

        Request(StreamObserver<ExecuteTaskSyncResponse> answer) {
            this.answer = answer;
        }

        @Override
        public void onNext(ExecuteTaskSyncRequest part) {
            if (part.hasHeader()) {
                header = part.getHeader();
            }
            inputs.putAllLiterals(part.getInputs().getLiteralsMap());
        }

        @Override
        public void onError(Throwable gone) {
            // The caller has given up: there is nobody to answer.
        }

        /** Answers with one message, the header with the resource and its outputs: FlytePropeller reads no more. */
        @Override
        public void onCompleted() {
            Services.answer(answer, () -> {
                if (header == null) {
                    throw AgentException.invalidArgument("the call has no header: ExecuteTaskSync needs a header with the task's template first");
                }
                return execute(new Task(header.getTemplate(), inputs.build(), header.getOutputPrefix(), header.getTaskExecutionMetadata(),
                        IdempotencyKey.of(header.getTaskExecutionMetadata(), header.getOutputPrefix()), header.getMaxDatasetSizeBytes(), Wire.connectionOf(header)));
            });
        }
    }

    private ExecuteTaskSyncResponse execute(Task task) throws StatusException {
        Registry.Registered agent = services.registry().find(task.category());
        if (agent.sync() == null) {
            throw AgentException.failedPrecondition("task category \"%s\" is served by the asynchronous agent \"%s\": call AsyncAgentService.CreateTask"
                    .formatted(task.category().name(), agent.name()));
        }
        services.requireConfiguration();
        return Guard.run(agent.name(), task.category(), "Execute", () -> {
            Resource resource = agent.sync().execute(task);
            if (resource != null && !resource.phase().terminal()) {
                throw AgentException.failedPrecondition("a synchronous agent must end with a terminal phase, not %s: FlytePropeller cannot ask again"
                        .formatted(resource.phase()));
            }
            return ExecuteTaskSyncResponse.newBuilder().setHeader(ExecuteTaskSyncResponseHeader.newBuilder()
                    .setResource(Wire.resource(resource, task.outputTypes()))).build();
        });
    }
}
