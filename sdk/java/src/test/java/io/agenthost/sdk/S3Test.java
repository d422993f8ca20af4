package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.grpc.Status;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Files in buckets, by the real client of S3, which has a server that says what it was asked. */
class S3Test {
    private static final int MIB = 1 << 20;

    private final List<String> asked = new CopyOnWriteArrayList<>();
    private final AtomicLong received = new AtomicLong();
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private int refusal;
    private HttpServer server;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", this::answer);
        server.setExecutor(threads);
        server.start();
        client().forEach(System::setProperty);
    }

    @AfterEach
    void stop() {
        client().keySet().forEach(System::clearProperty);
        server.stop(0);
        threads.shutdownNow();
    }

    private Map<String, String> client() {
        return Map.of("aws.endpointUrlS3", "http://127.0.0.1:" + server.getAddress().getPort(), "aws.region", "us-east-1",
                "aws.accessKeyId", "key", "aws.secretAccessKey", "secret");
    }

    private void answer(HttpExchange exchange) throws IOException {
        String query = exchange.getRequestURI().getQuery();
        String what = query == null ? "" : query.replaceAll("&?uploadId=7|=$", "");
        asked.add("%s %s%s".formatted(exchange.getRequestMethod(), exchange.getRequestURI().getPath(), what.isEmpty() ? "" : "?" + what));
        byte[] buffer = new byte[64 << 10];
        for (int n = exchange.getRequestBody().read(buffer); n >= 0; n = exchange.getRequestBody().read(buffer)) {
            received.addAndGet(n);
        }
        String said = "uploads".equals(what) ? "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>" : "";
        exchange.getResponseHeaders().set("ETag", "\"0\"");
        byte[] body = said.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(refusal == 0 ? 200 : refusal, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    /** A content that is made as it is read. */
    private final class Made extends InputStream {
        private final long size;
        private final long brokenAt;
        private long read;
        private long lead;

        Made(long size, long brokenAt) {
            this.size = size;
            this.brokenAt = brokenAt;
        }

        @Override
        public int read() {
            throw new UnsupportedOperationException("one byte at a time");
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            if (read >= brokenAt) {
                throw new IOException("the disk is gone");
            }
            int n = (int) Math.min(length, size - read);
            read += n;
            lead = Math.max(lead, read - received.get());
            return n == 0 && length > 0 ? -1 : n;
        }
    }

    @Test
    void aLargeFileIsWrittenAsItIsRead() throws Exception {
        Made content = new Made(64 * MIB, Long.MAX_VALUE);
        assertEquals("s3://bucket/0/large.bin", OutputFiles.of("s3://bucket/0").write("large.bin", content).uri());
        assertEquals(8, asked.stream().filter(what -> what.startsWith("PUT /bucket/0/large.bin?partNumber=")).distinct().count(), asked::toString);
        assertEquals("POST /bucket/0/large.bin", asked.get(asked.size() - 1));
        assertTrue(received.get() >= 64 * MIB, () -> "received " + received);
        assertTrue(content.lead < 48 * MIB, () -> content.lead + " bytes were in memory");
    }

    @Test
    void aSmallFileIsWrittenInOneRequest() throws Exception {
        OutputFiles.of("s3://bucket").write("a/small.txt", "x");
        assertEquals(List.of("PUT /bucket/a/small.txt"), asked);
    }

    @Test
    void aFileThatCannotBeReadToItsEndIsNotThere() throws Exception {
        AgentException refused = assertThrows(AgentException.class,
                () -> OutputFiles.of("s3://bucket/0").write("large.bin", new Made(64 * MIB, 20 * MIB)));
        assertTrue(refused.getMessage().contains("the disk is gone"), refused.getMessage());
        assertTrue(asked.stream().noneMatch("POST /bucket/0/large.bin"::equals), asked::toString);
    }

    @Test
    void aRefusalNamesTheFile() {
        refusal = 403;
        AgentException refused = assertThrows(AgentException.class, () -> OutputFiles.of("s3://bucket/0").write("report.csv", "x"));
        assertEquals(Status.Code.FAILED_PRECONDITION, refused.code());
        assertTrue(refused.getMessage().startsWith("report.csv cannot be written below s3://bucket/0: "), refused.getMessage());
    }
}
