package io.agenthost.sdk;

/**
 * Does a task's whole work within one call. {@link AsyncAgent} tells what holds for threads, exceptions and closing here
 * as well.
 */
@FunctionalInterface
public interface SyncAgent {
    /** Does the work. The resource must be terminal: succeeded, failed or retryably failed. */
    Resource execute(Task task) throws Exception;
}
