package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.flyteidl.admin.CreateTaskRequest;
import com.flyteidl.admin.CreateTaskResponse;
import com.flyteidl.admin.DeleteTaskRequest;
import com.flyteidl.admin.GetTaskMetricsRequest;
import com.flyteidl.admin.GetTaskRequest;
import com.flyteidl.admin.GetTaskResponse;
import com.flyteidl.admin.TaskCategory;
import com.flyteidl.core.TaskTemplate;
import com.google.protobuf.ByteString;
import com.google.protobuf.MessageLite;
import io.agenthost.plugin.v1.Answer;
import io.agenthost.plugin.v1.Answers;
import io.agenthost.plugin.v1.Call;
import io.agenthost.plugin.v1.CallServiceGrpc;
import io.agenthost.plugin.v1.Calls;
import io.agenthost.plugin.v1.Header;
import io.agenthost.sdk.log.Trace;
import io.grpc.CallOptions;
import io.grpc.ClientInterceptors;
import io.grpc.Context;
import io.grpc.ForwardingServerCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Many calls in one message mean the same as calls of their own. */
class CallServiceTest {
    private static final String CREATE = "/flyteidl.service.AsyncAgentService/CreateTask";
    private static final String GET = "/flyteidl.service.AsyncAgentService/GetTask";
    private static final String DELETE = "/flyteidl.service.AsyncAgentService/DeleteTask";
    private static final String METRICS = "/flyteidl.service.AsyncAgentService/GetTaskMetrics";
    private static final Map<String, String> TRACE = Map.of("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate", "a=b");

    /** What a job does when it is polled. */
    record Script(String does) {}

    /** Does what a job's metadata says, and keeps in the metadata what create was told. */
    static final class Scripted implements AsyncAgent<Script>, Finder<Script> {
        final CountDownLatch release = new CountDownLatch(1);
        final BlockingQueue<String> seen = new LinkedBlockingQueue<>();

        @Override
        public Script create(Task task) {
            return told("create", task);
        }

        @Override
        public Script find(Task task) {
            return told("find", task);
        }

        @Override
        public void abandon(Task task) {
            throw AgentException.unavailable(told("abandon", task).does());
        }

        private static Script told(String form, Task task) {
            boolean bounded = task.deadline().isPresent();
            return new Script("%s %s %s %s %s".formatted(form, task.idempotencyKey(), Trace.headers().get("traceparent"), Trace.headers().get("tracestate"), bounded));
        }

        @Override
        public Resource get(Job<Script> job) throws Exception {
            switch (job.meta().does()) {
                case "block" -> {
                    seen.add("begun");
                    try {
                        release.await();
                    } catch (InterruptedException e) {
                        seen.add(Context.current().isCancelled() ? "cancelled" : "interrupted");
                        throw e;
                    }
                }
                case "large" -> {
                    return Resource.running("x".repeat(100_000));
                }
                case "fail" -> throw new IllegalStateException("no");
                case "busy" -> throw AgentException.unavailable("busy ü");
                default -> {
                    // It is done.
                }
            }
            return Resource.succeeded(Map.of("trace", Trace.headers().getOrDefault("traceparent", "none"), "prefix", job.outputPrefix()));
        }

        @Override
        public void delete(Job<Script> job) {
            throw AgentException.notFound(job.meta().does());
        }
    }

    /** A plugin on a server of its own, and a host's client of it. */
    private static final class Plugged implements AutoCloseable {
        final Scripted agent = new Scripted();
        final Services services;
        final Server server;
        final ManagedChannel channel;

        Plugged(ServerInterceptor... interceptors) throws Exception {
            Plugin plugin = Plugin.named("p", "1").async("scripted", agent);
            for (ServerInterceptor interceptor : interceptors) {
                plugin.intercept(interceptor);
            }
            NettyServerBuilder builder = builder();
            services = new Services(plugin);
            services.addTo(builder);
            server = builder.build().start();
            channel = NettyChannelBuilder.forAddress(server.getListenSockets().get(0)).usePlaintext().maxInboundMessageSize(Integer.MAX_VALUE).build();
        }

        static NettyServerBuilder builder() {
            return NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        }

        Host host() throws InterruptedException {
            Host host = new Host();
            host.calls = CallServiceGrpc.newStub(channel).exchange(host);
            return host;
        }

        /** A call by itself, in the form of an answer on the stream. */
        Answer alone(Call call) {
            Metadata headers = new Metadata();
            call.getHeadersList().forEach(header -> headers.put(Metadata.Key.of(header.getName(), Metadata.ASCII_STRING_MARSHALLER), header.getValue().toStringUtf8()));
            MethodDescriptor<byte[], byte[]> method = MethodDescriptor.<byte[], byte[]>newBuilder().setType(MethodDescriptor.MethodType.UNARY)
                    .setFullMethodName(call.getMethod().substring(1)).setRequestMarshaller(new Bytes()).setResponseMarshaller(new Bytes()).build();
            CallOptions options = call.getTimeout() == 0 ? CallOptions.DEFAULT : CallOptions.DEFAULT.withDeadlineAfter(call.getTimeout(), TimeUnit.MICROSECONDS);
            try {
                byte[] answer = ClientCalls.blockingUnaryCall(ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers)),
                        method, options, call.getRequest().toByteArray());
                return Answer.newBuilder().setId(call.getId()).setMessage(ByteString.copyFrom(answer)).build();
            } catch (StatusRuntimeException e) {
                Answer.Builder answer = Answer.newBuilder().setId(call.getId()).setStatus(com.google.rpc.Status.newBuilder()
                        .setCode(e.getStatus().getCode().value()).setMessage(e.getStatus().getDescription()).build().toByteString());
                String notTaken = e.getTrailers().get(Metadata.Key.of("agenthost-not-taken", Metadata.ASCII_STRING_MARSHALLER));
                return notTaken == null ? answer.build() : answer.addTrailers(header("agenthost-not-taken", notTaken)).build();
            }
        }

        @Override
        public void close() throws Exception {
            agent.release.countDown();
            channel.shutdownNow();
            server.shutdownNow().awaitTermination();
            services.shutdown();
        }
    }

    private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    /** The host's end of a stream. */
    private static final class Host implements StreamObserver<Answers> {
        final BlockingQueue<Answers> messages = new LinkedBlockingQueue<>();
        final CompletableFuture<Status> end = new CompletableFuture<>();
        StreamObserver<Calls> calls;

        @Override
        public void onNext(Answers message) {
            messages.add(message);
        }

        @Override
        public void onError(Throwable failure) {
            end.complete(Status.fromThrowable(failure));
        }

        @Override
        public void onCompleted() {
            end.complete(Status.OK);
        }

        void send(Call... sent) {
            calls.onNext(Calls.newBuilder().addAllCalls(List.of(sent)).build());
        }

        Answers message() throws InterruptedException {
            Answers message = messages.poll(1, TimeUnit.MINUTES);
            assertNotEquals(null, message, "the stream is silent");
            return message;
        }

        /** So many answers, in the order in which they come. */
        List<Answer> answers(int count) throws InterruptedException {
            List<Answer> answers = new ArrayList<>();
            while (answers.size() < count) {
                answers.addAll(message().getAnswersList());
            }
            return answers;
        }

        Answer answer(Call call) throws InterruptedException {
            send(call);
            return answers(1).get(0);
        }

        Status end() throws Exception {
            return end.get(1, TimeUnit.MINUTES);
        }
    }

    private static Header header(String name, String value) {
        return Header.newBuilder().setName(name).setValue(ByteString.copyFromUtf8(value)).build();
    }

    private static Call.Builder call(long id, String method, MessageLite request, Map<String, String> headers) {
        Call.Builder call = Call.newBuilder().setId(id).setMethod(method).setRequest(request.toByteString());
        headers.forEach((name, value) -> call.addHeaders(header(name, value)));
        return call;
    }

    private static GetTaskRequest job(String does) {
        return GetTaskRequest.newBuilder().setTaskCategory(TaskCategory.newBuilder().setName("scripted")).setOutputPrefix("s3://b/0")
                .setResourceMeta(ByteString.copyFromUtf8("{\"does\": \"%s\"}".formatted(does))).build();
    }

    private static Call poll(long id, String does) {
        return call(id, GET, job(does), Map.of()).build();
    }

    private static Call create(Map<String, String> headers) {
        return call(1, CREATE, CreateTaskRequest.newBuilder().setTemplate(TaskTemplate.newBuilder().setType("scripted")).setOutputPrefix("s3://b/0").build(), headers).build();
    }

    private static com.google.rpc.Status statusOf(Answer answer) throws Exception {
        return com.google.rpc.Status.parseFrom(answer.getStatus());
    }

    @Test
    void theFirstMessageNamesTheMethodsThatItTakes() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Answers greeting = plugged.host().message();
            assertEquals(Set.of(CREATE, GET, DELETE, METRICS), new HashSet<>(greeting.getMethodsList()));
            assertEquals(0, greeting.getAnswersCount());
            assertFalse(greeting.hasLast());
        }
    }

    @Test
    void everyCallOfAMessageIsAnsweredOnce() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            for (int round = 0; round < 20; round++) {
                long first = round * 100L + 1;
                host.send(IntStream.range(0, 100).mapToObj(i -> poll(first + i, i % 10 == 0 ? "busy" : "")).toArray(Call[]::new));
            }
            Map<Long, Answer> answers = new HashMap<>();
            host.answers(2000).forEach(answer -> answers.put(answer.getId(), answer));
            assertEquals(2000, answers.size());
            for (Answer answer : answers.values()) {
                assertEquals(answer.getId() % 10 == 1, answer.getMessage().isEmpty(), answer.toString());
            }
        }
    }

    static List<Arguments> calls() {
        String key = "5".repeat(64);
        ByteString noMessage = ByteString.copyFrom(new byte[] {(byte) 0xff, (byte) 0xff});
        TaskCategory unknown = TaskCategory.newBuilder().setName("unknown").build();
        return List.of(
                Arguments.of("a poll", poll(1, "")),
                Arguments.of("a poll in a trace", call(1, GET, job(""), TRACE).build()),
                Arguments.of("a poll with other metadata", call(1, GET, job(""), Map.of("some-header", "x", "another", "y")).build()),
                Arguments.of("an exception", poll(1, "fail")),
                Arguments.of("an exception with a code", poll(1, "busy")),
                Arguments.of("a category that nobody serves", call(1, GET, job("").toBuilder().setTaskCategory(unknown).build(), Map.of()).build()),
                Arguments.of("metadata of no job", call(1, GET, job("").toBuilder().setResourceMeta(ByteString.copyFromUtf8("{")).build(), Map.of()).build()),
                Arguments.of("nothing in the request", call(1, GET, GetTaskRequest.getDefaultInstance(), Map.of()).build()),
                Arguments.of("a creation", create(Map.of())),
                Arguments.of("a creation with all that the host says", create(Map.of("agenthost-idempotency-key", key, "traceparent", TRACE.get("traceparent"))).toBuilder()
                        .setTimeout(TimeUnit.MINUTES.toMicros(1)).build()),
                Arguments.of("a search", create(Map.of("agenthost-idempotency-key", key, "agenthost-find-only", "1"))),
                Arguments.of("giving up", create(Map.of("agenthost-idempotency-key", key, "agenthost-abandon", "1"))),
                Arguments.of("a deletion", call(1, DELETE, DeleteTaskRequest.newBuilder().setTaskCategory(TaskCategory.newBuilder().setName("scripted"))
                        .setResourceMeta(job("gone").getResourceMeta()).build(), Map.of()).build()),
                Arguments.of("metrics", call(1, METRICS, GetTaskMetricsRequest.newBuilder().setTaskCategory(TaskCategory.newBuilder().setName("scripted"))
                        .setResourceMeta(job("").getResourceMeta()).build(), Map.of()).build()),
                Arguments.of("an unknown method", call(1, GET + "s", job(""), Map.of()).build()),
                Arguments.of("a request that is no message", poll(1, "").toBuilder().setRequest(noMessage).build()));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("calls")
    void aCallIsAnsweredAsByItself(String name, Call call) throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            assertEquals(plugged.alone(call), host.answer(call));
            assertEquals(plugged.alone(poll(2, "")), host.answer(poll(2, "")), "the stream does not go on");
        }
    }

    @Test
    void aCreationIsToldWhatTheHostSays() throws Exception {
        Map<String, String> headers = new HashMap<>(TRACE);
        headers.put("agenthost-idempotency-key", "5".repeat(64));
        try (Plugged plugged = new Plugged()) {
            Call call = create(headers).toBuilder().setTimeout(TimeUnit.MINUTES.toMicros(1)).build();
            String meta = CreateTaskResponse.parseFrom(plugged.host().answer(call).getMessage()).getResourceMeta().toStringUtf8();
            assertEquals("{\"does\":\"create %s %s a=b true\"}".formatted("5".repeat(64), TRACE.get("traceparent")), meta);
        }
    }

    @Test
    void callsThatBlockHoldUpNoOther() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.send(poll(1, "block"), poll(2, ""), poll(3, "block"), poll(4, ""), poll(5, "block"));
            host.send(poll(6, "block"), poll(7, ""));
            Set<Long> ids = new HashSet<>();
            host.answers(3).forEach(answer -> ids.add(answer.getId()));
            assertEquals(Set.of(2L, 4L, 7L), ids);
            for (int i = 0; i < 4; i++) {
                assertEquals("begun", plugged.agent.seen.poll(1, TimeUnit.MINUTES));
            }
            plugged.agent.release.countDown();
            host.answers(4).forEach(answer -> ids.add(answer.getId()));
            assertEquals(Set.of(1L, 2L, 3L, 4L, 5L, 6L, 7L), ids);
        }
    }

    @Test
    void aCallThatNobodyWaitsForIsCancelled() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.send(poll(1, "block"));
            assertEquals("begun", plugged.agent.seen.poll(1, TimeUnit.MINUTES));
            host.calls.onNext(Calls.newBuilder().addCanceled(1).addCanceled(7).build());
            assertEquals("cancelled", plugged.agent.seen.poll(1, TimeUnit.MINUTES));
            assertEquals(2, host.answer(poll(2, "")).getId());
        }
    }

    @Test
    void aCallEndsWithItsTime() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Answer answer = plugged.host().answer(poll(1, "block").toBuilder().setTimeout(1000).build());
            assertEquals(Status.Code.DEADLINE_EXCEEDED.value(), statusOf(answer).getCode());
        }
    }

    @Test
    void anAnswerThatIsTooLargeIsItsSize() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            Answer whole = host.answer(poll(1, "large"));
            int size = whole.getMessage().size();
            assertEquals("x".repeat(100_000), GetTaskResponse.parseFrom(whole.getMessage()).getResource().getMessage());
            assertEquals(whole.getMessage(), host.answer(poll(2, "large").toBuilder().setMaxAnswer(size).build()).getMessage());
            assertEquals(Answer.newBuilder().setId(3).setOversize(size).build(), host.answer(poll(3, "large").toBuilder().setMaxAnswer(size - 1).build()));
        }
    }

    @Test
    void answersAreSentInMessagesOfModerateSize() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.message(); // the greeting
            host.send(IntStream.range(1, 101).mapToObj(i -> poll(i, "large")).toArray(Call[]::new));
            for (int answered = 0; answered < 100;) {
                Answers message = host.message();
                assertTrue(message.getAnswersCount() <= 2, message.getAnswersCount() + " answers of 100 kB are in one message");
                answered += message.getAnswersCount();
            }
        }
    }

    @Test
    void aStopWaitsForCallsAndSaysWhichWasTheLast() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.send(poll(1, "block"));
            assertEquals("begun", plugged.agent.seen.poll(1, TimeUnit.MINUTES));
            CompletableFuture<List<String>> stopped = CompletableFuture.supplyAsync(() -> plugged.services.close(Duration.ofMinutes(1)));
            long last = 1;
            Answer refused = Answer.getDefaultInstance();
            while (refused.getStatus().isEmpty()) {
                refused = host.answer(poll(++last, ""));
            }
            assertEquals(plugged.alone(poll(last, "")), refused);
            assertEquals(List.of(header("agenthost-not-taken", "1")), refused.getTrailersList());
            plugged.agent.release.countDown();
            assertEquals(1, host.answers(1).get(0).getId());
            assertEquals(Answers.newBuilder().setLast(last).build(), host.message());
            assertEquals(Status.OK, host.end());
            assertEquals(List.of(), stopped.get(1, TimeUnit.MINUTES));
        }
    }

    @Test
    void aStreamThatNobodyUsesDelaysNoStop() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.message();
            assertEquals(List.of(), plugged.services.close(Duration.ofMinutes(1)));
            assertEquals(Answers.newBuilder().setLast(0).build(), host.message());
            assertEquals(Status.OK, host.end());
            Host late = plugged.host();
            assertEquals(4, late.message().getMethodsCount());
            assertEquals(Answers.newBuilder().setLast(0).build(), late.message());
            assertEquals(Status.OK, late.end());
        }
    }

    @Test
    void theCallsOfAStreamThatBreaksAreCancelled() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.send(poll(1, "block"));
            assertEquals("begun", plugged.agent.seen.poll(1, TimeUnit.MINUTES));
            host.calls.onError(Status.CANCELLED.asException());
            assertEquals("cancelled", plugged.agent.seen.poll(1, TimeUnit.MINUTES));
        }
    }

    @Test
    void aStreamThatTheHostEndsAnswersWhatItHas() throws Exception {
        try (Plugged plugged = new Plugged()) {
            Host host = plugged.host();
            host.send(poll(1, "block"), poll(2, ""));
            host.calls.onCompleted();
            assertEquals(2, host.answers(1).get(0).getId());
            plugged.agent.release.countDown();
            assertEquals(1, host.answers(1).get(0).getId());
            assertEquals(Status.OK, host.end());
        }
    }

    private static final class Watching implements ServerInterceptor {
        @Override
        public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
            return next.startCall(new ForwardingServerCall.SimpleForwardingServerCall<>(call) {}, headers);
        }
    }

    /** Nor by an interceptor that is not the plugin's, as OpenTelemetry's Java agent adds one. */
    @Test
    void calledOneByOneAreThoseThatAnInterceptorSees() throws Exception {
        try (Plugged plugged = new Plugged(new Watching())) {
            assertEquals(Status.Code.UNIMPLEMENTED, plugged.host().end().getCode());
            assertFalse(plugged.alone(poll(1, "")).getMessage().isEmpty());
        }
        NettyServerBuilder builder = Plugged.builder();
        AutoCloseable services = Plugin.named("p", "1").async("scripted", new Scripted()).addTo(builder);
        Server server = builder.intercept(new Watching()).build().start();
        ManagedChannel channel = NettyChannelBuilder.forAddress(server.getListenSockets().get(0)).usePlaintext().build();
        try {
            Host host = new Host();
            host.calls = CallServiceGrpc.newStub(channel).exchange(host);
            assertEquals(Status.Code.UNIMPLEMENTED, host.end().getCode());
        } finally {
            channel.shutdownNow();
            services.close();
            server.shutdownNow();
        }
    }
}
