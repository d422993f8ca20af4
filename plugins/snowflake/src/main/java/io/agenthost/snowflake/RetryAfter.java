package io.agenthost.snowflake;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import net.snowflake.client.internal.core.HttpClientSettingsKey;
import net.snowflake.client.internal.core.HttpUtil;
import net.snowflake.client.jdbc.internal.apache.http.Header;
import net.snowflake.client.jdbc.internal.apache.http.HttpHost;
import net.snowflake.client.jdbc.internal.apache.http.HttpRequest;
import net.snowflake.client.jdbc.internal.apache.http.HttpResponse;
import net.snowflake.client.jdbc.internal.apache.http.client.methods.CloseableHttpResponse;
import net.snowflake.client.jdbc.internal.apache.http.conn.ClientConnectionManager;
import net.snowflake.client.jdbc.internal.apache.http.impl.client.CloseableHttpClient;
import net.snowflake.client.jdbc.internal.apache.http.params.HttpParams;
import net.snowflake.client.jdbc.internal.apache.http.protocol.HttpContext;

/**
 * One of the driver's HTTP clients, which also heeds {@code Retry-After}: the driver repeats what is answered with 429 or 5xx after
 * pauses of its own, and has no setting for them. An answer with the header is handed to it as late as the header says; it counts
 * a call that took that long as its pause.
 */
final class RetryAfter extends CloseableHttpClient {
    private final CloseableHttpClient client;
    private final Duration most;

    private RetryAfter(CloseableHttpClient client, Duration most) {
        this.client = client;
        this.most = most;
    }

    /**
     * From now on the driver's calls heed the header.
     *
     * @param most how long the longest wait is
     */
    static void heed(Duration most) {
        HttpUtil.httpClient = new Clients(most);
    }

    /** Where the driver keeps its clients, by their settings. */
    private static final class Clients extends ConcurrentHashMap<HttpClientSettingsKey, CloseableHttpClient> {
        private static final long serialVersionUID = 1;

        private final Duration most;

        private Clients(Duration most) {
            this.most = most;
        }

        @Override
        public CloseableHttpClient computeIfAbsent(HttpClientSettingsKey settings,
                Function<? super HttpClientSettingsKey, ? extends CloseableHttpClient> make) {
            return super.computeIfAbsent(settings, key -> new RetryAfter(make.apply(key), most));
        }
    }

    @Override
    protected CloseableHttpResponse doExecute(HttpHost target, HttpRequest request, HttpContext context) throws IOException {
        CloseableHttpResponse response = client.execute(target, request, context);
        try {
            Thread.sleep(pause(response).toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            response.close();
            throw new InterruptedIOException("interrupted while waiting as long as Retry-After says");
        }
        return response;
    }

    private Duration pause(HttpResponse response) {
        int status = response.getStatusLine().getStatusCode();
        Header header = response.getFirstHeader("Retry-After");
        if (header == null || status != 429 && status < 500) {
            return Duration.ZERO;
        }
        Duration wanted = parse(header.getValue().strip(), Instant.now());
        return wanted.compareTo(most) > 0 ? most : wanted;
    }

    /** Seconds, or a date in HTTP's form; no wait where it is neither, or over. */
    static Duration parse(String value, Instant now) {
        try {
            Duration wanted = value.matches("[0-9]{1,9}") ? Duration.ofSeconds(Long.parseLong(value))
                    : Duration.between(now, DateTimeFormatter.RFC_1123_DATE_TIME.parse(value, Instant::from));
            return wanted.isNegative() ? Duration.ZERO : wanted;
        } catch (DateTimeParseException e) {
            return Duration.ZERO;
        }
    }

    @Override
    @Deprecated
    public HttpParams getParams() {
        return client.getParams();
    }

    @Override
    @Deprecated
    public ClientConnectionManager getConnectionManager() {
        return client.getConnectionManager();
    }

    @Override
    public void close() throws IOException {
        client.close();
    }
}
