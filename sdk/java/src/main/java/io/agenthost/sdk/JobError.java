package io.agenthost.sdk;

/**
 * The error of a job that failed: its code, and whose it is.
 *
 * @param code a short name that groups errors, such as "BadSQL"; Flyte shows it before the message
 * @param origin who can mend it
 */
public record JobError(String code, Origin origin) {
    /** Who can mend an error. */
    public enum Origin {
        UNKNOWN,
        /** The task's author can mend it. */
        USER,
        /** The task's author cannot mend it. */
        SYSTEM
    }
}
