package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** What agents have beside their calls: jobs in files, files beside the outputs. */
class BesideTest {
    @TempDir
    Path folder;

    record Work(String step, int tries) {}

    private List<String> files() throws IOException {
        try (Stream<Path> all = Files.list(folder)) {
            return all.map(path -> path.getFileName().toString()).filter(name -> !name.equals(".lock")).sorted().toList();
        }
    }

    @Test
    void theFirstJobOfAnAttemptIsKeptUntilItIsReplacedOrDeleted() throws Exception {
        JobStore<Work> older = JobStore.open(folder, Work.class);
        JobStore<Work> newer = JobStore.open(folder, Work.class);
        assertEquals(new Work("first", 0), older.add("a/b", new Work("first", 0)));
        assertEquals(new Work("first", 0), newer.add("a/b", new Work("second", 0)));
        newer.put("a/b", new Work("second", 1));
        assertEquals(new Work("second", 1), older.get("a/b"));
        assertEquals(List.of("a%2Fb.json"), files());
        older.delete("a/b");
        older.delete("a/b");
        assertEquals(Status.Code.NOT_FOUND, assertThrows(AgentException.class, () -> newer.get("a/b")).code());
        assertEquals(Status.Code.INVALID_ARGUMENT, assertThrows(AgentException.class, () -> newer.get("")).code());
    }

    @Test
    void aJobIsChangedOrStaysAsItWas() throws Exception {
        JobStore<Work> store = JobStore.open(folder, Work.class);
        store.put("a", new Work("first", 0));
        assertEquals(new Work("first", 1), store.update("a", work -> new Work(work.step(), work.tries() + 1)));
        assertThrows(IllegalStateException.class, () -> store.update("a", work -> {
            throw new IllegalStateException("no");
        }));
        assertThrows(AgentException.class, () -> store.update("a", work -> null));
        assertEquals(new Work("first", 1), JobStore.open(folder, Work.class).get("a"));
        assertEquals(Status.Code.NOT_FOUND, assertThrows(AgentException.class, () -> store.update("b", work -> work)).code());
        assertEquals(List.of("a.json"), files());
    }

    @Test
    void jobsAreListedByTheirIds() throws Exception {
        JobStore<Work> store = JobStore.open(folder, Work.class);
        Map<String, Work> kept = new TreeMap<>();
        for (String id : List.of("a", "..", ".hidden", "a/b", "ä b%", "f".repeat(64))) {
            kept.put(id, store.add(id, new Work(id, 1)));
        }
        Files.writeString(folder.resolve("bad.json"), "{");
        Files.writeString(folder.resolve("%zz.json"), "{\"format\":1,\"job\":{}}");
        Files.writeString(folder.resolve(".new-begun"), "{");
        assertEquals(kept, JobStore.open(folder, Work.class).jobs());
    }

    @Test
    void whatAProcessLeftHalfWrittenIsRemoved() throws Exception {
        for (String name : List.of(".new-old", ".new-fresh")) {
            Files.writeString(folder.resolve(name), "{");
        }
        Files.setLastModifiedTime(folder.resolve(".new-old"), FileTime.from(Instant.now().minus(Duration.ofHours(2))));
        JobStore.open(folder, Work.class);
        assertEquals(List.of(".new-fresh"), files());
    }

    @Test
    void aFolderThatCannotBeWrittenIsNamedWithTheSandbox() throws Exception {
        Path file = Files.createFile(folder.resolve("file"));
        String said = assertThrows(AgentException.class, () -> JobStore.open(file, Work.class)).getMessage();
        assertTrue(said.contains("`write:`") && said.contains(file.toString()), said);
    }

    private static final int CHANGES = 50;

    /** What each of several processes does to one job. */
    static final class Changing {
        public static void main(String[] args) throws IOException {
            JobStore<Work> store = JobStore.open(Path.of(args[0]), Work.class);
            for (int i = 0; i < CHANGES; i++) {
                store.add("a", new Work("first", 0));
                store.update("a", work -> new Work(work.step(), work.tries() + 1));
            }
        }
    }

    @Test
    void noChangeOfAnyProcessIsLost() throws Exception {
        List<Process> processes = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            processes.add(new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"), Changing.class.getName(), folder.toString()).inheritIO().start());
        }
        List<CompletableFuture<Void>> threads = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            threads.add(CompletableFuture.runAsync(() -> assertDoesNotThrow(() -> Changing.main(new String[] {folder.toString()}))));
        }
        threads.forEach(CompletableFuture::join);
        for (Process process : processes) {
            assertEquals(0, process.waitFor());
        }
        assertEquals(4 * CHANGES, JobStore.open(folder, Work.class).get("a").tries());
    }

    @Test
    void whatIsNoFileOfThisVersionIsRefusedByItsName() throws Exception {
        JobStore<Work> store = JobStore.open(folder, Work.class);
        for (String content : List.of("{\"format\":2,\"job\":{}}", "{\"format\":1,\"jo", "{}", "{\"format\":1,\"job\":{\"tries\":\"many\"}}")) {
            Files.writeString(folder.resolve("x.json"), content);
            for (Executable call : List.<Executable>of(() -> store.get("x"), () -> store.add("x", new Work("first", 0)), () -> store.update("x", work -> work))) {
                AgentException refused = assertThrows(AgentException.class, call, content);
                assertEquals(Status.Code.FAILED_PRECONDITION, refused.code());
                assertTrue(refused.getMessage().contains("x.json"), refused.getMessage());
            }
            assertEquals(content, Files.readString(folder.resolve("x.json")));
        }
    }

    @Test
    void filesAreWrittenBelowTheOutputPrefixAndNowhereElse() throws Exception {
        OutputFiles files = OutputFiles.of("file://" + folder + "/0/");
        assertEquals("file://" + folder + "/0/a/report.csv", files.write("a/report.csv", "x").uri());
        assertEquals("x", Files.readString(folder.resolve("0/a/report.csv")));
        for (String name : List.of("", "../x", "/x", "a/../x", "..")) {
            assertEquals(Status.Code.INVALID_ARGUMENT, assertThrows(AgentException.class, () -> files.write(name, "x"), name).code());
        }
        AgentException unknown = assertThrows(AgentException.class, () -> OutputFiles.of("nowhere://b/0").write("x", "x"));
        assertTrue(unknown.getMessage().contains("FileSystemProvider for nowhere"), unknown.getMessage());
        assertThrows(AgentException.class, () -> OutputFiles.of(""));
    }

    @Test
    void progressIsShownAndKept() {
        Resource running = Resource.running(0.4, "4 of 10 files");
        assertEquals("40%: 4 of 10 files", running.message());
        assertEquals(0.4, running.customInfo().get("progress"));
        assertThrows(IllegalArgumentException.class, () -> Resource.running(40, ""));
    }
}
