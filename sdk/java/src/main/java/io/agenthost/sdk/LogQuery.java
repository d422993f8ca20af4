package io.agenthost.sdk;

/**
 * Which part of a job's log is asked for.
 *
 * @param lines the most lines to send; 0 means all
 * @param token where an earlier answer left off; empty for the beginning
 */
public record LogQuery(long lines, String token) {}
