package io.agenthost.sdk;

import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.protobuf.services.HealthStatusManager;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * The gRPC server of a plugin's process: on a unix socket, or on a loopback port where there is no epoll, under mutual
 * TLS when the host asks for it.
 */
final class Listener implements AutoCloseable {
    /** What fits into sockaddr_un, without the final zero. */
    private static final int MAX_SOCKET_PATH = 107;

    private final Services services;
    private final Control control = new Control();
    private final HealthStatusManager health = new HealthStatusManager();
    private final MutualTls tls;
    private final Path socket;
    private final Path ownDirectory;
    private final EventLoopGroup loops;
    private final Server server;

    private Listener(Plugin plugin, Map<String, String> environment) throws Exception {
        services = new Services(plugin);
        tls = MutualTls.of(environment.get("PLUGIN_CLIENT_CERT"));
        String directory = environment.getOrDefault("PLUGIN_UNIX_SOCKET_DIR", "");
        boolean unix = Epoll.isAvailable();
        ownDirectory = unix && directory.isEmpty() ? Files.createTempDirectory("agenthost-") : null;
        socket = unix ? socketIn(ownDirectory == null ? Path.of(directory) : ownDirectory) : null;
        loops = unix ? new EpollEventLoopGroup(1) : null;
        server = start();
    }

    /** Starts listening. */
    static Listener open(Plugin plugin, Map<String, String> environment) throws Exception {
        return new Listener(plugin, environment);
    }

    private static Path socketIn(Path directory) throws IOException {
        Path path = directory.resolve("p" + UUID.randomUUID().toString().substring(0, 8));
        int length = path.toString().getBytes(StandardCharsets.UTF_8).length;
        if (length > MAX_SOCKET_PATH) {
            throw new IOException("the path of the unix socket, %s, has %d bytes, and %d is the limit: choose a shorter directory"
                    .formatted(path, length, MAX_SOCKET_PATH));
        }
        return path;
    }

    private Server start() throws Exception {
        NettyServerBuilder builder = socket == null
                ? NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
                : NettyServerBuilder.forAddress(new DomainSocketAddress(socket.toFile()))
                        .channelType(EpollServerDomainSocketChannel.class).bossEventLoopGroup(loops).workerEventLoopGroup(loops);
        // Both Flytes and the host ping idle connections, which the default would answer by closing them.
        builder.permitKeepAliveTime(1, TimeUnit.SECONDS).permitKeepAliveWithoutCalls(true);
        builder.maxInboundMetadataSize(1 << 20);
        if (tls != null) {
            builder.sslContext(tls.context());
        }
        services.addTo(builder);
        builder.addService(health.getHealthService()).addService(control.controller()).addService(control.stdio());
        health.setStatus(Contract.HEALTH_SERVICE, io.grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING);
        return builder.build().start();
    }

    /** Writes the line by which the host learns where the plugin listens: its only one on standard output. */
    void announce(PrintStream stdout) {
        String network = socket == null ? "tcp" : "unix";
        String address = socket == null ? "127.0.0.1:" + server.getPort() : socket.toString();
        stdout.printf("1|%s|%s|%s|grpc|%s\n", Contract.PROTOCOL_VERSION, network, address, tls == null ? "" : tls.certificate());
        stdout.flush();
    }

    Services services() {
        return services;
    }

    Control control() {
        return control;
    }

    /** Ends what stays open as long as the plugin lives, and waits for the last answers to leave. */
    void stop(long maxWait, TimeUnit unit) throws InterruptedException {
        health.enterTerminalState();
        control.release();
        server.shutdown();
        if (!server.awaitTermination(maxWait, unit)) {
            server.shutdownNow();
        }
    }

    @Override
    public void close() throws IOException {
        server.shutdownNow();
        services.shutdown();
        if (socket != null) {
            Files.deleteIfExists(socket);
        }
        if (ownDirectory != null) {
            Files.deleteIfExists(ownDirectory);
        }
    }
}
