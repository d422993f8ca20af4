package io.agenthost.snowflake;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.StreamSupport;
import java.util.zip.GZIPInputStream;

/**
 * fakesnow, with what it lacks in front of it: queries that go on after the request, their states and errors, the query
 * history by tag and id, cancelling, and request ids, which it does not read. Everything else goes to fakesnow as it comes.
 */
final class Snow implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final Process fakesnow;
    private final URI upstream;
    private final HttpServer server;
    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final ExecutorService threads = Executors.newCachedThreadPool(Bounded::daemon);
    final Map<String, Query> queries = new ConcurrentHashMap<>();
    /** One at a time: fakesnow's sessions, unlike Snowflake's, refuse a second query meanwhile. */
    private final ExecutorService runs = Executors.newSingleThreadExecutor(Bounded::daemon);
    private final Map<String, Query> taken = new ConcurrentHashMap<>();
    final List<JsonNode> logins = new CopyOnWriteArrayList<>();
    /** The sessions that were closed, which would end their queries. */
    final List<String> closed = new CopyOnWriteArrayList<>();
    /** The state that new queries stay in; null: they run in fakesnow. */
    volatile String held;
    /** Why logins are refused; null: they are not. */
    volatile String refusal;
    /** What comes instead of the answer to the next query, which is taken all the same; null: its answer. */
    volatile Mishap mishap;
    /** The session whose token is over; null: none is. */
    volatile String expired;
    /** Keeps the history from listing queries, as a query's is that was started this moment. */
    volatile boolean unlisted;
    /** How many requests are still answered with 503, or with 429 and how long to wait. */
    final AtomicInteger unavailable = new AtomicInteger();
    /** After how many seconds a request may come again that is answered with 429; null: nobody is told. */
    volatile String retryAfter;

    /** How the answer to a query's request fails to come. */
    enum Mishap { LOST, UNAVAILABLE }

    /** A query that was started. */
    static final class Query {
        final String id = UUID.randomUUID().toString();
        final String sql;
        final String tag;
        final JsonNode bindings;
        /** The session that started it. */
        final String session;
        /** The ids of the requests that were answered with this query. */
        final List<String> requests = new CopyOnWriteArrayList<>();
        volatile String status = "RUNNING";
        volatile int code;
        volatile String message = "";
        volatile JsonNode result;

        Query(JsonNode request, String session) {
            this.session = session;
            sql = request.path("sqlText").asText();
            tag = request.path("parameters").path("QUERY_TAG").asText();
            bindings = request.path("bindings");
        }
    }

    Snow() throws Exception {
        this(0);
    }

    private Snow(int port) throws Exception {
        int behind = Programs.freePort();
        fakesnow = Programs.fakesnow(behind);
        upstream = URI.create("http://127.0.0.1:" + behind);
        server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(threads);
        server.createContext("/", this::handle);
        server.start();
    }

    /**
     * Serves on a port, any if it is 0, until it is killed, for tests of the whole host; prints a line of JSON with its url. {@code GET
     * /started} tells how many queries were, and {@code GET /unlisted} too, from when on the history lists none. {@code GET /answers}
     * tells of each task's query what it was given, by its id.
     */
    public static void main(String[] arguments) throws Exception {
        Snow snow = new Snow(Integer.parseInt(arguments[0]));
        snow.server.createContext("/started", snow::tell);
        snow.server.createContext("/unlisted", exchange -> {
            snow.unlisted = true;
            snow.tell(exchange);
        });
        snow.server.createContext("/answers", snow::answers);
        System.out.println(JSON.writeValueAsString(Map.of("url", snow.url())));
    }

    private void answers(HttpExchange exchange) throws IOException {
        Map<String, List<String>> answers = new HashMap<>();
        queries.values().stream().filter(query -> !Attempt.isNoOp(query.sql)).forEach(query -> answers.put(query.id,
                StreamSupport.stream(query.bindings.spliterator(), false).map(each -> each.path("value").asText()).toList()));
        try (exchange) {
            send(exchange, 200, JSON.writeValueAsBytes(answers));
        }
    }

    private void tell(HttpExchange exchange) throws IOException {
        try (exchange) {
            send(exchange, 200, JSON.writeValueAsBytes(Map.of("queries", queries.size())));
        }
    }

    String url() {
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    private void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readAllBytes();
            if ("gzip".equals(exchange.getRequestHeaders().getFirst("Content-Encoding"))) {
                body = new GZIPInputStream(new ByteArrayInputStream(body)).readAllBytes();
            }
            if (unavailable.getAndUpdate(n -> Math.max(0, n - 1)) > 0) {
                refuse(exchange);
                return;
            }
            JsonNode answer = own(exchange, body);
            if (answer == null) {
                HttpResponse<byte[]> forwarded = forward(exchange, body);
                exchange.getResponseHeaders().set("Content-Type", "application/json");
                send(exchange, forwarded.statusCode(), forwarded.body());
            } else if (!answer.isMissingNode()) {
                exchange.getResponseHeaders().set("Content-Type", "application/json");
                send(exchange, 200, JSON.writeValueAsBytes(answer));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void refuse(HttpExchange exchange) throws IOException {
        if (retryAfter != null) {
            exchange.getResponseHeaders().set("Retry-After", retryAfter);
        }
        exchange.sendResponseHeaders(retryAfter == null ? 503 : 429, -1);
    }

    private static void send(HttpExchange exchange, int status, byte[] body) throws IOException {
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
    }

    /** The answer to what fakesnow lacks; null: ask fakesnow; missing: none at all. */
    private JsonNode own(HttpExchange exchange, byte[] body) throws IOException {
        String path = exchange.getRequestURI().getPath();
        if (path.startsWith("/monitoring/queries/")) {
            return success(JSON.createObjectNode().set("queries", monitoring(path.substring(path.lastIndexOf('/') + 1))));
        }
        if (path.equals("/session/v1/login-request")) {
            logins.add(JSON.readTree(body).path("data"));
            return refusal == null ? null : JSON.createObjectNode().put("success", false).put("code", "390100").put("message", refusal);
        }
        if (path.equals("/session") && exchange.getRequestURI().getQuery().contains("delete=true")) {
            closed.add(session(exchange));
        }
        return path.equals("/queries/v1/query-request") ? query(exchange, JSON.readTree(body)) : null;
    }

    private JsonNode query(HttpExchange exchange, JsonNode request) throws IOException {
        String sql = request.path("sqlText").asText();
        if (session(exchange).equals(expired)) {
            return JSON.createObjectNode().put("success", false).put("code", "390112").put("message", "Your session has expired.");
        } else if (request.path("asyncExec").asBoolean()) {
            Query query = start(exchange, request);
            if (mishap != null) {
                return mishap(exchange);
            }
            return success(JSON.createObjectNode().put("queryId", query.id).put("getResultUrl", "/queries/" + query.id + "/result"))
                    .put("code", "333334").put("message", "Query execution in progress.");
        } else if (sql.contains("query_history_by_user")) {
            return history(sql, request.path("bindings"));
        } else if (sql.contains("system$cancel_query")) {
            Query query = queries.get(sql.split("'")[1]);
            query.status = "ABORTED";
            query.code = 604;
            query.message = "SQL execution canceled";
            return rows(List.of("SYSTEM$CANCEL_QUERY"), List.of(List.of("query [" + query.id + "] terminated.")));
        }
        return null;
    }

    private JsonNode mishap(HttpExchange exchange) throws IOException {
        if (mishap == Mishap.UNAVAILABLE) {
            exchange.sendResponseHeaders(503, -1);
        }
        mishap = null;
        return JSON.missingNode();
    }

    /**
     * Snowflake knows a request by its id within the session that sent it, and beyond only looks where the request says that
     * it may be a repetition.
     */
    private Query start(HttpExchange exchange, JsonNode request) {
        Map<String, String> parameters = parameters(exchange);
        String session = session(exchange);
        Query query = taken.compute(parameters.get("requestId"), (id, known) -> known != null
                && (known.session.equals(session) || parameters.containsKey("retryCount")) ? known : new Query(request, session));
        query.requests.add(parameters.get("requestId"));
        if (queries.putIfAbsent(query.id, query) != null) {
            return query;
        }
        if (held != null) {
            query.status = held;
            return query;
        }
        byte[] body = ((ObjectNode) request.deepCopy()).put("asyncExec", false).toString().getBytes();
        runs.submit(() -> run(query, session, body));
        return query;
    }

    private static String session(HttpExchange exchange) {
        return exchange.getRequestHeaders().getFirst("Authorization");
    }

    private static Map<String, String> parameters(HttpExchange exchange) {
        Map<String, String> parameters = new HashMap<>();
        for (String parameter : exchange.getRequestURI().getQuery().split("&")) {
            String[] parts = parameter.split("=", 2);
            if (parameters.put(parts[0], parts[1]) != null) {
                throw new IllegalArgumentException("%s comes twice: %s".formatted(parts[0], exchange.getRequestURI()));
            }
        }
        return parameters;
    }

    private Object run(Query query, String authorization, byte[] body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(upstream.resolve("/queries/v1/query-request")).header("Content-Type", "application/json")
                .header("Authorization", authorization).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
        JsonNode answer = JSON.readTree(client.send(request, HttpResponse.BodyHandlers.ofByteArray()).body());
        query.result = answer.path("data");
        if (!answer.path("success").asBoolean()) {
            query.code = answer.path("code").asInt();
            query.message = answer.path("message").asText();
        }
        query.status = answer.path("success").asBoolean() ? "SUCCESS" : "FAILED_WITH_ERROR";
        return null;
    }

    private ArrayNode monitoring(String id) {
        ArrayNode found = JSON.createArrayNode();
        Query query = queries.get(id);
        if (query != null) {
            found.addObject().put("id", id).put("status", query.status).put("errorCode", query.code).put("errorMessage", query.message)
                    .put("sqlText", query.sql).put("totalDuration", 1500).put("warehouseName", "SMALL").put("warehouseExternalSize", "X-Small");
        }
        return found;
    }

    private JsonNode history(String sql, JsonNode bindings) {
        List<String> wanted = StreamSupport.stream(bindings.spliterator(), false).map(each -> each.path("value").asText()).toList();
        boolean byTag = sql.contains("query_tag in (?, ?)");
        List<List<String>> rows = queries.values().stream().filter(query -> !unlisted && wanted.contains(byTag ? query.tag : query.id))
                .map(query -> byTag ? List.of(query.id, query.tag) : List.of("3", "4096", "12", "5", "0.25")).toList();
        return rows(byTag ? List.of("QUERY_ID", "QUERY_TAG") : List.of("ROWS_PRODUCED", "BYTES_SCANNED", "EXECUTION_TIME", "COMPILATION_TIME",
                "CREDITS_USED_CLOUD_SERVICES"), rows);
    }

    private static JsonNode rows(List<String> names, List<List<String>> rows) {
        ObjectNode data = JSON.createObjectNode();
        ArrayNode types = data.putArray("rowtype");
        names.forEach(name -> types.addObject().put("name", name).put("type", "text").put("nullable", true).put("length", 100)
                .put("byteLength", 400).putNull("scale").putNull("precision"));
        data.set("rowset", JSON.valueToTree(rows));
        data.put("total", rows.size()).put("returned", rows.size()).put("queryId", UUID.randomUUID().toString())
                .put("queryResultFormat", "json").put("statementTypeId", 4096).putArray("parameters");
        return success(data);
    }

    private static ObjectNode success(JsonNode data) {
        ObjectNode answer = JSON.createObjectNode().put("success", true);
        answer.set("data", data);
        return answer;
    }

    private HttpResponse<byte[]> forward(HttpExchange exchange, byte[] body) throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(upstream + exchange.getRequestURI().toString()))
                .method(exchange.getRequestMethod(), HttpRequest.BodyPublishers.ofByteArray(body)).header("Content-Type", "application/json");
        String authorization = exchange.getRequestHeaders().getFirst("Authorization");
        if (authorization != null) {
            request.header("Authorization", authorization);
        }
        return client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
        runs.shutdownNow();
        fakesnow.destroyForcibly();
    }
}
