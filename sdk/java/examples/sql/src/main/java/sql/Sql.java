package sql;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.flyteidl.core.SimpleType;
import io.agenthost.sdk.*;
import io.agenthost.sdk.literal.StructuredDataset;
import java.io.*;
import java.nio.channels.FileChannel;
import java.nio.file.*;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.Pattern;
import org.apache.commons.csv.*;
import org.slf4j.LoggerFactory;

/** Runs the statement of a task in whatever database has a driver for JDBC. Its rows become a dataset. */
public final class Sql implements AsyncAgent<String> {
    private static final Pattern INPUT = Pattern.compile("\\{\\{\\s*\\.inputs\\.(\\w+)\\s*}}");

    record Config(@JsonProperty(required = true) String url, @JsonProperty(required = true) String user,
            @JsonProperty(required = true) SecretRef password, @JsonProperty(required = true) String folder) {}

    /** What is kept of a query in a file: Flyte has its id alone. The outcome is null until it has ended. */
    record Query(String statement, List<Object> values, String prefix, Outcome outcome) {}
    record Outcome(Phase phase, long rows, List<Column> columns, String problem, JobError error) {}
    record Column(String name, SimpleType type) {}

    private final ExecutorService threads = Executors.newFixedThreadPool(8);
    private final Map<String, Optional<Statement>> mine = new ConcurrentHashMap<>();
    private Config config;
    private JobStore<Query> queries;

    void configure(Config config) throws IOException {
        this.config = config;
        this.queries = JobStore.open(Path.of(config.folder()), Query.class);
    }

    /** Keeps the query, so that a create that comes again finds it, and runs it. Values are bound, never pasted into the statement. */
    @Override
    public String create(Task task) throws IOException {
        List<Object> values = INPUT.matcher(task.sql()).results().map(input -> value(task, input.group(1))).toList();
        queries.add(task.idempotencyKey(), new Query(INPUT.matcher(task.sql()).replaceAll("?"), values, task.outputPrefix(), null));
        run(task.idempotencyKey());
        return task.idempotencyKey();
    }

    private static Object value(Task task, String name) {
        return Optional.ofNullable(task.input(name, Object.class)).filter(value -> value instanceof String || value instanceof Number || value instanceof Boolean)
                .orElseThrow(() -> AgentException.invalidArgument("input \"%s\" must be a str, int, float or bool: cast it in the statement".formatted(name)));
    }

    /** A query whose process has ended runs again in the one that is asked: it only reads, and the database has dropped the first. */
    @Override
    public Resource get(Job<String> job) throws IOException {
        Query query = queries.get(job.meta());
        Outcome outcome = query.outcome();
        if (outcome == null) {
            run(job.meta());
            return Resource.running("");
        } else if (outcome.error() != null) {
            return new Resource(outcome.phase(), outcome.problem(), null, null, List.of(), null, outcome.error());
        }
        List<StructuredDataset.Column> columns = outcome.columns().stream()
                .map(column -> new StructuredDataset.Column(column.name(), io.agenthost.sdk.literal.Types.simple(column.type()))).toList();
        return Resource.succeeded(Map.of("rows", outcome.rows(), "results", new StructuredDataset(query.prefix() + "/results.csv", "csv", columns)));
    }

    @Override
    public void delete(Job<String> job) throws IOException, SQLException {
        queries.delete(job.meta());
        Files.deleteIfExists(Path.of(config.folder(), job.meta() + ".running"));
        Optional<Statement> statement = mine.getOrDefault(job.meta(), Optional.empty());
        if (statement.isPresent()) {
            statement.get().cancel();
        }
    }

    /** Runs a query unless it runs already, here or in another process: the kernel frees the lock of one that has ended. */
    private void run(String id) {
        if (mine.putIfAbsent(id, Optional.empty()) != null) {
            return;
        }
        threads.execute(() -> {
            Path running = Path.of(config.folder(), id + ".running");
            try (FileChannel lock = FileChannel.open(running, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                if (lock.tryLock() != null && queries.get(id).outcome() == null) {
                    Outcome outcome = outcome(id, queries.get(id));
                    queries.update(id, query -> new Query(query.statement(), query.values(), query.prefix(), outcome));
                }
            } catch (AgentException | IOException e) {
                LoggerFactory.getLogger(Sql.class).warn("a query was deleted, or cannot be kept, so that the next poll runs it again", e);
            } finally {
                mine.remove(id);
            }
        });
    }

    private Outcome outcome(String id, Query query) {
        try (var connection = DriverManager.getConnection(config.url(), config.user(), config.password().get().reveal())) {
            connection.setReadOnly(true);
            connection.setAutoCommit(false); // with which drivers fetch rows by and by
            try (PreparedStatement statement = connection.prepareStatement(query.statement())) {
                mine.put(id, Optional.of(statement));
                statement.setFetchSize(1000);
                for (int i = 0; i < query.values().size(); i++) {
                    statement.setObject(i + 1, query.values().get(i));
                }
                return written(statement.executeQuery(), query.prefix());
            }
        } catch (AgentException | IOException | SQLException e) { // 08: no connection, 40: rolled back, 53: no resources, 57P: shutting down
            String state = e instanceof SQLException sql ? String.valueOf(sql.getSQLState()) : "none";
            boolean passes = state.matches("none|(08|40|53|57P).*"); // with none there is no secret, or no place for the rows
            JobError error = new JobError("SQL-" + state, passes ? JobError.Origin.SYSTEM : JobError.Origin.USER);
            return new Outcome(passes ? Phase.RETRYABLE_FAILED : Phase.FAILED, 0, List.of(), e.getMessage(), error);
        }
    }

    private static Outcome written(ResultSet rows, String prefix) throws SQLException, IOException {
        Path file = Files.createTempFile("results", ".csv");
        try (CSVPrinter csv = new CSVPrinter(Files.newBufferedWriter(file), CSVFormat.POSTGRESQL_CSV)) { // which tells NULL and "" apart
            ResultSetMetaData meta = rows.getMetaData();
            List<Column> columns = new ArrayList<>();
            for (int i = 1; i <= meta.getColumnCount(); i++) {
                columns.add(new Column(meta.getColumnLabel(i), switch (meta.getColumnType(i)) {
                    case Types.TINYINT, Types.SMALLINT, Types.INTEGER, Types.BIGINT -> SimpleType.INTEGER;
                    case Types.REAL, Types.FLOAT, Types.DOUBLE -> SimpleType.FLOAT;
                    case Types.BIT, Types.BOOLEAN -> SimpleType.BOOLEAN;
                    case Types.DATE, Types.TIMESTAMP, Types.TIMESTAMP_WITH_TIMEZONE -> SimpleType.DATETIME;
                    default -> SimpleType.STRING; // numeric, too, which a float would round
                }));
            }
            csv.printRecords(rows, true);
            csv.flush();
            try (InputStream content = Files.newInputStream(file)) {
                OutputFiles.of(prefix).write("results.csv", content);
            }
            return new Outcome(Phase.SUCCEEDED, csv.getRecordCount(), columns, "", null);
        } finally {
            Files.delete(file);
        }
    }

    public static void main(String[] args) {
        Sql agent = new Sql();
        Plugin.named("sql", "1.0.0").async("sql_query", agent).configure(Config.class, agent::configure).idempotentCreate().serve();
    }
}
