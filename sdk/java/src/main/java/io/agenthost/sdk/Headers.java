package io.agenthost.sdk;

import io.agenthost.plugin.v1.CallServiceGrpc;
import io.agenthost.sdk.log.Trace;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** What a call's metadata says to the SDK: the call's context has it from then on. */
final class Headers implements ServerInterceptor {
    /** Those that are read, by name. */
    static final Map<String, Metadata.Key<String>> READ = Stream.of(Contract.IDEMPOTENCY_KEY_HEADER, Contract.FIND_ONLY_HEADER, Contract.ABANDON_HEADER,
                    "traceparent", "tracestate")
            .collect(Collectors.toUnmodifiableMap(name -> name, name -> Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER)));

    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
        if (call.getMethodDescriptor() == CallServiceGrpc.getExchangeMethod()) {
            return next.startCall(call, headers); // each call on the stream has its own
        }
        return Contexts.interceptCall(in(Context.current(), headers), call, headers, next);
    }

    static Context in(Context call, Metadata headers) {
        return Trace.in(Form.in(IdempotencyKey.in(call, headers), headers), headers);
    }
}
