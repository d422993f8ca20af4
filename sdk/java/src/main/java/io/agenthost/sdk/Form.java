package io.agenthost.sdk;

import io.grpc.Context;
import io.grpc.Metadata;

/** The form of a CreateTask call, which its metadata tells. */
enum Form {
    CREATE, FIND, ABANDON;

    private static final Metadata.Key<String> FIND_ONLY = Metadata.Key.of(Contract.FIND_ONLY_HEADER, Metadata.ASCII_STRING_MARSHALLER);
    private static final Metadata.Key<String> GIVE_UP = Metadata.Key.of(Contract.ABANDON_HEADER, Metadata.ASCII_STRING_MARSHALLER);
    private static final Context.Key<Form> SENT = Context.keyWithDefault("agenthost-form", CREATE);

    static Form ofCall() {
        return SENT.get();
    }

    /** Reads a call's form. Keys count whatever their values: what asks for less than a creation must not make a job. */
    static Context in(Context call, Metadata headers) {
        if (headers.containsKey(FIND_ONLY)) {
            return call.withValue(SENT, FIND);
        }
        return headers.containsKey(GIVE_UP) ? call.withValue(SENT, ABANDON) : call;
    }
}
