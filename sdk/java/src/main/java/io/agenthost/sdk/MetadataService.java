package io.agenthost.sdk;

import com.flyteidl.admin.Agent;
import com.flyteidl.admin.GetAgentRequest;
import com.flyteidl.admin.GetAgentResponse;
import com.flyteidl.admin.ListAgentsRequest;
import com.flyteidl.admin.ListAgentsResponse;
import com.flyteidl.service.AgentMetadataServiceGrpc;
import io.grpc.stub.StreamObserver;

/** flyteidl.service.AgentMetadataService. */
final class MetadataService extends AgentMetadataServiceGrpc.AgentMetadataServiceImplBase {
    private final Services services;

    MetadataService(Services services) {
        this.services = services;
    }

    @Override
    public void listAgents(ListAgentsRequest request, StreamObserver<ListAgentsResponse> answer) {
        Services.answer(answer, () -> ListAgentsResponse.newBuilder().addAllAgents(services.registry().agents()).build());
    }

    @Override
    public void getAgent(GetAgentRequest request, StreamObserver<GetAgentResponse> answer) {
        Services.answer(answer, () -> {
            Agent found = services.registry().agents().stream().filter(agent -> agent.getName().equals(request.getName())).findFirst()
                    .orElseThrow(() -> AgentException.notFound("plugin %s has no agent \"%s\"".formatted(services.plugin().name(), request.getName())));
            return GetAgentResponse.newBuilder().setAgent(found).build();
        });
    }
}
