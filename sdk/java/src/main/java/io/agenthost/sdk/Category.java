package io.agenthost.sdk;

/**
 * A kind of task: what calls are routed by.
 *
 * @param name the task type that a task's template names, such as "duckdb_query"
 * @param version the template's task_type_version; a call for a version that no agent serves goes to the highest one
 */
public record Category(String name, int version) {
    /** A category at version 0, which is what flytekit's tasks have unless they say otherwise. */
    public Category(String name) {
        this(name, 0);
    }
}
