package reports;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.flyteidl.core.SimpleType;
import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.AsyncAgent;
import io.agenthost.sdk.Job;
import io.agenthost.sdk.Plugin;
import io.agenthost.sdk.Resource;
import io.agenthost.sdk.SecretRef;
import io.agenthost.sdk.ServiceClient;
import io.agenthost.sdk.Size;
import io.agenthost.sdk.Task;
import io.agenthost.sdk.literal.StructuredDataset;
import io.agenthost.sdk.literal.Types;
import io.prometheus.metrics.core.metrics.Counter;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Tables that a service makes, reached by HTTP: what a plugin in Java looks like. The README of the SDK goes through it. */
public final class Reports implements AsyncAgent<Reports.Report> {
    private static final Logger LOG = LoggerFactory.getLogger(Reports.class);
    private static final Counter BEGUN = Counter.builder().name("reports_begun_total").register();
    private static final ObjectMapper JSON = new ObjectMapper();

    /** The plugin's {@code config:} in the host's file. */
    record Config(
            @JsonProperty(required = true) @JsonPropertyDescription("Where the service is.") String service,
            @JsonProperty(required = true) SecretRef token, // the name of a secret
            @JsonProperty(defaultValue = "1h") Duration patience, // "90s", "1h30m"
            @JsonProperty(defaultValue = "1GiB") Size maxSize) {}

    /** What a task brings: its inputs statement and, perhaps, max_rows. */
    record Wanted(String statement, Optional<Long> maxRows) {}

    /** What Flyte keeps between the calls, as JSON. */
    record Report(String id, String table, Instant until) {}

    /** What the service says of a job. */
    record Progress(String state, long rows, long of, String problem) {}

    private final ServiceClient client = new ServiceClient(HttpClient.newHttpClient());
    private Config config;

    void configure(Config config) {
        this.config = config;
    }

    /** Starts a job and returns at once. The service makes one job of a name, however often it is told. */
    @Override
    public Report create(Task task) throws Exception {
        Wanted wanted = task.inputs(Wanted.class);
        Report report = new Report(task.idempotencyKey(), task.outputPrefix() + "/report.parquet", Instant.now().plus(config.patience()));
        call("PUT", report.id(), Map.of("statement", wanted.statement(), "limit", wanted.maxRows().orElse(1000L),
                "max_bytes", config.maxSize().bytes(), "to", report.table()));
        BEGUN.inc();
        LOG.atInfo().addKeyValue("job", report.id()).log("report begun");
        return report;
    }

    /** Says how a job is. It may come to another process than the one that made the job. */
    @Override
    public Resource get(Job<Report> job) throws Exception {
        Progress said = call("GET", job.meta().id(), null);
        return switch (said.state()) {
            case "done" -> {
                List<StructuredDataset.Column> columns = List.of(new StructuredDataset.Column("city", Types.simple(SimpleType.STRING)));
                yield Resource.succeeded(Map.of("rows", said.rows(), "table", new StructuredDataset(job.meta().table(), "parquet", columns)));
            }
            case "failed" -> Resource.failed(said.problem()).withUserError("BadStatement");
            case "queued" -> Resource.queued("the service is busy");
            default -> Instant.now().isAfter(job.meta().until())
                    ? Resource.retryableFailed("the service took too long").withSystemError("TooSlow")
                    : Resource.running((double) said.rows() / said.of(), "%d of %d rows".formatted(said.rows(), said.of()))
                            .withLink("Report", config.service() + "/jobs/" + job.meta().id());
        };
    }

    /** Ends a job; it is fine if there is none. */
    @Override
    public void delete(Job<Report> job) throws Exception {
        call("DELETE", job.meta().id(), null);
    }

    /** Asks the service about a job. The client waits and asks again where the service is busy. */
    private Progress call(String method, String id, Map<String, ?> body) throws Exception {
        String token = config.token().get().reveal(); // each time: it may change
        HttpRequest request = HttpRequest.newBuilder(URI.create(config.service() + "/jobs/" + id)).header("Authorization", "Bearer " + token)
                .method(method, body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(JSON.writeValueAsString(body))).build();
        HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
        return switch (answer.statusCode()) {
            case 200 -> JSON.readValue(answer.body(), Progress.class);
            case 404 -> throw AgentException.notFound("the service has no job " + id);
            default -> throw AgentException.failedPrecondition("%s answers %d: %s".formatted(request.uri(), answer.statusCode(), answer.body()));
        };
    }

    /** Apart from main for the test. */
    static Plugin plugin() {
        Reports reports = new Reports();
        return Plugin.named("reports", "1.0.0").async("report", reports).configure(Config.class, reports::configure).idempotentCreate();
    }

    public static void main(String[] args) {
        plugin().serve();
    }
}
