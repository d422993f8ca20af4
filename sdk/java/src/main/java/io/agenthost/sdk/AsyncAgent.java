package io.agenthost.sdk;

import com.flyteidl.core.ExecutionMetricResult;
import java.util.List;

/**
 * Runs jobs that outlive a call. {@link #create} starts one and returns at once with what is needed to find it again, an
 * {@code M}; Flyte keeps that {@code M}, as JSON, and hands it back to {@link #get} and {@link #delete}, perhaps to
 * another process or a newer version of the plugin. So an {@code M}, commonly a record, holds ids and places, never
 * secrets, and is changed only by adding components that may be absent.
 *
 * <pre>{@code
 * final class Warehouse implements AsyncAgent<Warehouse.Query> {
 *     record Query(String statement) {} // what Flyte keeps between the calls
 *
 *     public Query create(Task task) {
 *         return new Query(task.input("statement", String.class)); // start, return at once
 *     }
 *
 *     public Resource get(Job<Query> job) {
 *         return Resource.succeeded(Map.of("ran", job.meta().statement())); // how is it?
 *     }
 *
 *     public void delete(Job<Query> job) {} // end it; fine if it is gone
 * }
 * }</pre>
 *
 * <p>Methods are called concurrently, each on a thread that may block. When the caller gives up or its deadline passes,
 * ten seconds by default, the thread is interrupted. What a method throws says that the call went wrong: an
 * {@link AgentException} with a code of its own, everything else as INTERNAL, with the stack in the log. A job that went
 * wrong is no exception but {@link Resource#failed(String)}.
 *
 * <p>An agent that is {@link AutoCloseable} is closed when the plugin stops, after its last call. One that is a
 * {@link MetaCodec} writes its metadata itself, one that is a {@link Finder} finds jobs by the attempt's key.
 *
 * @param <M> a job's metadata
 */
public interface AsyncAgent<M> {
    /**
     * Starts a job. It can be called again for one attempt ({@link Task#idempotencyKey} says which), when an answer was
     * lost; an agent that then finds the job it already made should promise {@link Registration#idempotentCreate}.
     */
    M create(Task task) throws Exception;

    /**
     * Says how a job is. An exception is for "cannot say now" and is survived only a few times in a job's life; a job
     * that went wrong is {@link Resource#failed(String)}, one that is gone {@link AgentException#notFound}.
     */
    Resource get(Job<M> job) throws Exception;

    /**
     * Ends a job, or forgets a finished one. It must succeed for a job that is finished or gone, also the second time:
     * Flyte 2 deletes every job, and repeats that until it succeeds.
     */
    void delete(Job<M> job) throws Exception;

    /** Sends a job's log lines. Each {@link LogStream#send} reaches the caller at once, so a running job's log can be followed. */
    default void logs(Job<M> job, LogQuery query, LogStream out) throws Exception {
        throw AgentException.unimplemented("it has no logs");
    }

    /** Returns what was measured, in Prometheus's range query format. */
    default List<ExecutionMetricResult> metrics(Job<M> job, MetricsQuery query) throws Exception {
        throw AgentException.unimplemented("it has no metrics");
    }
}
