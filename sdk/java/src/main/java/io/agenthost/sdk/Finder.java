package io.agenthost.sdk;

/**
 * Implemented by an {@link AsyncAgent} whose service tells by {@link Task#idempotencyKey} whether an attempt has a job. Its
 * categories declare the capability {@code find_by_key} by that. With {@link Registration#idempotentCreate} it lets the host accept
 * a task whose job cannot be made at once: a plugin that restarts, hangs or is over its limits then costs no attempt.
 *
 * <p>Both methods must be right in every process of the plugin, also on another machine, for as long as Flyte may ask about the
 * task, and at the same time as a create of the same attempt.
 *
 * @param <M> a job's metadata
 */
public interface Finder<M> {
    /**
     * Returns what create returned for the attempt, and makes nothing. Throws {@link AgentException#notFound} where no job was
     * made, {@link AgentException#abandoned} where {@link #abandon} was called.
     */
    M find(Task task) throws Exception;

    /**
     * Gives the attempt up. A job that was made for it ends as by {@link AsyncAgent#delete}, and none is made from now on: create
     * and {@link #find} throw {@link AgentException#abandoned}. So something has to stay where they look. A second call
     * succeeds too.
     */
    void abandon(Task task) throws Exception;
}
