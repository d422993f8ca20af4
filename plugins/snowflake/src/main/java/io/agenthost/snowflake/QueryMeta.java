package io.agenthost.snowflake;

/** What Flyte keeps of a query: the same as flytekit's agent writes, so that either takes over the other's jobs. */
record QueryMeta(String user, String account, String database, String schema, String warehouse, String queryId, boolean hasOutput) {
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
