package io.agenthost.snowflake;

import io.agenthost.sdk.Resource;
import io.agenthost.sdk.literal.StructuredDataset;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import net.snowflake.client.api.resultset.QueryStatus;

/** A query's status as Flyte is told of it. */
final class Report {
    private Report() {}

    /** Whether nothing more will happen to the query. */
    static boolean ended(QueryStatus status) {
        return switch (name(status)) {
            case "SUCCESS", "FAILED_WITH_ERROR", "ABORTED", "FAILED_WITH_INCIDENT", "DISCONNECTED" -> true;
            default -> false;
        };
    }

    static Resource of(QueryMeta meta, QueryStatus status) {
        Resource resource = phase(meta, status).withLink("Snowflake Query Details", meta.page())
                .withInfo("query_id", meta.queryId()).withInfo("status", name(status)).withInfo("warehouse", meta.warehouse());
        if (status.getTotalDuration() > 0) {
            resource = resource.withInfo("elapsed_ms", status.getTotalDuration());
        }
        String size = status.getWarehouseExternalSize();
        return size == null || size.isEmpty() ? resource : resource.withInfo("warehouse_size", size);
    }

    private static Resource phase(QueryMeta meta, QueryStatus status) {
        String name = name(status);
        String progress = progress(name, status);
        return switch (name) {
            case "QUEUED" -> Resource.queued(progress + ", waits for its turn in warehouse " + meta.warehouse());
            case "RESUMING_WAREHOUSE" -> Resource.waitingForResources(progress + ", warehouse " + meta.warehouse() + " starts");
            case "QUEUED_REPARING_WAREHOUSE", "QUEUED_REPAIRING_WAREHOUSE" ->
                    Resource.waitingForResources(progress + ", warehouse " + meta.warehouse() + " is being repaired");
            case "BLOCKED" -> Resource.running(progress + ", waits for another transaction's lock");
            case "RESTARTED" -> Resource.running(progress + ", Snowflake began the query anew");
            case "SUCCESS" -> succeeded(meta).withMessage(progress);
            case "ABORTED" -> Resource.aborted(problem(name, status));
            case "FAILED_WITH_ERROR" -> failed(name, status);
            case "FAILED_WITH_INCIDENT", "DISCONNECTED" -> Resource.retryableFailed(problem(name, status)).withSystemError(code(status));
            default -> Resource.running(progress);
        };
    }

    private static Resource failed(String name, QueryStatus status) {
        if (Failures.isCancelled(status.getErrorCode())) {
            return Resource.aborted(problem(name, status));
        } else if (Failures.isPassing(status.getErrorCode())) {
            return Resource.retryableFailed(problem(name, status)).withSystemError(code(status));
        }
        return Resource.failed(problem(name, status)).withUserError(code(status));
    }

    private static Resource succeeded(QueryMeta meta) {
        return meta.hasOutput()
                ? Resource.succeeded(Map.of("results", new StructuredDataset(meta.uri(), "", List.of()))) : Resource.succeeded();
    }

    private static String code(QueryStatus status) {
        return "Snowflake%06d".formatted(status.getErrorCode());
    }

    private static String problem(String name, QueryStatus status) {
        return "%s, %s".formatted(name, Failures.describe(status.getErrorCode(), "", status.getErrorMessage()));
    }

    private static String progress(String name, QueryStatus status) {
        return status.getTotalDuration() <= 0 ? name : "%s, %.1f s".formatted(name, status.getTotalDuration() / 1000.0);
    }

    /** Snowflake's own name: the driver's list makes NO_DATA of a status that it does not know. */
    private static String name(QueryStatus status) {
        String name = status.getName();
        return status.isEmpty() || name == null || name.isEmpty() ? "NO_DATA" : name.toUpperCase(Locale.ROOT);
    }
}
