package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import io.agenthost.sdk.literal.FlyteFile;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The examples in the SDK's documentation: this file has each of them, line by line, compiles it and runs it; README.md's are in others, too. */
class ExamplesTest {
    private static final Path MAIN = Path.of("src/main/java");
    private static final Path THIS = Path.of("src/test/java/io/agenthost/sdk/ExamplesTest.java");
    private static final Pattern EXAMPLE = Pattern.compile("<pre>\\{@code\\n(.*?)\\}</pre>", Pattern.DOTALL);
    // Commands, ```sh, are run by test/languages.
    private static final Pattern BLOCK = Pattern.compile("```(?!sh)\\w+\\n(.*?)```", Pattern.DOTALL);

    /** Not run: serving ends the process. */
    static final class Program {
        public static void main(String[] args) {
            Plugin.named("warehouse", "1.0.0").async("warehouse_query", new Warehouse()).serve();
        }
    }

    @Test
    void aTestRunsATask() throws Exception {
        try (AgentTest test = AgentTest.of(Plugin.named("warehouse", "1.0.0").async("warehouse_query", new Warehouse()))) {
            TestResult result = test.run(TestTask.of("warehouse_query").input("statement", "select 1"));
            assertEquals("select 1", result.output("ran", String.class));
        }
    }

    @Test
    void aRegistrationSaysMoreOfAnAgent() throws Exception {
        Plugin plugin = Plugin.named("warehouse", "1.0.0")
                .async("warehouse_query", new Warehouse(), new Registration().named("Warehouse").atVersion(2).idempotentCreate());
        try (AgentTest test = AgentTest.of(plugin)) {
            assertEquals("Warehouse", test.agents().get(0).getName());
            assertEquals(List.of("idempotent_create"), test.describe().getCapabilitiesList().stream().toList());
        }
    }

    @Test
    void aResourceSaysHowAJobIs() {
        Resource running = Resource.running("40 %").withLink("Console", "https://example.com/1").withInfo("rows", 3);
        Resource failed = Resource.failed("no such table").withUserError("BadSQL");
        assertEquals(List.of(Phase.RUNNING, Phase.FAILED), List.of(running.phase(), failed.phase()));
        assertEquals(new JobError("BadSQL", JobError.Origin.USER), failed.error());
    }

    @Test
    void aTasksInputsAreReadAsARecord() throws Exception {
        record Wanted(String statement, Optional<Integer> maxRows) {} // the inputs statement and max_rows

        SyncAgent agent = task -> {
            Wanted wanted = task.inputs(Wanted.class);
            return Resource.succeeded(Map.of("rows", wanted.maxRows().orElse(10)));
        };
        try (AgentTest test = AgentTest.of(Plugin.named("rows", "1").sync("rows", agent))) {
            TestResult result = test.run(TestTask.of("rows").input("statement", "select 1").input("max_rows", 3));
            assertEquals(3L, result.output("rows", Long.class));
        }
    }

    @Test
    void aFileIsWrittenBesideTheOutputs(@TempDir Path prefix) throws Exception {
        String content = "airport,flights\nJFK,3\n";
        SyncAgent agent = task -> {
            FlyteFile report = OutputFiles.of(task.outputPrefix()).write("report.csv", content);
            return Resource.succeeded(Map.of("report", report));
        };
        try (AgentTest test = AgentTest.of(Plugin.named("reports", "1").sync("report", agent))) {
            TestResult result = test.run(TestTask.of("report").outputPrefix(prefix.toString()));
            assertEquals("SUCCEEDED", result.phase(), result.message());
            assertEquals(content, Files.readString(prefix.resolve("report.csv")));
        }
    }

    /** Tests are not to wait: the service says that it may be asked again at once. */
    @Test
    void aServiceThatIsBusyIsAskedAgain() throws Exception {
        AtomicInteger asked = new AtomicInteger();
        HttpServer service = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        service.createContext("/", exchange -> {
            boolean busy = asked.incrementAndGet() < 3;
            exchange.getResponseHeaders().set("Retry-After", "0");
            exchange.sendResponseHeaders(busy ? 503 : 200, 0);
            exchange.getResponseBody().write("said".getBytes(StandardCharsets.UTF_8));
            exchange.close();
        });
        service.start();
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + service.getAddress().getPort())).build();
        SyncAgent agent = task -> {
            ServiceClient client = new ServiceClient(HttpClient.newHttpClient()); // one for the plugin
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            return Resource.succeeded(Map.of("answer", answer.body()));
        };
        try (AgentTest test = AgentTest.of(Plugin.named("asking", "1").sync("asking", agent))) {
            assertEquals("said", test.run(TestTask.of("asking")).output("answer", String.class));
            assertEquals(3, asked.get());
        } finally {
            service.stop(0);
        }
    }

    @Test
    void aJobInAFileOutlivesItsAgent(@TempDir Path folder) throws Exception {
        record Work(String step) {} // what is known of a job

        class Queue implements AsyncAgent<String> {
            @Override
            public String create(Task task) throws IOException {
                JobStore<Work> store = JobStore.open(folder, Work.class); // where the plugin's sandbox lets it write
                Work work = store.add(task.idempotencyKey(), new Work("first")); // in create: the first of an attempt counts
                return work.step().isEmpty() ? "" : task.idempotencyKey();
            }

            @Override
            public Resource get(Job<String> job) throws IOException {
                JobStore<Work> store = JobStore.open(folder, Work.class);
                return Resource.succeeded(Map.of("step", store.get(job.meta()).step()));
            }

            @Override
            public void delete(Job<String> job) throws IOException {
                JobStore.open(folder, Work.class).delete(job.meta());
            }
        }

        try (AgentTest test = AgentTest.of(Plugin.named("queue", "1").async("queue", new Queue()))) {
            assertEquals("first", test.run(TestTask.of("queue").idempotencyKey("attempt")).output("step", String.class));
        }
    }

    @Test
    void everyExampleInTheDocumentationIsHere() throws IOException {
        String here = lines(Files.readString(THIS));
        List<String> examples = new ArrayList<>();
        try (Stream<Path> sources = Files.walk(MAIN)) {
            for (Path source : sources.filter(path -> path.toString().endsWith(".java")).toList()) {
                for (MatchResult example : EXAMPLE.matcher(Files.readString(source)).results().toList()) {
                    String text = lines(example.group(1).replaceAll("(?m)^ *\\* ?", ""));
                    assertTrue(here.contains(text), () -> "an example in " + source + " is not in this test:\n" + text);
                    examples.add(text);
                }
            }
        }
        assertEquals(9, examples.size(), "the examples found");
    }

    @Test
    void everyBlockOfTheReadmeIsInAProgramThatIsBuilt() throws IOException {
        List<String> programs = new ArrayList<>();
        for (String folder : List.of("src/test/java", "examples/reports/src", "examples/hello-kotlin/src", "examples/hello/pom.xml")) {
            try (Stream<Path> files = Files.walk(Path.of(folder))) {
                for (Path file : files.filter(Files::isRegularFile).toList()) {
                    programs.add(lines(Files.readString(file)));
                }
            }
        }
        List<MatchResult> blocks = BLOCK.matcher(Files.readString(Path.of("README.md"))).results().toList();
        for (MatchResult block : blocks) {
            String text = lines(block.group(1));
            assertTrue(programs.stream().anyMatch(program -> program.contains(text)), () -> "a block of README.md is in no program:\n" + text);
        }
        assertEquals(13, blocks.size(), "the blocks found");
    }

    /** A text without its indentation and empty lines. */
    private static String lines(String text) {
        return text.lines().map(String::strip).filter(line -> !line.isEmpty()).collect(Collectors.joining("\n", "\n", "\n"));
    }
}

final class Warehouse implements AsyncAgent<Warehouse.Query> {
    record Query(String statement) {} // what Flyte keeps between the calls

    public Query create(Task task) {
        return new Query(task.input("statement", String.class)); // start, return at once
    }

    public Resource get(Job<Query> job) {
        return Resource.succeeded(Map.of("ran", job.meta().statement())); // how is it?
    }

    public void delete(Job<Query> job) {} // end it; fine if it is gone
}
