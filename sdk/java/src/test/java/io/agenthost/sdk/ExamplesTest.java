package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The examples in the SDK's documentation: this file has each of them, line by line, compiles it and runs it. */
class ExamplesTest {
    private static final Path MAIN = Path.of("src/main/java");
    private static final Path THIS = Path.of("src/test/java/io/agenthost/sdk/ExamplesTest.java");
    private static final Pattern EXAMPLE = Pattern.compile("<pre>\\{@code\\n(.*?)\\}</pre>", Pattern.DOTALL);

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
        assertEquals(6, examples.size(), "the examples found");
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
