package io.agenthost.sdk;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * Which measurements are asked for.
 *
 * @param queries the names of what to measure, such as "EXECUTION_METRIC_USED_CPU_AVG"
 * @param start the time range's start; empty when open
 * @param end the time range's end; empty when open
 * @param step the time between two values; zero when left to the agent
 */
public record MetricsQuery(List<String> queries, Optional<Instant> start, Optional<Instant> end, Duration step) {}
