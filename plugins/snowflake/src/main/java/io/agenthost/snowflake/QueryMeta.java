package io.agenthost.snowflake;

import java.util.Optional;

/** What Flyte keeps of a query: the same as flytekit's agent writes, so that either takes over the other's jobs. */
record QueryMeta(String user, String account, String database, String schema, String warehouse, String queryId, boolean hasOutput) {
    /** Begins what stands in the place of a query's id where a task was refused. No id begins so. */
    private static final String REFUSED = "refused: ";
    /** How much of the reason is kept: Flyte stores metadata in a custom resource. */
    private static final int MOST_REASON = 4096;

    /** Of a task that no query can be made of. */
    static QueryMeta refused(String reason) {
        String kept = reason.length() <= MOST_REASON ? reason : reason.substring(0, MOST_REASON) + "…";
        return new QueryMeta("", "", "", "", "", REFUSED + kept, false);
    }

    /** Why there is no query, if there is none. */
    Optional<String> refusal() {
        return queryId.startsWith(REFUSED) ? Optional.of(queryId.substring(REFUSED.length())) : Optional.empty();
    }

    Session session(String role) {
        return new Session(user, account, database, schema, warehouse, role == null ? "" : role);
    }

    /** Where the query's result is, as flytekit's snowflake reader wants it. */
    String uri() {
        return "snowflake://%s:%s/%s/%s/%s/%s".formatted(user, account, warehouse, database, schema, queryId);
    }

    /** The query's page. An account is commonly written organization-account; the two become the path, as with flytekit. */
    String page() {
        String[] parts = account.split("-", -1);
        return "https://app.snowflake.com/%s/%s/#/compute/history/queries/%s/detail"
                .formatted(parts.length > 1 ? parts[1] : "", parts[0], queryId);
    }
}
