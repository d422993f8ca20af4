package io.agenthost.sdk;

import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;

/** The form of a CreateTask call, which its metadata tells. */
enum Form {
    CREATE, FIND, ABANDON;

    private static final Metadata.Key<String> FIND_ONLY = Metadata.Key.of(Contract.FIND_ONLY_HEADER, Metadata.ASCII_STRING_MARSHALLER);
    private static final Metadata.Key<String> GIVE_UP = Metadata.Key.of(Contract.ABANDON_HEADER, Metadata.ASCII_STRING_MARSHALLER);
    private static final Context.Key<Form> SENT = Context.keyWithDefault("agenthost-form", CREATE);

    static Form ofCall() {
        return SENT.get();
    }

    /** Reads a call's form from its metadata. */
    static final class Reader implements ServerInterceptor {
        @Override
        public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
            return Contexts.interceptCall(Context.current().withValue(SENT, of(headers)), call, headers, next);
        }

        /** Keys count whatever their values: what asks for less than a creation must not make a job. */
        private static Form of(Metadata headers) {
            if (headers.containsKey(FIND_ONLY)) {
                return FIND;
            }
            return headers.containsKey(GIVE_UP) ? ABANDON : CREATE;
        }
    }
}
