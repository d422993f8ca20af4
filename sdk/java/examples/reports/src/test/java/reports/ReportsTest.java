package reports;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.agenthost.sdk.Category;
import io.agenthost.sdk.ConfigError;
import io.agenthost.sdk.literal.StructuredDataset;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The reports beside a service: a job is done when it is asked for a third time. */
class ReportsTest {
    private final Map<String, Integer> jobs = new ConcurrentHashMap<>();
    private boolean busy = true;
    private HttpServer service;

    @BeforeEach
    void serve() throws IOException {
        service = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        service.createContext("/jobs/", this::answer);
        service.start();
    }

    @AfterEach
    void stop() {
        service.stop(0);
    }

    /** Busy once, which it says may be asked again at once. */
    private void answer(HttpExchange exchange) throws IOException {
        String id = exchange.getRequestURI().getPath().substring("/jobs/".length());
        exchange.getRequestBody().readAllBytes();
        exchange.getResponseHeaders().set("Retry-After", "0");
        String said = "{\"state\": \"running\", \"rows\": 4, \"of\": 10}";
        int status = 200;
        if (busy) {
            busy = false;
            status = 503;
        } else if (!List.of("Bearer hush").equals(exchange.getRequestHeaders().get("Authorization"))) {
            status = 403;
        } else if (exchange.getRequestMethod().equals("PUT")) {
            jobs.putIfAbsent(id, 0);
        } else if (!jobs.containsKey(id)) {
            status = 404;
        } else if (exchange.getRequestMethod().equals("DELETE")) {
            jobs.remove(id);
        } else if (jobs.merge(id, 1, Integer::sum) > 2) {
            said = "{\"state\": \"done\", \"rows\": 10, \"of\": 10}";
        }
        exchange.sendResponseHeaders(status, said.length());
        exchange.getResponseBody().write(said.getBytes(StandardCharsets.UTF_8));
        exchange.close();
    }

    private AgentTest start() throws IOException {
        String url = "http://127.0.0.1:" + service.getAddress().getPort();
        return AgentTest.of(Reports.plugin()).configure(Map.of("service", url, "token", "report_token", "patience", "5m"));
    }

    @Test
    void aReportIsMadeAcrossARestart() throws Exception {
        TestTask task = TestTask.of("report").input("statement", "select 1").outputPrefix("s3://outputs/0").idempotencyKey("5".repeat(64));
        TestJob job;
        try (AgentTest first = start()) {
            job = first.create(task);
            assertEquals("40%: 4 of 10 rows", job.get().message());
        }
        try (AgentTest second = start()) { // the next process has the job's metadata alone
            TestResult done = second.job(new Category("report", 0), job.meta()).await();
            assertEquals("s3://outputs/0/report.parquet", done.output("table", StructuredDataset.class).uri());
            second.create(task); // the same attempt again makes no other job
            assertEquals(1, jobs.size());
        }
    }

    @Test
    void aDeletedReportIsGone() throws Exception {
        try (AgentTest test = start()) {
            TestJob job = test.create(TestTask.of("report").input("statement", "select 1").idempotencyKey("5".repeat(64)));
            job.delete();
            assertEquals(Status.Code.NOT_FOUND, assertThrows(StatusRuntimeException.class, job::get).getStatus().getCode());
        }
    }

    @Test
    void aWrongConfigurationIsNamed() throws Exception {
        try (AgentTest test = AgentTest.of(Reports.plugin())) {
            List<ConfigError> errors = test.configErrors(Map.of("service", "http://reports", "token", "absent", "patience", "soon"));
            assertEquals(List.of("patience", "token"), errors.stream().map(ConfigError::key).sorted().toList());
        }
    }
}
