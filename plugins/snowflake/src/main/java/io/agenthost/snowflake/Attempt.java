package io.agenthost.snowflake;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/**
 * What an attempt of a task leaves in Snowflake, in every process the same, so that none has to remember what another one sent.
 *
 * <p>Of all requests with one id Snowflake executes the first and answers the others with its query. So the attempt's request id is
 * a place for one query, which the task's own and the no-op of {@link #occupant} compete for: whichever comes first, both processes
 * get the same query's id, and see whose it is. An abandonment that loses cancels the query that has the place. One that wins
 * keeps every later creation from it, also one that looked at the history before.
 */
record Attempt(String key) {
    private static final String NO_OP = "select 'agenthost: this attempt of a task was abandoned'";

    /** The tag of the task's query. */
    String tag() {
        return "agenthost-" + key;
    }

    /** The tag of what says that the attempt was abandoned. */
    String abandonedTag() {
        return "agenthost-abandoned-" + key;
    }

    /** The task's query, in the attempt's place. */
    Submission query(Pyformat.Bound query) {
        return new Submission(requestId(tag()), query.sql(), Values.bindings(query.values()), Map.of("QUERY_TAG", tag()));
    }

    /** What takes the attempt's place, so that no query of the task's can be made. */
    Submission occupant() {
        return noOp(requestId(tag()));
    }

    /** What says that the attempt was abandoned, where a query has its place. */
    Submission tombstone() {
        return noOp(requestId(abandonedTag()));
    }

    private Submission noOp(UUID requestId) {
        return new Submission(requestId, NO_OP, List.of(), Map.of("QUERY_TAG", abandonedTag()));
    }

    /** Whether a query's text is not the task's, but says that the attempt was abandoned. */
    static boolean isNoOp(String sql) {
        return sql.strip().equals(NO_OP);
    }

    static UUID requestId(String tag) {
        return UUID.nameUUIDFromBytes(tag.getBytes(StandardCharsets.UTF_8));
    }
}
