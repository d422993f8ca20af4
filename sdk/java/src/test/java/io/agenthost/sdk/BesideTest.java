package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What agents have beside their calls: jobs in files, files beside the outputs. */
class BesideTest {
    @TempDir
    Path folder;

    record Work(String step, int tries) {}

    private List<String> files() throws IOException {
        try (Stream<Path> all = Files.list(folder)) {
            return all.map(path -> path.getFileName().toString()).sorted().toList();
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
    void whatIsNoFileOfThisVersionIsRefusedByItsName() throws Exception {
        JobStore<Work> store = JobStore.open(folder, Work.class);
        for (String content : List.of("{\"format\":2,\"job\":{}}", "{\"format\":1,\"jo", "{}", "{\"format\":1,\"job\":{\"tries\":\"many\"}}")) {
            Files.writeString(folder.resolve("x.json"), content);
            AgentException refused = assertThrows(AgentException.class, () -> store.get("x"), content);
            assertEquals(Status.Code.FAILED_PRECONDITION, refused.code());
            assertTrue(refused.getMessage().contains("x.json"), refused.getMessage());
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
