package sql;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.agenthost.sdk.Category;
import io.agenthost.sdk.literal.StructuredDataset;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestResult;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.StatusRuntimeException;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The plugin as the program that it is, beside a PostgreSQL. */
@Timeout(120)
class SqlIT {
    @TempDir
    static Path folder;

    private static EmbeddedPostgres database;

    @BeforeAll
    static void start() throws Exception {
        try (ServerSocket free = new ServerSocket(0)) {
            free.close();
            database = Database.start(free.getLocalPort(), folder);
        }
    }

    @AfterAll
    static void stop() throws Exception {
        database.close();
    }

    private static AgentTest program() throws Exception {
        AgentTest test = AgentTest.command(List.of("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", "target/sql.jar"),
                Map.of("_FSEC_DATABASE_PASSWORD", "hush"));
        test.configure(Map.of("url", "jdbc:postgresql://127.0.0.1:" + database.getPort() + "/postgres", "user", "flyte",
                "password", "database_password", "folder", folder.resolve("queries").toString()));
        return test;
    }

    private static TestTask task(String statement) {
        return TestTask.of("sql_query").sql(statement).outputPrefix(folder.resolve("outputs").toString()).idempotencyKey(UUID.randomUUID().toString());
    }

    private static List<String> running() throws Exception {
        try (Connection connection = database.getPostgresDatabase().getConnection(); ResultSet found = connection.createStatement()
                .executeQuery("select string_agg(query, ';') from pg_stat_activity where usename = 'flyte' and state = 'active'")) {
            found.next();
            return found.getString(1) == null ? List.of() : List.of(found.getString(1));
        }
    }

    @Test
    void rowsBecomeADatasetOfTheirTypes() throws Exception {
        try (AgentTest test = program()) {
            TestResult result = test.run(task("select *, null::text as gate, '' as note from flights where id <= {{ .inputs.most }} order by id").input("most", 2));
            assertEquals(2L, result.output("rows", Long.class), result.message());
            StructuredDataset table = result.output("results", StructuredDataset.class);
            assertEquals(List.of("id INTEGER", "airport STRING", "delay FLOAT", "gate STRING", "note STRING"),
                    table.columns().stream().map(column -> column.name() + " " + column.type().getSimple()).toList());
            assertEquals("\"id\",\"airport\",\"delay\",\"gate\",\"note\"\n\"1\",\"JFK\",\"1.5\",,\"\"\n\"2\",\"JFK\",\"3.0\",,\"\"\n",
                    Files.readString(Path.of(table.uri())));
        }
    }

    @Test
    void whatIsWrongIsTold() throws Exception {
        try (AgentTest test = program()) {
            for (String statement : List.of("select * from nothing", "create table t (n int)")) {
                TestResult failed = test.run(task(statement));
                assertEquals("FAILED", failed.phase(), failed.message());
            }
            StatusRuntimeException refused = assertThrows(StatusRuntimeException.class,
                    () -> test.create(task("select {{ .inputs.day }}").input("day", Instant.EPOCH)));
            assertTrue(refused.getMessage().contains("input \"day\""), refused.getMessage());
        }
    }

    @Test
    void aQueryOutlivesItsProcess() throws Exception {
        TestTask slow = task("select count(*) from flights, pg_sleep(1)");
        TestJob job;
        try (AgentTest first = program()) {
            job = first.create(slow);
            while (running().isEmpty()) {
                Thread.sleep(10);
            }
        }
        try (AgentTest second = program()) {
            assertEquals(1L, second.job(new Category("sql_query", 0), job.meta()).await().output("rows", Long.class));
        }
    }

    @Test
    void aDeletedQueryEnds() throws Exception {
        try (AgentTest test = program()) {
            TestJob job = test.create(task("select pg_sleep(600)"));
            while (running().isEmpty()) {
                Thread.sleep(10);
            }
            job.delete();
            while (!running().isEmpty()) {
                Thread.sleep(10);
            }
        }
    }
}
