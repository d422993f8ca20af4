package io.agenthost.sdk.testing;

import io.agenthost.goplugin.Empty;
import io.agenthost.goplugin.GRPCControllerGrpc;
import io.agenthost.sdk.internal.Pinned;
import io.agenthost.sdk.internal.SelfSigned;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslProvider;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A plugin's program, started and stopped as the host does it. What it logs appears on the test's standard error. */
public final class PluginProgram implements AutoCloseable {
    private static final int FIELDS = 6;

    private final Process process;
    private final Path directory;
    private final String handshake;
    private final SelfSigned own;
    private final EventLoopGroup loops = new EpollEventLoopGroup(1);
    private final ManagedChannel channel;

    private PluginProgram(List<String> command, Map<String, String> environment, SelfSigned host, ProcessBuilder.Redirect log) throws Exception {
        own = host;
        directory = Files.createTempDirectory("agent-test-");
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(log);
        builder.environment().putAll(Map.of("AGENTHOST_PLUGIN", "flyte-agent-plugin", "PLUGIN_PROTOCOL_VERSIONS", "1",
                "PLUGIN_UNIX_SOCKET_DIR", directory.toString(), "PLUGIN_CLIENT_CERT", pem(own)));
        builder.environment().putAll(environment);
        process = builder.start();
        handshake = firstLine(process, command);
        channel = connect(own);
    }

    static PluginProgram start(List<String> command, Map<String, String> environment) throws Exception {
        return start(command, environment, SelfSigned.create());
    }

    /** Starts it as a host that has this certificate. */
    static PluginProgram start(List<String> command, Map<String, String> environment, SelfSigned host) throws Exception {
        return new PluginProgram(command, environment, host, ProcessBuilder.Redirect.INHERIT);
    }

    /** Starts it with its log in a file. */
    static PluginProgram start(List<String> command, Map<String, String> environment, SelfSigned host, Path log) throws Exception {
        return new PluginProgram(command, environment, host, ProcessBuilder.Redirect.to(log.toFile()));
    }

    private static String firstLine(Process process, List<String> command) throws IOException {
        BufferedReader stdout = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        String line = stdout.readLine();
        if (line == null || line.split("\\|", -1).length < FIELDS) {
            process.destroyForcibly();
            throw new IOException("%s began with \"%s\", not with a handshake line such as 1|1|unix|/run/p|grpc|MIIB…".formatted(command, line));
        }
        return line;
    }

    /** The handshake line. */
    public String handshake() {
        return handshake;
    }

    /** The process. */
    public Process process() {
        return process;
    }

    /** A channel under mutual TLS. */
    public ManagedChannel channel() {
        return channel;
    }

    /** The directory of the plugin's socket. */
    public Path directory() {
        return directory;
    }

    /** Another connection, with a certificate that may be another than the one the plugin was told of. */
    ManagedChannel connect(SelfSigned client) throws Exception {
        String[] fields = handshake.split("\\|", -1);
        return NettyChannelBuilder.forAddress(new DomainSocketAddress(fields[3])).channelType(EpollDomainSocketChannel.class)
                .eventLoopGroup(loops).overrideAuthority("localhost").maxInboundMessageSize(Integer.MAX_VALUE)
                .sslContext(tls(client, fields[5])).build();
    }

    private static SslContext tls(SelfSigned client, String certificate) throws Exception {
        X509Certificate plugins = (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(Base64.getDecoder().decode(certificate)));
        return GrpcSslContexts.configure(SslContextBuilder.forClient().keyManager(client.key(), client.certificate())
                .trustManager(Pinned.to(plugins)), SslProvider.JDK).build();
    }

    private static String pem(SelfSigned certificate) {
        return "-----BEGIN CERTIFICATE-----\n" + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(certificate.encoded())
                + "\n-----END CERTIFICATE-----\n";
    }

    /** Asks the plugin to stop and waits until it has, which must take no longer than ten seconds. */
    @Override
    public void close() throws Exception {
        try {
            if (process.isAlive()) {
                GRPCControllerGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS).shutdown(Empty.getDefaultInstance());
                if (!process.waitFor(10, TimeUnit.SECONDS)) {
                    throw new AssertionError("the plugin did not end within ten seconds of being asked to");
                }
            }
        } finally {
            process.destroyForcibly();
            channel.shutdownNow();
            loops.shutdownGracefully(0, 1, TimeUnit.SECONDS);
            deleteDirectory();
        }
    }

    private void deleteDirectory() throws IOException {
        try (var left = Files.list(directory)) {
            for (Path path : left.toList()) {
                Files.delete(path);
            }
        }
        Files.delete(directory);
    }
}
