package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.AsyncAgent;
import io.agenthost.sdk.Finder;
import io.agenthost.sdk.Job;
import io.agenthost.sdk.Resource;
import io.agenthost.sdk.Task;
import io.agenthost.sdk.literal.LiteralException;
import io.grpc.Status;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import net.snowflake.client.api.resultset.QueryStatus;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Runs SQL in Snowflake. Everything that it knows of a query is in the query's metadata and in Snowflake. */
final class SnowflakeAgent implements AsyncAgent<QueryMeta>, Finder<QueryMeta>, AutoCloseable {
    /** How long to wait before Snowflake is asked again for what it will tell in a moment. */
    private static final long PAUSE_MILLIS = 200;
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

    /** A task that can never run becomes a job that has FAILED: an error would be repeated by Flyte for each retry, to the same end. */
    @Override
    public QueryMeta create(Task task) throws Exception {
        try {
            return start(task);
        } catch (AgentException e) {
            if (e.code() != Status.Code.INVALID_ARGUMENT) {
                throw e;
            }
            LOG.warn("a task is refused: {}", e.getMessage());
            return QueryMeta.refused(e.getMessage());
        }
    }

    private QueryMeta start(Task task) throws Exception {
        Queries.Access access = access(task);
        Pyformat.Bound query = Pyformat.bind(statement(task), inputs(task));
        return meta(task, access, within("create", () -> startOnce(access, query, task.idempotencyKey())));
    }

    private static QueryMeta meta(Task task, Queries.Access access, String queryId) {
        Session session = access.session();
        return new QueryMeta(session.user(), session.account(), session.database(), session.schema(), session.warehouse(),
                queryId, task.template().getInterface().getOutputs().getVariablesCount() > 0);
    }

    /**
     * Starts the query of an attempt, or finds it: by its tag in the history, which any session can read, or, where it is not
     * listed yet, by the request that Snowflake has had. Another create for the attempt in this process waits for this one.
     */
    private String startOnce(Queries.Access access, Pyformat.Bound query, String key) throws InterruptedException {
        if (key.isEmpty()) {
            return queries.start(access, new Submission(UUID.randomUUID(), query.sql(), Values.bindings(query.values()), Map.of()));
        }
        Attempt attempt = new Attempt(key);
        synchronized (locks.of(key)) {
            Optional<Queries.Found> found = queries.find(access, attempt);
            if (found.isPresent()) {
                return queryOf(found.get());
            }
            String queryId = queries.start(access, attempt.query(query));
            // The history may have been read before another process abandoned the attempt; what the query is, its id tells.
            String sql = eventually(() -> Optional.ofNullable(queries.status(access, queryId).getSqlText()).filter(text -> !text.isBlank()),
                    "what query " + queryId + " is");
            return queryOf(new Queries.Found(queryId, Attempt.isNoOp(sql)));
        }
    }

    private static String queryOf(Queries.Found found) {
        if (found.abandoned()) {
            throw AgentException.abandoned("this attempt was abandoned; query %s says so".formatted(found.queryId()));
        }
        return found.queryId();
    }

    /**
     * Finds what the history lists. A query that was started a moment ago may not be listed yet: then this says that there is
     * none, and a creation or an abandonment gets that query all the same, by its request id.
     */
    @Override
    public QueryMeta find(Task task) throws Exception {
        Queries.Access access = access(task);
        Attempt attempt = attempt(task);
        Optional<Queries.Found> found = within("find", () -> queries.find(access, attempt));
        return meta(task, access, queryOf(found.orElseThrow(() -> AgentException.notFound("no query has the tag " + attempt.tag()))));
    }

    /**
     * Takes the attempt's place, or cancels the query that has it, and then leaves word for those who read the history. It is done
     * when the history lists that: until then a creation of another process could still find the cancelled query there alone.
     */
    @Override
    public void abandon(Task task) throws Exception {
        Queries.Access access = access(task);
        Attempt attempt = attempt(task);
        within("abandon", () -> {
            synchronized (locks.of(attempt.key())) {
                cancel(access, queries.start(access, attempt.occupant()));
                queries.start(access, attempt.tombstone());
                return eventually(() -> queries.find(access, attempt).filter(Queries.Found::abandoned), "that the attempt was abandoned");
            }
        });
    }

    private static Attempt attempt(Task task) {
        if (task.idempotencyKey().isEmpty()) {
            throw AgentException.invalidArgument("the task's attempt has no key, by which its query could be found");
        }
        return new Attempt(task.idempotencyKey());
    }

    /** What Snowflake tells a moment after it was done, which is asked for as long as a call may take. */
    private <T> T eventually(Supplier<Optional<T>> question, String what) throws InterruptedException {
        long end = System.nanoTime() + settings.callTimeout().toNanos();
        for (Optional<T> told = question.get(); ; told = question.get()) {
            if (told.isPresent()) {
                return told.get();
            } else if (System.nanoTime() > end) {
                throw AgentException.unavailable("Snowflake does not tell yet " + what);
            }
            Thread.sleep(PAUSE_MILLIS);
        }
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
        if (meta.refusal().isPresent()) {
            return Resource.failed(meta.refusal().get()).withUserError("InvalidTask");
        }
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
            cancel(access, queryId);
            return queryId;
        });
    }

    /** Cancels a query that has not ended. */
    private void cancel(Queries.Access access, String queryId) {
        QueryStatus status = queries.status(access, queryId);
        if (!status.isEmpty() && !Report.ended(status)) {
            queries.cancel(access, queryId);
        }
    }

    private Queries.Access access(Task task) {
        Session session = Session.of(task, settings.role());
        return new Queries.Access(session, Credentials.of(settings, session, task));
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
