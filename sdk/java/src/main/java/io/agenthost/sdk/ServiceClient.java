package io.agenthost.sdk;

import dev.failsafe.Failsafe;
import dev.failsafe.FailsafeException;
import dev.failsafe.RetryPolicy;
import io.agenthost.sdk.log.Trace;
import java.io.IOException;
import java.net.ConnectException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.util.Optional;
import java.util.Set;
import java.util.function.BiPredicate;

/**
 * For an agent's calls to a service, over the JDK's HTTP client. A service that is busy (429, 503) is asked again when it says so
 * ({@code Retry-After}, in seconds or as a date), or else after 250 ms, 500 ms, …, and so is one that cannot be reached or fails
 * (5xx) where asking again does no harm: GET, HEAD, OPTIONS, PUT and DELETE. All that is within the deadline of the agent's call.
 * Requests carry the trace that the call belongs to (W3C Trace Context). A service that stays busy is UNAVAILABLE, which is Flyte's to
 * repeat.
 *
 * <pre>{@code
 * ServiceClient client = new ServiceClient(HttpClient.newHttpClient()); // one for the plugin
 * HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
 * }</pre>
 */
public final class ServiceClient {
    private static final int TRIES = 6;
    private static final Duration FIRST_WAIT = Duration.ofMillis(250);
    private static final Duration LONGEST_WAIT = Duration.ofSeconds(10);
    /** By which Failsafe takes the backoff. */
    private static final Duration AS_CONFIGURED = Duration.ofNanos(-1);
    private static final Set<String> HARMLESS = Set.of("GET", "HEAD", "OPTIONS", "PUT", "DELETE");

    private final HttpClient client;

    /** Calls by a client, which has the timeouts and the authentication. */
    public ServiceClient(HttpClient client) {
        this.client = client;
    }

    /**
     * Sends a request, on the thread of the agent's call.
     *
     * @throws AgentException UNAVAILABLE, where the service is busy or cannot be reached, and there is no time to ask again
     */
    public <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> body) throws InterruptedException {
        Optional<Instant> end = Calls.deadline();
        HttpRequest traced = traced(request);
        RetryPolicy<HttpResponse<T>> policy = RetryPolicy.<HttpResponse<T>>builder()
                .handleIf(failure -> failure instanceof ConnectException || failure instanceof IOException && harmless(request))
                .handleResultIf(answer -> again(request, answer.statusCode()))
                .abortIf((answer, failure) -> answer != null && again(request, answer.statusCode()) && tooLate(answer, end))
                .withMaxRetries(TRIES).withBackoff(FIRST_WAIT, LONGEST_WAIT)
                .withDelayFn(attempt -> Optional.ofNullable(attempt.getLastResult()).flatMap(ServiceClient::retryAfter).orElse(AS_CONFIGURED)).build();
        HttpResponse<T> answer;
        try {
            answer = Failsafe.with(policy).get(() -> client.send(traced, body));
        } catch (FailsafeException e) {
            if (e.getCause() instanceof InterruptedException interrupted) {
                throw interrupted;
            }
            throw AgentException.unavailable("%s %s: %s".formatted(request.method(), request.uri(), Guard.describe(e.getCause()))).causedBy(e.getCause());
        }
        if (busy(answer.statusCode())) {
            throw AgentException.unavailable("%s %s answers %d%s".formatted(request.method(), request.uri(), answer.statusCode(),
                    retryAfter(answer).map(wait -> ", and to be asked again after " + wait.toSeconds() + " s").orElse("")));
        }
        return answer;
    }

    private static HttpRequest traced(HttpRequest request) {
        BiPredicate<String, String> all = (name, value) -> true;
        HttpRequest.Builder builder = HttpRequest.newBuilder(request, all);
        Trace.headers().forEach((name, value) -> {
            if (request.headers().firstValue(name).isEmpty()) { // or instrumentation did it, with a span of its own
                builder.setHeader(name, value);
            }
        });
        return builder.build();
    }

    private static boolean harmless(HttpRequest request) {
        return HARMLESS.contains(request.method());
    }

    private static boolean busy(int status) {
        return status == 429 || status == 503;
    }

    private static boolean again(HttpRequest request, int status) {
        return busy(status) || status >= 500 && status != 501 && harmless(request);
    }

    private static boolean tooLate(HttpResponse<?> answer, Optional<Instant> end) {
        Instant next = Instant.now().plus(retryAfter(answer).orElse(FIRST_WAIT));
        return end.isPresent() && next.isAfter(end.get());
    }

    private static Optional<Duration> retryAfter(HttpResponse<?> answer) {
        return answer.headers().firstValue("Retry-After").flatMap(text -> retryAfter(text, Instant.now()));
    }

    /** How long a service wants to be left alone: seconds, or until a date of HTTP's. Empty for what is neither. */
    static Optional<Duration> retryAfter(String text, Instant now) {
        if (text.matches("[0-9]{1,9}")) {
            return Optional.of(Duration.ofSeconds(Long.parseLong(text)));
        }
        try {
            Duration left = Duration.between(now, DateTimeFormatter.RFC_1123_DATE_TIME.parse(text, Instant::from));
            return Optional.of(left.isNegative() ? Duration.ZERO : left);
        } catch (DateTimeParseException e) {
            return Optional.empty();
        }
    }
}
