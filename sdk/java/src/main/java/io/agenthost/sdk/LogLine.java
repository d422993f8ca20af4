package io.agenthost.sdk;

import java.time.Instant;

/**
 * One line of a job's log.
 *
 * @param time when it was written, or null
 * @param message the line, without its line break
 * @param originator who wrote it
 */
public record LogLine(Instant time, String message, Originator originator) {
    /** Who writes log lines. */
    public enum Originator {
        UNKNOWN,
        /** The user's code. */
        USER,
        /** The system that runs it. */
        SYSTEM
    }

    /** A line of which nothing more is known. */
    public LogLine(String message) {
        this(null, message, Originator.UNKNOWN);
    }
}
