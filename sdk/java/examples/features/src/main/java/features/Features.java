package features;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.flyteidl.core.ExecutionMetricResult;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.agenthost.sdk.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
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

    public static void main(String[] args) {
        Plugin.named("features", "1.0.0")
                .async("features_job", new Features(), new Registration().named("Features").also(new Category("features_job", 2)).idempotentCreate())
                .async("features_plain", new Features(), new Registration().named("Plain"))
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
            case "hold" -> hold(Path.of(task.outputPrefix(), "begun"));
            default -> { }
        }
        Meta made = new Meta(what, task.idempotencyKey(), task.outputPrefix(), secondsLeft(task), task.outputTypes());
        attempts.put(task.idempotencyKey(), Optional.of(made));
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
