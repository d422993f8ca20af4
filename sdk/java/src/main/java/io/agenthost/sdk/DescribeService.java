package io.agenthost.sdk;

import com.google.protobuf.ByteString;
import io.agenthost.plugin.v1.CategoryCapabilities;
import io.agenthost.plugin.v1.ConfigureRequest;
import io.agenthost.plugin.v1.ConfigureResponse;
import io.agenthost.plugin.v1.DescribeRequest;
import io.agenthost.plugin.v1.DescribeResponse;
import io.agenthost.plugin.v1.DrainRequest;
import io.agenthost.plugin.v1.DrainResponse;
import io.agenthost.plugin.v1.MetricsRequest;
import io.agenthost.plugin.v1.MetricsResponse;
import io.agenthost.plugin.v1.PluginServiceGrpc;
import io.agenthost.plugin.v1.Sdk;
import io.grpc.stub.StreamObserver;
import io.prometheus.metrics.expositionformats.PrometheusTextFormatWriter;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.time.Instant;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;

/** agenthost.plugin.v1.PluginService. */
final class DescribeService extends PluginServiceGrpc.PluginServiceImplBase {
    private final Services services;

    DescribeService(Services services) {
        this.services = services;
    }

    @Override
    public void describe(DescribeRequest request, StreamObserver<DescribeResponse> answer) {
        Services.answer(answer, () -> {
            DescribeResponse.Builder said = DescribeResponse.newBuilder()
                    .setName(services.plugin().name()).setVersion(services.plugin().version())
                    .setSdk(Sdk.newBuilder().setName("agenthost-java").setVersion(Plugin.SDK_VERSION)
                            .setLanguage("java" + Runtime.version().feature()))
                    .setConfigSchema(services.plugin().configuration() == null ? "" : services.plugin().configuration().schemaText());
            addPromises(said);
            return said.build();
        });
    }

    /**
     * Adds the capabilities: for the plugin, and for single categories. What every asynchronous agent promises is the plugin's
     * promise, so that hosts that know no others hear of it too.
     */
    private void addPromises(DescribeResponse.Builder said) {
        List<Registry.Registered> asynchronous = services.registry().all().stream().filter(agent -> agent.async() != null).toList();
        Set<String> whole = new LinkedHashSet<>(services.plugin().capabilities());
        Stream.of(Contract.CAPABILITY_IDEMPOTENT_CREATE, Contract.CAPABILITY_FIND_BY_KEY)
                .filter(name -> !asynchronous.isEmpty() && asynchronous.stream().allMatch(agent -> agent.capabilities().contains(name)))
                .forEach(whole::add);
        said.addAllCapabilities(whole);
        for (Registry.Registered agent : asynchronous) {
            List<String> own = agent.capabilities().stream().filter(name -> !whole.contains(name)).toList();
            if (!own.isEmpty()) {
                agent.categories().forEach(category -> said.addCategoryCapabilities(CategoryCapabilities.newBuilder()
                        .setName(category.name()).setVersion(category.version()).addAllCapabilities(own)));
            }
        }
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

    @Override
    public void drain(DrainRequest request, StreamObserver<DrainResponse> answer) {
        Services.answer(answer, () -> {
            services.plugin().isReplaced(Instant.now().plusSeconds(request.getTimeout().getSeconds()).plusNanos(request.getTimeout().getNanos()));
            return DrainResponse.getDefaultInstance();
        });
    }

    /** What the plugin has registered with Prometheus' client for Java. */
    @Override
    public void metrics(MetricsRequest request, StreamObserver<MetricsResponse> answer) {
        Services.answer(answer, () -> {
            ByteString.Output text = ByteString.newOutput();
            PrometheusTextFormatWriter.create().write(text, PrometheusRegistry.defaultRegistry.scrape());
            return MetricsResponse.newBuilder().setText(text.toByteString()).build();
        });
    }
}
