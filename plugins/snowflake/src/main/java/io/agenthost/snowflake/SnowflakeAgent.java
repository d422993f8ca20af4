package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.AsyncAgent;
import io.agenthost.sdk.Job;
import io.agenthost.sdk.Resource;
import io.agenthost.sdk.Task;
import io.agenthost.sdk.literal.LiteralException;
import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import net.snowflake.client.api.resultset.QueryStatus;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Runs SQL in Snowflake. Everything that it knows of a query is in the query's metadata and in Snowflake. */
final class SnowflakeAgent implements AsyncAgent<QueryMeta>, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(SnowflakeAgent.class);

    private final Locks locks = new Locks();
    private final ScheduledExecutorService sweeper = Executors.newSingleThreadScheduledExecutor(Bounded::daemon);
    private volatile Settings settings;
    private volatile Queries queries;
    private volatile Bounded bounded;

    void configure(Settings given) {
        settings = given;
        RetryAfter.heed(given.callTimeout());
        queries = new Queries(given);
        bounded = new Bounded(given.callTimeout());
        long pause = Math.max(1, given.idleTimeout().toMillis() / 2);
        sweeper.scheduleWithFixedDelay(queries.sessions()::sweep, pause, pause, TimeUnit.MILLISECONDS);
    }

    @Override
    public QueryMeta create(Task task) throws Exception {
        Session session = Session.of(task, settings.role());
        Pyformat.Bound query = Pyformat.bind(statement(task), inputs(task));
        Queries.Access access = new Queries.Access(session, Credentials.of(settings, session, task));
        String queryId = within("create", () -> startOnce(access, query, task.idempotencyKey()));
        return new QueryMeta(session.user(), session.account(), session.database(), session.schema(), session.warehouse(),
                queryId, task.template().getInterface().getOutputs().getVariablesCount() > 0);
    }

    /**
     * Starts the query of an attempt, or finds it: by its tag in the history, which any session can read, or, where it is not
     * listed yet, by the request that Snowflake has had. Another create for the attempt in this process waits for this one.
     */
    private String startOnce(Queries.Access access, Pyformat.Bound query, String key) {
        if (key.isEmpty()) {
            return queries.start(access, submission(UUID.randomUUID(), query, Map.of()));
        }
        String tag = "agenthost-" + key;
        Submission submission = submission(requestId(tag), query, Map.of("QUERY_TAG", tag));
        synchronized (locks.of(key)) {
            return queries.tagged(access, tag).orElseGet(() -> queries.start(access, submission));
        }
    }

    /** The same for an attempt in every process, so that none has to remember what another one sent. */
    static UUID requestId(String tag) {
        return UUID.nameUUIDFromBytes(tag.getBytes(StandardCharsets.UTF_8));
    }

    private static Submission submission(UUID requestId, Pyformat.Bound query, Map<String, Object> parameters) {
        return new Submission(requestId, query.sql(), Values.bindings(query.values()), parameters);
    }

    private static String statement(Task task) {
        if (task.sql().isBlank()) {
            throw AgentException.invalidArgument("the task has no SQL statement");
        } else if (Submission.movesFiles(task.sql())) {
            throw AgentException.invalidArgument("PUT and GET move files from and to the machine that the plugin runs on; they are no queries");
        }
        return task.sql();
    }

    private static Map<String, Object> inputs(Task task) {
        try {
            return task.inputs();
        } catch (LiteralException e) {
            throw AgentException.invalidArgument("the task's inputs cannot be read: " + e.getMessage());
        }
    }

    @Override
    public Resource get(Job<QueryMeta> job) throws Exception {
        QueryMeta meta = job.meta();
        Queries.Access access = access(job);
        QueryStatus status = within("get", () -> queries.status(access, meta.queryId()));
        Resource resource = Report.of(meta, status);
        return Report.ended(status) && settings.statistics() ? withStatistics(resource, access, meta.queryId()) : resource;
    }

    /** Statistics are nice to have: a query that is done is not held up by a history that cannot be read. */
    private Resource withStatistics(Resource resource, Queries.Access access, String queryId) {
        Resource richer = resource;
        try {
            for (Map.Entry<String, Object> each : within("get", () -> queries.statistics(access, queryId)).entrySet()) {
                richer = richer.withInfo(each.getKey(), each.getValue());
            }
        } catch (Exception e) {
            LOG.warn("query {} goes without statistics: {}", queryId, e.getMessage());
        }
        return richer;
    }

    @Override
    public void delete(Job<QueryMeta> job) throws Exception {
        String queryId = job.meta().queryId();
        if (!Queries.isId(queryId)) {
            return;
        }
        Queries.Access access = access(job);
        within("delete", () -> {
            QueryStatus status = queries.status(access, queryId);
            if (!status.isEmpty() && !Report.ended(status)) {
                queries.cancel(access, queryId);
            }
            return status;
        });
    }

    private Queries.Access access(Job<QueryMeta> job) {
        Session session = job.meta().session(settings.role());
        return new Queries.Access(session, Credentials.of(settings, session, job.connection()));
    }

    private <T> T within(String method, Callable<T> call) throws Exception {
        return bounded.run(call).orElseThrow(() -> new AgentException(Status.Code.DEADLINE_EXCEEDED,
                "Snowflake did not answer in time for %s; call_timeout is %s".formatted(method, settings.callTimeout())));
    }

    @Override
    public void close() {
        sweeper.shutdownNow();
        if (queries != null) {
            bounded.close();
            queries.close();
        }
    }
}
