package io.agenthost.sdk;

import com.flyteidl.admin.TaskExecutionMetadata;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;

/** The name of a call's task attempt: what the host sent, or else what the attempt's id and output prefix say. */
final class IdempotencyKey implements ServerInterceptor {
    private static final Metadata.Key<String> HEADER = Metadata.Key.of(Contract.IDEMPOTENCY_KEY_HEADER, Metadata.ASCII_STRING_MARSHALLER);
    private static final Context.Key<String> SENT = Context.keyWithDefault(Contract.IDEMPOTENCY_KEY_HEADER, "");

    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
        String sent = headers.get(HEADER);
        return sent == null ? next.startCall(call, headers) : Contexts.interceptCall(Context.current().withValue(SENT, sent), call, headers, next);
    }

    static String of(TaskExecutionMetadata metadata, String outputPrefix) {
        String sent = SENT.get();
        return sent.isEmpty() ? Wire.idempotencyKey(metadata.getTaskExecutionId(), outputPrefix) : sent;
    }
}
