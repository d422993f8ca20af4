package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import io.grpc.Status;
import java.lang.reflect.Field;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import net.snowflake.client.api.exception.ErrorCode;
import net.snowflake.client.jdbc.internal.snowflake.common.core.SqlState;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which of Snowflake's and its driver's errors may pass when the same is tried again, and which do not: all that the driver knows. */
class FailuresTest {
    /** By the class of a SQLSTATE, which are its first two characters, and why. */
    private static final Map<String, String> CLASSES = new HashMap<>();

    static {
        String stays = "FAILED_PRECONDITION ";
        CLASSES.put("00", stays + "no failure at all");
        CLASSES.put("01", stays + "a warning");
        CLASSES.put("02", stays + "there is no data");
        CLASSES.put("03", stays + "the statement is not complete");
        CLASSES.put("08", "UNAVAILABLE connections come back");
        CLASSES.put("09", stays + "a trigger of the user's failed");
        CLASSES.put("0A", stays + "Snowflake does not learn it meanwhile");
        CLASSES.put("0B", stays + "the script is wrong");
        CLASSES.put("0F", stays + "the script is wrong");
        CLASSES.put("0L", stays + "nobody grants anything meanwhile");
        CLASSES.put("0P", stays + "there is no such role");
        CLASSES.put("0Z", stays + "the script is wrong");
        CLASSES.put("20", stays + "the script is wrong");
        CLASSES.put("21", stays + "the statement gives another number of values");
        CLASSES.put("22", "INVALID_ARGUMENT the data stay what they are");
        CLASSES.put("23", stays + "the data break a constraint");
        CLASSES.put("24", stays + "the script is wrong");
        CLASSES.put("25", stays + "the script is wrong");
        CLASSES.put("26", stays + "the script is wrong");
        CLASSES.put("27", stays + "the script is wrong");
        CLASSES.put("28", "UNAUTHENTICATED the key stays what it is");
        CLASSES.put("2B", stays + "something depends on it");
        CLASSES.put("2D", stays + "the script is wrong");
        CLASSES.put("2F", stays + "a routine of the user's failed");
        CLASSES.put("34", stays + "the script is wrong");
        CLASSES.put("38", stays + "a routine of the user's failed");
        CLASSES.put("39", stays + "a routine of the user's failed");
        CLASSES.put("3B", stays + "the script is wrong");
        CLASSES.put("3D", stays + "there is no such database");
        CLASSES.put("3F", stays + "there is no such schema");
        CLASSES.put("40", "UNAVAILABLE the transaction that was in the way ends");
        CLASSES.put("42", "INVALID_ARGUMENT the statement stays what it is");
        CLASSES.put("44", stays + "the data break a view's check");
        CLASSES.put("53", "UNAVAILABLE others let go of what they use");
        CLASSES.put("54", stays + "the statement is beyond a limit");
        CLASSES.put("55", stays + "the object is in another state");
        CLASSES.put("57", "UNAVAILABLE an operator's work ends");
        CLASSES.put("58", "UNAVAILABLE the system gets well");
        CLASSES.put("60", stays + "nothing says that it passes");
        CLASSES.put("F0", stays + "the configuration is wrong");
        CLASSES.put("HV", stays + "a foreign table is wrong");
        CLASSES.put("P0", stays + "the script raised it");
        CLASSES.put("XX", "UNAVAILABLE an incident of Snowflake's ends");
    }

    @Test
    void everyStateHasTheRightEnd() throws Exception {
        for (Field field : SqlState.class.getFields()) {
            if (field.getType() != String.class) {
                continue;
            }
            String state = (String) field.get(null);
            String row = CLASSES.get(state.substring(0, 2));
            assertNotNull(row, "SQLSTATE %s (%s) has no row".formatted(state, field.getName()));
            String wanted = state.equals("57014") ? "FAILED_PRECONDITION" : row.split(" ")[0]; // 57014: somebody cancelled it
            assertEquals(wanted, Failures.code(new SQLException("no good", state, 1)).name(), "%s %s: %s".formatted(state, field.getName(), row));
        }
    }

    /** What the driver says by itself: those that are not named stay, since they are about how it is called or set up. */
    @Test
    void everyErrorOfTheDriversHasTheRightEnd() {
        List<String> passing = List.of("INTERNAL_ERROR", "CONNECTION_ERROR", "INTERRUPTED", "S3_OPERATION_ERROR", "NETWORK_ERROR", "IO_ERROR",
                "AWS_CLIENT_ERROR", "BAD_RESPONSE", "STATEMENT_CLOSED", "STATEMENT_ALREADY_RUNNING_QUERY", "RESULTSET_ALREADY_CLOSED",
                "IDP_CONNECTION_ERROR", "AZURE_SERVICE_ERROR", "CONNECTION_CLOSED", "NON_FATAL_ERROR", "GCP_SERVICE_ERROR",
                "AUTHENTICATOR_REQUEST_TIMEOUT", "FILE_TRANSFER_ERROR", "DOWNLOAD_ERROR", "UPLOAD_ERROR", "FILE_OPERATION_UPLOAD_ERROR",
                "FILE_OPERATION_DOWNLOAD_ERROR", "OCSP_GENERAL_ERROR", "HTTP_GENERAL_ERROR");
        List<String> found = new ArrayList<>();
        for (ErrorCode each : ErrorCode.values()) {
            Status.Code code = Failures.code(new SQLException("no good", each.getSqlState(), each.getMessageCode()));
            if (code == Status.Code.UNAVAILABLE) {
                found.add(each.name());
            }
            // Which would be taken for a fault of the task, that no repetition mends.
            assertNotEquals(Status.Code.INVALID_ARGUMENT, code, each.name());
        }
        assertEquals(passing.stream().sorted().toList(), found.stream().sorted().toList());
    }

    @Test
    void aKeyThatCannotBeReadIsAFaultOfTheCredentials() {
        ErrorCode key = ErrorCode.INVALID_OR_UNSUPPORTED_PRIVATE_KEY;
        assertEquals(Status.Code.UNAUTHENTICATED, Failures.code(new SQLException("no good", key.getSqlState(), key.getMessageCode())));
    }

    @ParameterizedTest
    @CsvSource({
        "603, XX000, UNAVAILABLE", "625, 57014, UNAVAILABLE", "390112, 08001, UNAUTHENTICATED", "390144, 08001, UNAUTHENTICATED",
        "390100, 28000, UNAUTHENTICATED", "1003, 42000, INVALID_ARGUMENT", "2003, 42S02, INVALID_ARGUMENT", "100038, 22018, INVALID_ARGUMENT",
        "606, 57P03, FAILED_PRECONDITION", "604, 57014, FAILED_PRECONDITION", "630, 57014, FAILED_PRECONDITION", "90073, 0A000, FAILED_PRECONDITION",
        "1, , FAILED_PRECONDITION",
    })
    void snowflakesCodesHaveTheRightEnd(int code, String state, Status.Code wanted) {
        assertEquals(wanted, Failures.code(new SQLException("no good", state, code)));
    }
}
