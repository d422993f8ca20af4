package io.agenthost.sdk;

import com.flyteidl.core.TaskExecution;

/** How far a task is. */
public enum Phase {
    QUEUED(TaskExecution.Phase.QUEUED),
    WAITING_FOR_RESOURCES(TaskExecution.Phase.WAITING_FOR_RESOURCES),
    INITIALIZING(TaskExecution.Phase.INITIALIZING),
    RUNNING(TaskExecution.Phase.RUNNING),
    SUCCEEDED(TaskExecution.Phase.SUCCEEDED),
    ABORTED(TaskExecution.Phase.ABORTED),
    FAILED(TaskExecution.Phase.FAILED),
    /** Spends one of the retries that the task's author allowed. Flyte knows it since 1.16. */
    RETRYABLE_FAILED(TaskExecution.Phase.RETRYABLE_FAILED);

    private final TaskExecution.Phase wire;

    Phase(TaskExecution.Phase wire) {
        this.wire = wire;
    }

    TaskExecution.Phase wire() {
        return wire;
    }

    static Phase of(TaskExecution.Phase wire) {
        for (Phase phase : values()) {
            if (phase.wire == wire) {
                return phase;
            }
        }
        throw new IllegalArgumentException("the phase is " + wire);
    }

    /** Whether the phase is final. */
    public boolean terminal() {
        return switch (this) {
            case SUCCEEDED, ABORTED, FAILED, RETRYABLE_FAILED -> true;
            default -> false;
        };
    }
}
