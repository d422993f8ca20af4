package io.agenthost.sdk;

import com.flyteidl.admin.CreateTaskRequest;
import com.flyteidl.admin.DeleteTaskRequest;
import com.flyteidl.admin.GetTaskMetricsRequest;
import com.flyteidl.admin.GetTaskRequest;
import com.flyteidl.service.AsyncAgentServiceGrpc;
import com.google.protobuf.MessageLite;
import com.google.protobuf.Parser;
import io.agenthost.plugin.v1.Answers;
import io.agenthost.plugin.v1.CallServiceGrpc;
import io.agenthost.plugin.v1.Calls;
import io.grpc.ForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.ServerCall;
import io.grpc.ServerCallExecutorSupplier;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executor;
import java.util.function.BiConsumer;

/** agenthost.plugin.v1.CallService: streams of calls of the asynchronous agents, many in a message. Each runs as one of its own does. */
final class CallService extends CallServiceGrpc.CallServiceImplBase {
    /** A method with one request and one answer. */
    record Method<Q extends MessageLite, A extends MessageLite>(Parser<Q> requests, BiConsumer<Q, StreamObserver<A>> handler) {}

    private final Services services;
    private final Map<String, Method<?, ?>> methods = new LinkedHashMap<>();
    private final Set<Exchange> open = new HashSet<>();
    private boolean ended;

    CallService(Services services, AsyncService agents) {
        this.services = services;
        take(AsyncAgentServiceGrpc.getCreateTaskMethod(), CreateTaskRequest.parser(), agents::createTask);
        take(AsyncAgentServiceGrpc.getGetTaskMethod(), GetTaskRequest.parser(), agents::getTask);
        take(AsyncAgentServiceGrpc.getDeleteTaskMethod(), DeleteTaskRequest.parser(), agents::deleteTask);
        take(AsyncAgentServiceGrpc.getGetTaskMetricsMethod(), GetTaskMetricsRequest.parser(), agents::getTaskMetrics);
    }

    private <Q extends MessageLite, A extends MessageLite> void take(MethodDescriptor<Q, A> method, Parser<Q> requests,
            BiConsumer<Q, StreamObserver<A>> handler) {
        methods.put("/" + method.getFullMethodName(), new Method<>(requests, handler));
    }

    /** The service as a server takes it. */
    ServerServiceDefinition definition() {
        return ServerInterceptors.intercept(this, new Unwatched());
    }

    @Override
    public StreamObserver<Calls> exchange(StreamObserver<Answers> answers) {
        answers.onNext(Answers.newBuilder().addAllMethods(methods.keySet()).build());
        Exchange exchange = new Exchange(services, methods, (ServerCallStreamObserver<Answers>) answers, this::forget);
        if (!add(exchange)) {
            exchange.end();
        }
        return exchange;
    }

    private synchronized boolean add(Exchange exchange) {
        return !ended && open.add(exchange);
    }

    private synchronized void forget(Exchange exchange) {
        open.remove(exchange);
    }

    /** Ends the streams, those that are opened later too, when no call is under way any more or those that are get no more time. */
    void end() {
        List<Exchange> left;
        synchronized (this) {
            ended = true;
            left = List.copyOf(open);
        }
        left.forEach(Exchange::end);
    }

    /**
     * Refuses streams on a server whose calls somebody watches by an interceptor that is not the plugin's, as OpenTelemetry's Java agent
     * does: it would not see the calls on a stream.
     */
    private static final class Unwatched implements ServerInterceptor {
        @Override
        public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
            if (call instanceof ForwardingServerCall) {
                call.close(Status.UNIMPLEMENTED.withDescription("the plugin's calls are watched one by one"), new Metadata());
                return new ServerCall.Listener<>() {};
            }
            return next.startCall(call, headers);
        }
    }

    /** Lets the transport's thread take the messages of streams: it hands calls over to threads of theirs, and another one between costs a switch. */
    static final class OnTransport implements ServerCallExecutorSupplier {
        @Override
        public <Q, A> Executor getExecutor(ServerCall<Q, A> call, Metadata headers) {
            return call.getMethodDescriptor() == CallServiceGrpc.getExchangeMethod() ? Runnable::run : null;
        }
    }
}
