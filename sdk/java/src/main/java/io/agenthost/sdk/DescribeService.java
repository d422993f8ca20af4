package io.agenthost.sdk;

import io.agenthost.plugin.v1.ConfigureRequest;
import io.agenthost.plugin.v1.ConfigureResponse;
import io.agenthost.plugin.v1.DescribeRequest;
import io.agenthost.plugin.v1.DescribeResponse;
import io.agenthost.plugin.v1.PluginServiceGrpc;
import io.agenthost.plugin.v1.Sdk;
import io.grpc.stub.StreamObserver;

/** agenthost.plugin.v1.PluginService. */
final class DescribeService extends PluginServiceGrpc.PluginServiceImplBase {
    private final Services services;

    DescribeService(Services services) {
        this.services = services;
    }

    @Override
    public void describe(DescribeRequest request, StreamObserver<DescribeResponse> answer) {
        Services.answer(answer, () -> DescribeResponse.newBuilder()
                .setName(services.plugin().name()).setVersion(services.plugin().version())
                .setSdk(Sdk.newBuilder().setName("agenthost-java").setVersion(Plugin.SDK_VERSION)
                        .setLanguage("java" + Runtime.version().feature()))
                .addAllCapabilities(services.plugin().capabilities())
                .setConfigSchema(services.plugin().configuration() == null ? "" : services.plugin().configuration().schemaText())
                .build());
    }

    @Override
    public void configure(ConfigureRequest request, StreamObserver<ConfigureResponse> answer) {
        Services.answer(answer, () -> {
            ConfigureResponse.Builder response = ConfigureResponse.newBuilder();
            for (ConfigError error : services.configure(request.getConfig())) {
                response.addErrors(io.agenthost.plugin.v1.ConfigError.newBuilder().setKey(error.key()).setMessage(error.message()));
            }
            return response.build();
        });
    }
}
