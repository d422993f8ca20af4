package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import io.grpc.Status;
import java.sql.SQLException;
import java.util.Set;

/** What the driver's errors mean to Flyte. */
final class Failures {
    /** Snowflake's codes for what a repetition may mend: an internal error, and a lock that too many wait for. The README says from where. */
    private static final Set<Integer> PASSING = Set.of(603, 625);
    private static final int CANCELLED = 604;
    private static final int SESSION_EXPIRED = 390112;

    private Failures() {}

    /** Whether a query that failed with a code may do better another time. */
    static boolean isPassing(int code) {
        return PASSING.contains(code);
    }

    /** Whether somebody cancelled a query that failed with a code. */
    static boolean isCancelled(int code) {
        return code == CANCELLED;
    }

    /** Whether the session may be of no more use. */
    static boolean isConnection(SQLException e) {
        return state(e).startsWith("08") || isLogin(e);
    }

    /** Whether the session was open for too long: another one is all it takes. */
    static boolean isExpired(SQLException e) {
        return e.getErrorCode() == SESSION_EXPIRED;
    }

    private static boolean isLogin(SQLException e) {
        return e.getErrorCode() / 1000 == 390 || state(e).startsWith("28");
    }

    private static String state(SQLException e) {
        return e.getSQLState() == null ? "" : e.getSQLState();
    }

    static AgentException of(SQLException e, String what, Queries.Access access) {
        Session session = access.session();
        String message = "cannot %s on account %s as user %s: %s".formatted(what, session.account(), session.user(),
                describe(e.getErrorCode(), state(e), access.credentials().redact(e.getMessage())));
        return new AgentException(code(e), message);
    }

    /** What the driver throws without a code of Snowflake's is about what it was given, which is the credentials. */
    static AgentException unexpected(RuntimeException e, String what, Queries.Access access) {
        Session session = access.session();
        return AgentException.failedPrecondition("cannot %s on account %s as user %s: the driver refuses the %s credentials: %s".formatted(
                what, session.account(), session.user(), access.credentials(), access.credentials().redact(e.getMessage())));
    }

    private static Status.Code code(SQLException e) {
        String state = state(e);
        if (isLogin(e)) {
            return Status.Code.UNAUTHENTICATED;
        } else if (state.startsWith("08") || isPassing(e.getErrorCode()) || e.getErrorCode() / 1000 == 200) {
            return Status.Code.UNAVAILABLE;
        } else if (state.startsWith("42") || state.startsWith("22")) {
            return Status.Code.INVALID_ARGUMENT;
        }
        return Status.Code.FAILED_PRECONDITION;
    }

    /** "001003 (42000): SQL compilation error: …", as Snowflake's own tools write it. */
    static String describe(int code, String state, String message) {
        String place = state.isEmpty() ? "" : " (%s)".formatted(state);
        return "%06d%s: %s".formatted(code, place, message);
    }
}
