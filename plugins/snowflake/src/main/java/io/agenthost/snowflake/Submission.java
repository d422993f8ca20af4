package io.agenthost.snowflake;

import java.io.IOException;
import java.net.URI;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;
import net.snowflake.client.internal.core.HttpUtil;
import net.snowflake.client.internal.core.ObjectMapperFactory;
import net.snowflake.client.internal.core.ParameterBindingDTO;
import net.snowflake.client.internal.core.QueryExecDTO;
import net.snowflake.client.internal.core.SFBaseStatement;
import net.snowflake.client.internal.core.SFSession;
import net.snowflake.client.internal.jdbc.SnowflakeUtil;
import net.snowflake.client.internal.jdbc.telemetry.ExecTimeTelemetryData;
import net.snowflake.client.jdbc.internal.apache.http.client.methods.HttpPost;
import net.snowflake.client.jdbc.internal.apache.http.entity.ContentType;
import net.snowflake.client.jdbc.internal.apache.http.entity.StringEntity;
import net.snowflake.client.jdbc.internal.fasterxml.jackson.databind.JsonNode;

/**
 * A query that is started with a request id of the caller's choice, by which Snowflake knows a request that comes again. The
 * driver's statements take no request id: they make up one for each execution. So this sends what they send, over the driver's
 * own HTTP, with its session, proxies, certificates and repetitions. It is the one class that uses the driver's insides, only
 * what is public in them; the tests on the emulator tell whether another version of the driver still does what it should.
 *
 * @param bindings what {@code ?} stands for, in order
 */
record Submission(UUID requestId, String sql, List<Values.Binding> bindings, Map<String, Object> parameters) {
    private static final String PATH = "/queries/v1/query-request";

    /** Whether the driver, and not Snowflake, would have to carry a statement out. */
    static boolean movesFiles(String sql) {
        return SFBaseStatement.isFileTransfer(sql);
    }

    /** Sends it, and returns the query's id as soon as Snowflake has taken it. */
    String send(SFSession session) throws SQLException {
        JsonNode answer;
        try {
            HttpPost request = request(session);
            answer = ObjectMapperFactory.getObjectMapper().readTree(HttpUtil.executeRequest(request,
                    session.getNetworkTimeoutInMilli() / 1000, 0, session.getHttpClientSocketTimeout(), session.getMaxHttpRetries(), 0,
                    new AtomicBoolean(), true, false, session.getHttpClientKey(), new ExecTimeTelemetryData(), session));
        } catch (IOException e) {
            throw new SQLException("no answer to the query's request " + requestId + ": " + e.getMessage(), "08000", e);
        }
        SnowflakeUtil.checkErrorAndThrowException(answer);
        String queryId = answer.path("data").path("queryId").asText();
        if (queryId.isEmpty()) {
            throw new SQLException("Snowflake's answer to the query's request " + requestId + " has no query id", "08000");
        }
        session.addQueryToActiveQueryList(queryId); // Else closing the session would end the query.
        return queryId;
    }

    private HttpPost request(SFSession session) throws IOException {
        HttpPost request = new HttpPost(URI.create(session.getServerUrl()).resolve(PATH + query()));
        request.setHeader("Accept", "application/snowflake");
        request.setHeader("Authorization", "Snowflake Token=\"" + session.getSessionToken() + "\"");
        if (session.getServiceName() != null && !session.getServiceName().isEmpty()) {
            request.setHeader("X-Snowflake-Service", session.getServiceName());
        }
        request.setEntity(new StringEntity(ObjectMapperFactory.getObjectMapper().writeValueAsString(body()), ContentType.APPLICATION_JSON));
        return request;
    }

    /**
     * Says that it may be a repetition, as the driver says of its own: "GS will only check metadata database to see if a query
     * has been running for a retry request", says its source of retryCount. Whether it is one, only Snowflake can know: the
     * process that sent the first may be gone.
     */
    private String query() {
        return "?requestId=" + requestId + "&retryCount=1";
    }

    private QueryExecDTO body() {
        Map<String, ParameterBindingDTO> numbered = new LinkedHashMap<>();
        for (Values.Binding each : bindings) {
            numbered.put(String.valueOf(numbered.size() + 1), new ParameterBindingDTO(each.type(), each.value()));
        }
        return new QueryExecDTO(sql, false, 0, numbered, null, parameters, null, System.currentTimeMillis(), false, true);
    }
}
