package features;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.flyteidl.core.ExecutionMetricResult;
import com.flyteidl.core.SimpleType;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.agenthost.sdk.*;
import io.agenthost.sdk.literal.FlyteDirectory;
import io.agenthost.sdk.literal.FlyteFile;
import io.agenthost.sdk.literal.StructuredDataset;
import io.agenthost.sdk.literal.Types;
import io.prometheus.metrics.core.metrics.Counter;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Everything that the Java SDK offers, in one plugin. A job does what its input "do" says. test/languages/features asks it, as it
 * asks the same example in the other languages.
 */
public class Features implements AsyncAgent<Features.Meta>, MetaCodec<Features.Meta>, Finder<Features.Meta>, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Features.class);
    private static final ObjectMapper JSON = new ObjectMapper();

    /** What became of the attempts, by their keys: a job, or nothing where the attempt was abandoned. */
    private final Map<String, Optional<Meta>> attempts = new ConcurrentHashMap<>();

    /** What Flyte keeps of a job. */
    record Meta(@JsonProperty("do") String what, String key, String prefix, double secondsLeft, OutputTypes types) {}

    enum Region { eu, us }

    record Limits(Integer cpu) {}

    record Config(@JsonProperty(required = true) @JsonPropertyDescription("Where jobs run.") Region region, Duration grace, Size memory,
            List<String> hosts, Map<String, Integer> weights, Optional<Limits> limits) {}

    record Counted(int count, String label) {}

    record Point(long x, String label) {}

    record Refers(FlyteFile file, FlyteDirectory directory, StructuredDataset table) {}

    private static final Counter CREATED = Counter.builder().name("features_jobs_total").labelNames("do").register();
    private static final ServiceClient CLIENT = new ServiceClient(HttpClient.newHttpClient());

    private final CompletableFuture<Instant> replaced;

    Features(CompletableFuture<Instant> replaced) {
        this.replaced = replaced;
    }

    public static void main(String[] args) throws IOException {
        Plugin plugin = Plugin.named("features", "1.0.0");
        String store = System.getenv().getOrDefault("FEATURES_STORE", Path.of(System.getProperty("java.io.tmpdir"), "features").toString());
        plugin.async("features_job", new Features(plugin.replaced()), new Registration().named("Features").also(new Category("features_job", 2)).idempotentCreate())
                .async("features_plain", new Features(plugin.replaced()), new Registration().named("Plain"))
                .async("features_blocks", new Features(plugin.replaced()), new Registration().named("Blocks"))
                .async("features_stored", new Stored(JobStore.open(Path.of(store), Kept.class)))
                .sync("features_refers", Features::refers)
                .sync("features_writes", Features::writes)
                .sync("features_fetches", Features::fetches)
                .sync("features_echo", task -> Resource.succeeded(task.inputs()))
                .sync("features_custom", task -> counted(task.custom(Counted.class)))
                .sync("features_together", task -> counted(task.inputs(Counted.class)))
                .sync("features_point", task -> {
                    Point point = task.input("point", Point.class);
                    return Resource.succeeded(Map.of("point", new Point(point.x() + 1, point.label())));
                })
                .configure(Config.class, config -> {})
                .serve();
    }

    record Kept(@JsonProperty("do") String what, String key) {}

    /** Keeps its jobs in files, by the attempts' keys, which are all that Flyte keeps. */
    record Stored(JobStore<Kept> jobs) implements AsyncAgent<String> {
        @Override
        public String create(Task task) throws IOException {
            return jobs.add(task.idempotencyKey(), new Kept(task.input("do", String.class), task.idempotencyKey())).key();
        }

        @Override
        public Resource get(Job<String> job) throws IOException {
            Kept kept = jobs.get(job.meta());
            return Resource.succeeded(Map.of("do", kept.what(), "key", kept.key()));
        }

        @Override
        public void delete(Job<String> job) throws IOException {
            jobs.delete(job.meta());
        }
    }

    private static Resource refers(Task task) {
        Refers in = task.inputs(Refers.class);
        String columns = in.table().columns().stream().map(column -> " " + column.name()).collect(Collectors.joining());
        List<StructuredDataset.Column> n = List.of(new StructuredDataset.Column("n", Types.simple(SimpleType.INTEGER)));
        return Resource.succeeded(Map.of(
                "said", "file %s %s, directory %s, table %s %s%s".formatted(in.file().uri(), in.file().format(), in.directory().uri(),
                        in.table().uri(), in.table().format(), columns),
                "file", new FlyteFile(in.file().uri() + ".out", "json"),
                "directory", new FlyteDirectory(in.directory().uri() + ".out", in.directory().format()),
                "table", new StructuredDataset(in.table().uri() + ".out", "parquet", n)));
    }

    private static Resource writes(Task task) throws IOException {
        String text = task.input("text", String.class);
        OutputFiles files = OutputFiles.of(task.outputPrefix());
        FlyteFile file = files.write("report.txt", text);
        files.writeDeck("<h1>Report</h1><p>" + text.replace("&", "&amp;").replace("<", "&lt;") + "</p>");
        return Resource.succeeded(Map.of("file", file));
    }

    private static Resource fetches(Task task) throws InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(task.input("url", String.class))).build();
        HttpResponse<String> answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw AgentException.invalidArgument("%s answers %d".formatted(request.uri(), answer.statusCode()));
        }
        return Resource.succeeded(Map.of("body", answer.body()));
    }

    private static Resource counted(Counted counted) {
        return Resource.succeeded(Map.of("count", counted.count(), "label", counted.label()));
    }

    @Override
    public Meta create(Task task) throws Exception {
        if (Optional.empty().equals(attempts.get(task.idempotencyKey()))) {
            throw AgentException.abandoned("the attempt was abandoned");
        }
        String what = task.input("do", String.class);
        switch (what) {
            case "unavailable" -> throw AgentException.unavailable("the warehouse is closed");
            case "panic" -> throw new IllegalStateException("out of order");
            case "print" -> {
                System.out.println("printed to stdout");
                LOG.atWarn().addKeyValue("rows", 3).log("logged");
            }
            case "block" -> block();
            case "watch" -> replaced.thenRun(() -> LOG.info("replaced"));
            case "hold" -> hold(Path.of(task.outputPrefix(), "begun"));
            default -> { }
        }
        Meta made = new Meta(what, task.idempotencyKey(), task.outputPrefix(), secondsLeft(task), task.outputTypes());
        attempts.put(task.idempotencyKey(), Optional.of(made));
        CREATED.labelValues(what).inc();
        return made;
    }

    private static double secondsLeft(Task task) {
        return task.deadline().map(deadline -> Duration.between(Instant.now(), deadline).toMillis() / 1000.0).orElse(0.0);
    }

    @Override
    public Meta find(Task task) {
        Optional<Meta> made = attempts.get(task.idempotencyKey());
        if (made == null) {
            throw AgentException.notFound("the attempt has no job");
        }
        return made.orElseThrow(() -> AgentException.abandoned("the attempt was abandoned"));
    }

    @Override
    public void abandon(Task task) {
        attempts.put(task.idempotencyKey(), Optional.empty());
    }

    /** Never ends, and heeds no interrupt. */
    private static void block() {
        LOG.info("blocks");
        while (true) {
            LockSupport.park();
            Thread.interrupted(); // which park would not wait after
        }
    }

    /** Waits until the file that it makes is gone. */
    private static void hold(Path file) throws Exception {
        Files.createFile(file);
        while (Files.exists(file)) {
            Thread.sleep(10);
        }
    }

    @Override
    public Resource get(Job<Meta> job) {
        return switch (job.meta().what()) {
            case "running" -> Resource.running("half way").withLink("Console", "https://example.com/1")
                    .withLink(new Link("Queue", "https://example.com/2", true, true)).withInfo("rows", 3);
            case "progress" -> Resource.running(0.4, "4 of 10 files");
            case "user-error" -> Resource.failed("no such table").withUserError("BadSQL");
            case "system-error" -> Resource.retryableFailed("no more slots").withSystemError("Quota");
            case "typed" -> Resource.succeeded(Map.of("ratio", 1)).withOutputTypes(job.meta().types());
            default -> {
                Secret secret = job.secret("from_variable");
                Map<String, Object> outputs = new HashMap<>(Map.of("key", job.meta().key(), "created_prefix", job.meta().prefix(),
                        "polled_prefix", job.outputPrefix(), "seconds_left", job.meta().secondsLeft(), "variable", secret.reveal(), "file", job.secret("from_file").reveal(),
                        "printed", secret.toString()));
                Optional.ofNullable(job.connection().configs().get("host")).ifPresent(host -> outputs.put("host", host));
                yield Resource.succeeded(outputs);
            }
        };
    }

    @Override
    public void delete(Job<Meta> job) {}

    @Override
    public void logs(Job<Meta> job, LogQuery query, LogStream out) throws InterruptedException {
        out.send(List.of(new LogLine(Instant.ofEpochSecond(1_000_000_000), "first", LogLine.Originator.USER),
                new LogLine(null, "second", LogLine.Originator.SYSTEM)));
        out.nextToken("2");
    }

    @Override
    public List<ExecutionMetricResult> metrics(Job<Meta> job, MetricsQuery query) {
        long span = Duration.between(query.start().orElseThrow(), query.end().orElseThrow()).toSeconds();
        Struct data = Struct.newBuilder().putFields("span", number(span)).putFields("step", number(query.step().toSeconds())).build();
        return query.queries().stream().map(name -> ExecutionMetricResult.newBuilder().setMetric(name).setData(data).build()).toList();
    }

    private static Value number(double number) {
        return Value.newBuilder().setNumberValue(number).build();
    }

    @Override
    public byte[] encodeMeta(Meta meta) throws Exception {
        return JSON.writeValueAsBytes(meta);
    }

    /** Also reads what another program has written: "legacy:" and what the job does. */
    @Override
    public Meta decodeMeta(byte[] data) throws Exception {
        String text = new String(data, StandardCharsets.UTF_8);
        if (text.startsWith("legacy:")) {
            return new Meta(text.substring("legacy:".length()), "", "", 0, new OutputTypes(Map.of()));
        }
        return JSON.readValue(data, Meta.class);
    }

    @Override
    public void close() {
        LOG.info("closed");
    }
}
