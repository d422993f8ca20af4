package io.agenthost.snowflake;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/** The Python programs that the tests need, from the repository's pinned environments. */
final class Programs {
    static final Path REPOSITORY = Path.of("../..").toAbsolutePath().normalize();

    private Programs() {}

    /** Makes an environment, and returns the folder of its programs. */
    static Path environment(String name) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(REPOSITORY.resolve("scripts/venv").toString(), name)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String printed = new String(process.getInputStream().readAllBytes()).strip();
        if (process.waitFor() != 0) {
            throw new IOException("scripts/venv %s failed".formatted(name));
        }
        return Path.of(printed);
    }

    static void run(String... command) throws IOException, InterruptedException {
        int code = new ProcessBuilder(command).inheritIO().start().waitFor();
        if (code != 0) {
            throw new IOException("%s ended with %d".formatted(String.join(" ", command), code));
        }
    }

    static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }

    /** Starts fakesnow's server and waits until it listens. */
    static Process fakesnow(int port) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(List.of(environment("fakesnow").resolve("python").toString(), "-m", "uvicorn",
                "fakesnow.server:app", "--host", "127.0.0.1", "--port", String.valueOf(port), "--log-level", "error"))
                .redirectError(ProcessBuilder.Redirect.INHERIT).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        long end = System.nanoTime() + Duration.ofMinutes(2).toNanos();
        while (!listens(port)) {
            if (!process.isAlive() || System.nanoTime() > end) {
                process.destroyForcibly();
                throw new IOException("fakesnow does not listen on port " + port);
            }
            Thread.sleep(50);
        }
        return process;
    }

    private static boolean listens(int port) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("127.0.0.1", port), 1000);
            return true;
        } catch (IOException e) {
            return false;
        }
    }
}
