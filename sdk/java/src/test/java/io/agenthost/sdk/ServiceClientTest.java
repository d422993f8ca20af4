package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** When a service that is busy is asked again. */
class ServiceClientTest {
    @Test
    void aWaitIsToldInSecondsOrAsADate() {
        Instant now = Instant.parse("2026-11-29T12:00:00Z");
        Map<String, Optional<Duration>> waits = Map.of("3", Optional.of(Duration.ofSeconds(3)),
                "Sun, 29 Nov 2026 12:01:30 GMT", Optional.of(Duration.ofSeconds(90)),
                "Sun, 29 Nov 2026 11:59:00 GMT", Optional.of(Duration.ZERO),
                "-1", Optional.empty(), "soon", Optional.empty(), "2026-11-29T12:01:30Z", Optional.empty(), "", Optional.empty());
        waits.forEach((text, wait) -> assertEquals(wait, ServiceClient.retryAfter(text, now), text));
    }

    @Test
    void aServiceIsLeftAloneUntilTheDateThatItSays() throws Exception {
        AtomicInteger asked = new AtomicInteger();
        HttpServer service = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        String later = DateTimeFormatter.RFC_1123_DATE_TIME.format(Instant.now().plus(Duration.ofHours(1)).atOffset(ZoneOffset.UTC));
        service.createContext("/", exchange -> {
            exchange.getResponseHeaders().set("Retry-After", later);
            exchange.sendResponseHeaders(asked.incrementAndGet() == 1 ? 503 : 200, -1);
            exchange.close();
        });
        service.start();
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + service.getAddress().getPort())).build();
        SyncAgent agent = task -> {
            new ServiceClient(HttpClient.newHttpClient()).send(request, HttpResponse.BodyHandlers.discarding());
            return Resource.succeeded();
        };
        try (AgentTest test = AgentTest.of(Plugin.named("asking", "1").sync("asking", agent))) { // whose calls last a minute at most
            Status busy = assertThrows(StatusRuntimeException.class, () -> test.execute(TestTask.of("asking"))).getStatus();
            assertEquals(Status.Code.UNAVAILABLE, busy.getCode());
            assertTrue(busy.getDescription().matches(".* answers 503, and to be asked again after 3[0-9]{3} s"), busy.toString());
            assertEquals(1, asked.get());
        } finally {
            service.stop(0);
        }
    }
}
