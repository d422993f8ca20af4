package io.agenthost.sdk;

import io.agenthost.sdk.log.Trace;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;

/** What a call's metadata says to the SDK: the call's context has it from then on. */
final class Headers implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
        return Contexts.interceptCall(in(Context.current(), headers), call, headers, next);
    }

    static Context in(Context call, Metadata headers) {
        return Trace.in(Form.in(IdempotencyKey.in(call, headers), headers), headers);
    }
}
