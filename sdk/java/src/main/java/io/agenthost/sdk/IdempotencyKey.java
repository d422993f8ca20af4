package io.agenthost.sdk;

import com.flyteidl.admin.TaskExecutionMetadata;
import io.grpc.Context;
import io.grpc.Metadata;

/** The name of a call's task attempt: what the host sent, or else what the attempt's id and output prefix say. */
final class IdempotencyKey {
    private static final Metadata.Key<String> HEADER = Metadata.Key.of(Contract.IDEMPOTENCY_KEY_HEADER, Metadata.ASCII_STRING_MARSHALLER);
    private static final Context.Key<String> SENT = Context.keyWithDefault(Contract.IDEMPOTENCY_KEY_HEADER, "");

    private IdempotencyKey() {}

    static Context in(Context call, Metadata headers) {
        String sent = headers.get(HEADER);
        return sent == null ? call : call.withValue(SENT, sent);
    }

    static String of(TaskExecutionMetadata metadata, String outputPrefix) {
        String sent = SENT.get();
        return sent.isEmpty() ? Wire.idempotencyKey(metadata.getTaskExecutionId(), outputPrefix) : sent;
    }
}
