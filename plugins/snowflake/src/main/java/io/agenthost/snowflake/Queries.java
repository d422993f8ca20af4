package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import java.net.URI;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Pattern;
import net.snowflake.client.api.connection.SnowflakeConnection;
import net.snowflake.client.api.resultset.QueryStatus;
import net.snowflake.client.internal.api.implementation.connection.SnowflakeConnectionImpl;

/** What the plugin asks of Snowflake, through its JDBC driver. */
final class Queries implements AutoCloseable {
    private static final Pattern QUERY_ID = Pattern.compile("[0-9a-fA-F-]{32,40}");
    /** The user's queries of the last seven days, running ones too; the limit is the highest that Snowflake takes. */
    private static final String HISTORY = " from table(information_schema.query_history_by_user(result_limit => 10000)) where ";

    /** Held here, since java.util.logging forgets the settings of loggers that nobody holds. */
    private static final Logger DRIVER = Logger.getLogger("net.snowflake");

    static {
        DRIVER.setLevel(Level.OFF); // It logs what Snowflake says as it came; its exceptions say the same, and are looked through for secrets.
    }

    private final Settings settings;
    private final Sessions sessions;

    /** Who is asked, and with which credentials. */
    record Access(Session session, Credentials credentials) {}

    /** Something to ask of an open session. */
    @FunctionalInterface
    interface Question<T> {
        T ask(Connection connection) throws SQLException;
    }

    Queries(Settings settings) {
        this.settings = settings;
        this.sessions = new Sessions(settings.maxSessions(), settings.idleTimeout());
    }

    Sessions sessions() {
        return sessions;
    }

    /** What the history has of an attempt: its query, or that it was abandoned. */
    record Found(String queryId, boolean abandoned) {}

    /** What the history lists of an attempt already, if anything. */
    Optional<Found> find(Access access, Attempt attempt) {
        return ask(access, "find the query of this attempt", connection -> {
            try (PreparedStatement find = connection.prepareStatement("select query_id, query_tag" + HISTORY + "query_tag in (?, ?) order by start_time")) {
                find.setString(1, attempt.tag());
                find.setString(2, attempt.abandonedTag());
                Optional<Found> found = Optional.empty();
                try (ResultSet rows = find.executeQuery()) {
                    while (rows.next() && !found.map(Found::abandoned).orElse(false)) {
                        boolean abandoned = attempt.abandonedTag().equals(rows.getString(2));
                        if (abandoned || found.isEmpty()) {
                            found = Optional.of(new Found(rows.getString(1), abandoned));
                        }
                    }
                }
                return found;
            }
        });
    }

    /** Starts a query, and returns its id at once; one that Snowflake has from the same request is returned instead. */
    String start(Access access, Submission submission) {
        return ask(access, "start the query", connection ->
                submission.send(connection.unwrap(SnowflakeConnectionImpl.class).getSfSession()));
    }

    QueryStatus status(Access access, String queryId) {
        return ask(access, "ask how query " + queryId + " is", connection ->
                connection.unwrap(SnowflakeConnection.class).getQueryStatus(checked(queryId)));
    }

    void cancel(Access access, String queryId) {
        ask(access, "cancel query " + queryId, connection -> {
            try (PreparedStatement cancel = connection.prepareStatement("select system$cancel_query('" + checked(queryId) + "')")) {
                return cancel.execute();
            }
        });
    }

    /** What the history says of a query that has ended; empty where it says nothing yet. */
    Map<String, Object> statistics(Access access, String queryId) {
        return ask(access, "read the statistics of query " + queryId, connection -> {
            try (PreparedStatement find = connection.prepareStatement(
                    "select rows_produced, bytes_scanned, execution_time, compilation_time, credits_used_cloud_services" + HISTORY + "query_id = ?")) {
                find.setString(1, checked(queryId));
                try (ResultSet rows = find.executeQuery()) {
                    Map<String, Object> found = new LinkedHashMap<>();
                    if (rows.next()) {
                        found.put("rows", rows.getLong(1));
                        found.put("bytes_scanned", rows.getLong(2));
                        found.put("execution_ms", rows.getLong(3));
                        found.put("compilation_ms", rows.getLong(4));
                        found.put("cloud_services_credits", rows.getDouble(5));
                    }
                    return found;
                }
            }
        });
    }

    static boolean isId(String queryId) {
        return QUERY_ID.matcher(queryId).matches();
    }

    /** The id goes into a statement and a path: only what can be one. */
    private static String checked(String queryId) {
        if (!isId(queryId)) {
            throw AgentException.notFound("\"%s\" is not the id of a Snowflake query".formatted(queryId));
        }
        return queryId;
    }

    private <T> T ask(Access access, String what, Question<T> question) {
        try {
            return answer(access, question);
        } catch (SQLException e) {
            throw Failures.of(e, what, access);
        } catch (AgentException e) {
            throw e;
        } catch (RuntimeException e) { // Such as the driver's for a key that is none.
            throw Failures.unexpected(e, what, access);
        }
    }

    /** The driver renews an expired session for its own statements only. What such a session is asked, Snowflake does not do. */
    private <T> T answer(Access access, Question<T> question) throws SQLException {
        try {
            return inSession(access, question);
        } catch (SQLException e) {
            if (Failures.isExpired(e)) {
                return inSession(access, question);
            }
            throw e;
        }
    }

    private <T> T inSession(Access access, Question<T> question) throws SQLException {
        try (Sessions.Lease lease = sessions.use(access.session(), access.credentials().fingerprint(), () -> open(access))) {
            try {
                return question.ask(lease.connection());
            } catch (SQLException e) {
                if (Failures.isConnection(e)) {
                    lease.discard();
                }
                throw e;
            }
        }
    }

    private Connection open(Access access) throws SQLException {
        Session session = access.session();
        Properties properties = new Properties();
        properties.put("user", session.user());
        properties.put("account", session.account());
        properties.put("db", session.database());
        properties.put("schema", session.schema());
        properties.put("warehouse", session.warehouse());
        if (!session.role().isEmpty()) {
            properties.put("role", session.role());
        }
        properties.put("application", "agenthost");
        properties.put("JDBC_QUERY_RESULT_FORMAT", "JSON"); // Arrow needs access to the JDK's insides.
        properties.put("disablePlatformDetection", "true"); // It asks for the metadata servers of every cloud.
        properties.put("CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED", "false");
        properties.put("CLIENT_TELEMETRY_ENABLED", "false");
        Duration limit = settings.callTimeout();
        properties.put("loginTimeout", String.valueOf(Math.max(1, limit.toSeconds())));
        properties.put("networkTimeout", String.valueOf(limit.toMillis()));
        access.credentials().addTo(properties);
        return DriverManager.getConnection(address(session, properties), properties);
    }

    private String address(Session session, Properties properties) {
        if (settings.url() == null) {
            return "jdbc:snowflake://" + session.account() + ".snowflakecomputing.com";
        }
        URI url = URI.create(settings.url());
        boolean secure = url.getScheme().equals("https");
        properties.put("ssl", secure ? "on" : "off");
        return "jdbc:snowflake://%s:%d".formatted(url.getHost(), url.getPort() > 0 ? url.getPort() : secure ? 443 : 80);
    }

    @Override
    public void close() {
        sessions.close();
    }
}
