package io.agenthost.sdk.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.flyteidl.admin.ListAgentsRequest;
import com.flyteidl.service.AgentMetadataServiceGrpc;
import io.agenthost.goplugin.Empty;
import io.agenthost.goplugin.GRPCControllerGrpc;
import io.agenthost.sdk.internal.Json;
import io.agenthost.sdk.internal.SelfSigned;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import io.grpc.health.v1.HealthGrpc;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A plugin's process, through the real handshake. */
class PluginProgramTest {
    private static final Metadata.Key<String> NOT_TAKEN = Metadata.Key.of("agenthost-not-taken", Metadata.ASCII_STRING_MARSHALLER);

    @TempDir
    Path directory;

    private static List<String> command(String... flags) {
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"));
        command.addAll(List.of(flags));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), NoisyPlugin.class.getName()));
        return command;
    }

    private static void listAgents(ManagedChannel channel) {
        AgentMetadataServiceGrpc.newBlockingStub(channel).withDeadlineAfter(1, TimeUnit.MINUTES).listAgents(ListAgentsRequest.getDefaultInstance());
    }

    @Test
    void itIsHealthyAndLetsStrangersNotIn() throws Exception {
        try (PluginProgram program = PluginProgram.start(command(), Map.of())) {
            assertEquals(HealthCheckResponse.ServingStatus.SERVING, HealthGrpc.newBlockingStub(program.channel())
                    .check(HealthCheckRequest.newBuilder().setService("plugin").build()).getStatus());
            ManagedChannel stranger = program.connect(SelfSigned.create());
            StatusRuntimeException refused = assertThrows(StatusRuntimeException.class, () -> listAgents(stranger));
            assertEquals(Status.Code.UNAVAILABLE, refused.getStatus().getCode());
            stranger.shutdownNow();
            listAgents(program.channel());
        }
    }

    /** go-plugin's own AutoMTLS makes such a certificate: on P-521, of an authority. */
    @Test
    void aHostWithGoPluginsOwnCertificateIsLetIn() throws Exception {
        try (PluginProgram program = PluginProgram.start(command(), Map.of(), authorityOnP521())) {
            listAgents(program.channel());
        }
    }

    private SelfSigned authorityOnP521() throws Exception {
        Path store = directory.resolve("store.p12");
        Process keytool = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-genkeypair", "-alias", "host",
                "-keyalg", "EC", "-groupname", "secp521r1", "-sigalg", "SHA512withECDSA", "-dname", "CN=localhost,O=HashiCorp", "-ext", "bc:critical=ca:true",
                "-ext", "ku:critical=digitalSignature,keyEncipherment,keyAgreement,keyCertSign", "-ext", "eku=clientAuth,serverAuth", "-ext", "san=dns:localhost",
                "-storetype", "PKCS12", "-keystore", store.toString(), "-storepass", "changeit").redirectErrorStream(true).start();
        String said = new String(keytool.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, keytool.waitFor(), said);
        KeyStore keys = KeyStore.getInstance(store.toFile(), "changeit".toCharArray());
        X509Certificate certificate = (X509Certificate) keys.getCertificate("host");
        return new SelfSigned((PrivateKey) keys.getKey("host", "changeit".toCharArray()), certificate, certificate.getEncoded());
    }

    @Test
    void whatItPrintsAndLogsArrivesAsLogLines() throws Exception {
        Path log = directory.resolve("log");
        try (AgentTest test = AgentTest.of(PluginProgram.start(command(), Map.of(), SelfSigned.create(), log))) {
            test.run(TestTask.of("noisy"));
        }
        List<JsonNode> lines = new ArrayList<>();
        for (String line : Files.readAllLines(log)) {
            lines.add(Json.MAPPER.readTree(line));
        }
        Map<String, String> levels = new java.util.LinkedHashMap<>();
        lines.forEach(line -> levels.put(line.get("@message").textValue(), line.get("@level").textValue()));
        assertEquals(Map.of("printed before serve", "info", "printed in a call", "info", "logged in a call", "warn",
                "logged the old way", "warn", "closed", "warn"), levels);
        assertTrue(lines.stream().anyMatch(line -> line.path("rows").intValue() == 3), lines.toString());
    }

    @Test
    void aStopLetsCallsEndAndTakesNoMore() throws Exception {
        Path begun = directory.resolve("begun");
        PluginProgram program = PluginProgram.start(command(), Map.of());
        AgentTest test = AgentTest.of(program);
        try (test) {
            CompletableFuture<String> underWay = CompletableFuture.supplyAsync(() -> execute(test, TestTask.of("wait").input("begun", begun.toString())));
            while (!Files.exists(begun)) {
                assertFalse(underWay.isDone(), "the call has ended before it began");
                Thread.sleep(5);
            }
            CompletableFuture<Void> stop = CompletableFuture.runAsync(() ->
                    GRPCControllerGrpc.newBlockingStub(program.channel()).withDeadlineAfter(1, TimeUnit.MINUTES).shutdown(Empty.getDefaultInstance()));
            StatusRuntimeException refused = refusal(program.channel());
            assertEquals(Status.Code.UNAVAILABLE, refused.getStatus().getCode());
            assertEquals("1", refused.getTrailers().get(NOT_TAKEN));
            Files.delete(begun);
            assertEquals("SUCCEEDED", underWay.get());
            stop.get();
            assertTrue(program.process().waitFor(1, TimeUnit.MINUTES), "the process goes on");
            assertEquals(0, program.process().exitValue());
            try (var left = Files.list(program.directory())) {
                assertEquals(List.of(), left.toList());
            }
        }
    }

    private static String execute(AgentTest test, TestTask task) {
        try {
            return test.execute(task).phase();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Calls until the plugin refuses: it has not yet begun to stop while it answers. */
    private static StatusRuntimeException refusal(ManagedChannel channel) {
        while (true) {
            try {
                listAgents(channel);
            } catch (StatusRuntimeException refused) {
                return refused;
            }
        }
    }

    @Test
    void sigtermIsAnOrderlyEndAndSigintNone() throws Exception {
        try (PluginProgram program = PluginProgram.start(command(), Map.of())) {
            signal(program, "INT");
            listAgents(program.channel());
            signal(program, "TERM");
            assertTrue(program.process().waitFor(1, TimeUnit.MINUTES), "the process goes on");
            assertEquals(0, program.process().exitValue());
            try (var left = Files.list(program.directory())) {
                assertEquals(List.of(), left.toList());
            }
        }
    }

    private static void signal(PluginProgram program, String name) throws Exception {
        assertEquals(0, new ProcessBuilder("sh", "-c", "kill -%s %d".formatted(name, program.process().pid())).start().waitFor());
    }

    /** As on systems whose unix sockets netty has no natives for. */
    @Test
    void withoutEpollItListensOnALoopbackPort() throws Exception {
        ProcessBuilder builder = new ProcessBuilder(command("-Dio.grpc.netty.shaded.io.netty.transport.noNative=true"))
                .redirectError(ProcessBuilder.Redirect.INHERIT);
        builder.environment().putAll(Map.of("AGENTHOST_PLUGIN", "flyte-agent-plugin", "PLUGIN_PROTOCOL_VERSIONS", "1"));
        Process process = builder.start();
        BufferedReader stdout = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        String line = stdout.readLine();
        assertTrue(line.matches("1\\|1\\|tcp\\|127\\.0\\.0\\.1:\\d+\\|grpc\\|"), line);
        ManagedChannel channel = io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder.forTarget(line.split("\\|")[3]).usePlaintext().build();
        listAgents(channel);
        GRPCControllerGrpc.newBlockingStub(channel).shutdown(Empty.getDefaultInstance());
        assertEquals(0, process.waitFor());
        assertNull(stdout.readLine(), "it printed more than the handshake line");
        channel.shutdownNow();
    }

    @Test
    void aSocketPathThatIsTooLongIsExplained() throws Exception {
        Path deep = Files.createDirectories(directory.resolve("d".repeat(100)));
        Process process = program(Map.of("PLUGIN_UNIX_SOCKET_DIR", deep.toString()));
        String said = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(1, process.waitFor());
        assertTrue(said.contains("107 is the limit"), said);
    }

    @Test
    void aHostCertificateThatIsNoneIsExplained() throws Exception {
        Process process = program(Map.of("PLUGIN_CLIENT_CERT", "no PEM", "PLUGIN_UNIX_SOCKET_DIR", directory.toString()));
        String said = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(1, process.waitFor());
        assertTrue(said.contains("PLUGIN_CLIENT_CERT"), said);
    }

    private static Process program(Map<String, String> environment) throws Exception {
        ProcessBuilder builder = new ProcessBuilder(command());
        builder.environment().putAll(Map.of("AGENTHOST_PLUGIN", "flyte-agent-plugin", "PLUGIN_PROTOCOL_VERSIONS", "1"));
        builder.environment().putAll(environment);
        return builder.start();
    }
}
