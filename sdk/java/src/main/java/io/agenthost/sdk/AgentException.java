package io.agenthost.sdk;

import io.grpc.Status;

/** Says that a call went wrong, with the gRPC code that the caller sees. */
public class AgentException extends RuntimeException {
    private static final long serialVersionUID = 1;
    private final Status.Code code;

    /** Makes an exception of any code; the static methods make the common ones. */
    public AgentException(Status.Code code, String message) {
        super(message);
        this.code = code;
    }

    /** The code that the caller sees. */
    public Status.Code code() {
        return code;
    }

    /** Says what caused it. */
    public AgentException causedBy(Throwable cause) {
        initCause(cause);
        return this;
    }

    /** A job that does not exist. In delete it counts as success. */
    public static AgentException notFound(String message) {
        return new AgentException(Status.Code.NOT_FOUND, message);
    }

    /** An attempt that was given up, for which no job may be made: see {@link Finder}. */
    public static AgentException abandoned(String message) {
        return new AgentException(Status.Code.ABORTED, message);
    }

    /** A task that can never run as it is. */
    public static AgentException invalidArgument(String message) {
        return new AgentException(Status.Code.INVALID_ARGUMENT, message);
    }

    /** Something that must be put right outside, such as a missing secret. */
    public static AgentException failedPrecondition(String message) {
        return new AgentException(Status.Code.FAILED_PRECONDITION, message);
    }

    /** Something that will work again by itself. */
    public static AgentException unavailable(String message) {
        return new AgentException(Status.Code.UNAVAILABLE, message);
    }

    /** Credentials that the other system refuses. */
    public static AgentException unauthenticated(String message) {
        return new AgentException(Status.Code.UNAUTHENTICATED, message);
    }

    /** Something that is wrong with the agent itself, which its author must mend. */
    public static AgentException internal(String message) {
        return new AgentException(Status.Code.INTERNAL, message);
    }

    /** Something that the agent does not do. */
    public static AgentException unimplemented(String message) {
        return new AgentException(Status.Code.UNIMPLEMENTED, message);
    }
}
