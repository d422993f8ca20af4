package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import io.grpc.Status;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import net.snowflake.client.api.exception.ErrorCode;

/** What the driver's errors mean to Flyte. */
final class Failures {
    /** Snowflake's codes for what a repetition may mend: an internal error, and a lock that too many wait for. The README says from where. */
    private static final Set<Integer> PASSING = Set.of(603, 625);
    /** The classes of SQLSTATEs that may pass: no connection, a rolled back transaction, too few resources, an operator's or the system's fault. */
    private static final Set<String> PASSING_CLASSES = Set.of("08", "40", "53", "57", "58", "XX");
    /** Those of them that do not: somebody cancelled the query, it ran too long, there is no active warehouse. */
    private static final Set<Integer> LASTING = Set.of(604, 606, 630);
    private static final String QUERY_CANCELLED = "57014";
    /** Those of the driver's own errors that may pass. Its SQLSTATEs do not tell: a missing user name is 08001, too. */
    private static final Set<ErrorCode> PASSING_OF_DRIVER = EnumSet.of(ErrorCode.INTERNAL_ERROR, ErrorCode.CONNECTION_ERROR, ErrorCode.INTERRUPTED,
            ErrorCode.S3_OPERATION_ERROR, ErrorCode.NETWORK_ERROR, ErrorCode.IO_ERROR, ErrorCode.AWS_CLIENT_ERROR, ErrorCode.BAD_RESPONSE,
            ErrorCode.STATEMENT_CLOSED, ErrorCode.STATEMENT_ALREADY_RUNNING_QUERY, ErrorCode.RESULTSET_ALREADY_CLOSED, ErrorCode.IDP_CONNECTION_ERROR,
            ErrorCode.AZURE_SERVICE_ERROR, ErrorCode.CONNECTION_CLOSED, ErrorCode.NON_FATAL_ERROR, ErrorCode.GCP_SERVICE_ERROR,
            ErrorCode.AUTHENTICATOR_REQUEST_TIMEOUT, ErrorCode.FILE_TRANSFER_ERROR, ErrorCode.DOWNLOAD_ERROR, ErrorCode.UPLOAD_ERROR,
            ErrorCode.FILE_OPERATION_UPLOAD_ERROR, ErrorCode.FILE_OPERATION_DOWNLOAD_ERROR, ErrorCode.OCSP_GENERAL_ERROR, ErrorCode.HTTP_GENERAL_ERROR);
    /** Those that are about credentials, whatever their SQLSTATEs say: a key that cannot be read is 22023, as a wrong parameter is. */
    private static final Set<ErrorCode> LOGIN_OF_DRIVER = EnumSet.of(ErrorCode.INVALID_OR_UNSUPPORTED_PRIVATE_KEY, ErrorCode.MISSING_USERNAME,
            ErrorCode.MISSING_PASSWORD, ErrorCode.INVALID_OKTA_USERNAME, ErrorCode.OAUTH_AUTHORIZATION_CODE_FLOW_ERROR,
            ErrorCode.OAUTH_CLIENT_CREDENTIALS_FLOW_ERROR, ErrorCode.OAUTH_REFRESH_TOKEN_FLOW_ERROR);
    private static final Map<Integer, ErrorCode> OF_DRIVER =
            Arrays.stream(ErrorCode.values()).collect(Collectors.toMap(ErrorCode::getMessageCode, code -> code, (first, second) -> first));
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
        ErrorCode own = OF_DRIVER.get(e.getErrorCode());
        return own != null && LOGIN_OF_DRIVER.contains(own) || e.getErrorCode() / 1000 == 390 || state(e).startsWith("28");
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

    /** The code by which Flyte's side tells what may pass from what does not. */
    static Status.Code code(SQLException e) {
        String state = state(e);
        if (isLogin(e)) {
            return Status.Code.UNAUTHENTICATED;
        } else if (passes(e)) {
            return Status.Code.UNAVAILABLE;
        } else if (!OF_DRIVER.containsKey(e.getErrorCode()) && (state.startsWith("42") || state.startsWith("22"))) { // Snowflake says so, of the SQL
            return Status.Code.INVALID_ARGUMENT;
        }
        return Status.Code.FAILED_PRECONDITION;
    }

    private static boolean passes(SQLException e) {
        ErrorCode own = OF_DRIVER.get(e.getErrorCode());
        String state = state(e);
        if (own != null) {
            return PASSING_OF_DRIVER.contains(own);
        }
        return isPassing(e.getErrorCode()) || !LASTING.contains(e.getErrorCode()) && state.length() == 5
                && PASSING_CLASSES.contains(state.substring(0, 2)) && !state.equals(QUERY_CANCELLED);
    }

    /** "001003 (42000): SQL compilation error: …", as Snowflake's own tools write it. */
    static String describe(int code, String state, String message) {
        String place = state.isEmpty() ? "" : " (%s)".formatted(state);
        return "%06d%s: %s".formatted(code, place, message);
    }
}
