package io.agenthost.sdk;

import java.util.List;

/** Takes the log lines that an agent sends. It is for one thread at a time. */
public interface LogStream {
    /**
     * Sends lines to the caller at once, waiting while the caller cannot take more.
     *
     * @throws InterruptedException when the caller is gone
     */
    void send(List<LogLine> lines) throws InterruptedException;

    /** Sends one line of which nothing more is known. */
    default void send(String message) throws InterruptedException {
        send(List.of(new LogLine(message)));
    }

    /** Tells the caller where to go on next time. */
    void nextToken(String token) throws InterruptedException;
}
