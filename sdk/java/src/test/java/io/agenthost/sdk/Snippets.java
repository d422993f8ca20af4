package io.agenthost.sdk;

import com.fasterxml.jackson.core.type.TypeReference;
import io.agenthost.sdk.literal.StructuredDataset;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** What README.md shows line by line, beside what the examples have. It only has to be compiled. */
final class Snippets {
    record Wanted(String statement, Optional<Integer> maxRows) {}

    record Settings(String region) {}

    record Work(String step) {}

    private Snippets() {}

    static List<Object> everyInput(Task task) {
        long limit = task.input("limit", Long.class); // also String, Double, Instant, Duration, records, …
        List<Double> ratios = task.input("ratios", new TypeReference<List<Double>>() {});
        StructuredDataset table = task.input("table", StructuredDataset.class); // also FlyteFile, FlyteDirectory
        Optional<String> region = task.optionalInput("region", String.class); // absent or None
        Wanted wanted = task.inputs(Wanted.class); // all at once: record Wanted(String statement, Optional<Integer> maxRows)
        Map<String, Object> values = task.inputs();
        Settings settings = task.custom(Settings.class); // the template's custom part
        String statement = task.sql();
        return List.of(limit, ratios, table, region, wanted, values, settings, statement);
    }

    static List<Object> everyDeedOfAStore(Path folder, Task task, Job<String> job) throws IOException {
        JobStore<Work> store = JobStore.open(folder, Work.class); // where the plugin's sandbox lets it write
        Work kept = store.add(task.idempotencyKey(), new Work("first")); // in create: the first of an attempt counts
        Work found = store.get(job.meta()); // in get
        Work changed = store.update(job.meta(), work -> new Work("second")); // behind the calls
        Map<String, Work> all = store.jobs(); // when the plugin begins: what there is to go on with
        return List.of(kept, found, changed, all);
    }
}
