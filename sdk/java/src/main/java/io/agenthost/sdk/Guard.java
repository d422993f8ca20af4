package io.agenthost.sdk;

import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Runs the calls of agents and turns what they throw into a status that names the agent. */
final class Guard {
    private static final Logger LOG = LoggerFactory.getLogger(Guard.class);
    /** Bounds a status's message, in characters: it travels in a header, for which clients have limits. */
    private static final int MAX_MESSAGE = 4 << 10;

    private Guard() {}

    /** Runs a call, on a thread that is interrupted once the caller has given up. */
    static <T> T run(String agent, Category category, String method, Callable<T> call) throws StatusException {
        Context context = Context.current();
        LeftCalls left = LeftCalls.of(agent);
        left.refuseIfTooMany(method);
        Interruption interruption = new Interruption(Thread.currentThread(), left);
        context.addListener(interruption, Runnable::run);
        try {
            return call.call();
        } catch (Throwable thrown) { // Errors too: a StackOverflowError in one call is no reason to leave the caller without an answer.
            throw status(unwrapped(thrown), context, agent, category, method).asException();
        } finally {
            context.removeListener(interruption);
            interruption.over();
        }
    }

    private static Status status(Throwable thrown, Context context, String agent, Category category, String method) {
        Status status = codeOf(thrown, context);
        if (status.getCode() == Status.Code.INTERNAL) {
            LOG.atError().setCause(thrown).addKeyValue("agent", agent).addKeyValue("task_category", category.name())
                    .addKeyValue("task_category_version", category.version()).addKeyValue("method", method).log("agent failed");
        }
        return status.withDescription("agent %s: %s: %s".formatted(agent, method, cut(messageOf(thrown)) + (isUnexpected(thrown, status) ? Place.of(thrown) : "")));
    }

    /** Whether nobody has put an exception in words for whoever reads it: these have to be told where it began. */
    private static boolean isUnexpected(Throwable thrown, Status status) {
        return status.getCode() == Status.Code.INTERNAL
                && !(thrown instanceof AgentException || thrown instanceof StatusException || thrown instanceof StatusRuntimeException);
    }

    /** The exception that a future's get or join wraps. */
    private static Throwable unwrapped(Throwable thrown) {
        Throwable inner = thrown;
        while ((inner instanceof ExecutionException || inner instanceof CompletionException) && inner.getCause() != null) {
            inner = inner.getCause();
        }
        return inner;
    }

    /** Lets an AgentException through with its code, which a constructor has thrown in the middle of something else. */
    static void rethrowAgentException(Throwable thrown) {
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            if (cause instanceof AgentException known) {
                throw known;
            }
        }
    }

    private static Status codeOf(Throwable thrown, Context context) {
        if (thrown instanceof AgentException known) {
            return known.code().toStatus();
        } else if (thrown instanceof StatusException known) {
            return known.getStatus().getCode().toStatus();
        } else if (thrown instanceof StatusRuntimeException known) {
            return known.getStatus().getCode().toStatus();
        } else if (context.isCancelled()) {
            return context.cancellationCause() instanceof TimeoutException ? Status.DEADLINE_EXCEEDED : Status.CANCELLED;
        }
        return Status.INTERNAL;
    }

    private static String messageOf(Throwable thrown) {
        if (thrown instanceof StatusException known && known.getStatus().getDescription() != null) {
            return known.getStatus().getDescription();
        } else if (thrown instanceof StatusRuntimeException known && known.getStatus().getDescription() != null) {
            return known.getStatus().getDescription();
        }
        return describe(thrown);
    }

    /** The exception's message, with its class where the message alone says little: "NullPointerException: …". */
    static String describe(Throwable thrown) {
        String message = thrown.getMessage();
        if (thrown instanceof AgentException && message != null) {
            return message;
        }
        String name = thrown.getClass().getSimpleName();
        return message == null || message.isBlank() ? name : name + ": " + message;
    }

    /** Keeps the head and the tail of a long text, where the reasons are. */
    static String cut(String text) {
        if (text.length() <= MAX_MESSAGE) {
            return text;
        }
        int half = MAX_MESSAGE / 2;
        return text.substring(0, half) + "\n… (%d characters cut) …\n".formatted(text.length() - 2 * half) + text.substring(text.length() - half);
    }

    /** Interrupts a call's thread when its context ends, and never after the call: the thread then serves another one. */
    private static final class Interruption implements Context.CancellationListener {
        private final Thread thread;
        private final LeftCalls left;
        private boolean over;

        Interruption(Thread thread, LeftCalls left) {
            this.thread = thread;
            this.left = left;
        }

        @Override
        public synchronized void cancelled(Context context) {
            if (!over) {
                left.add(thread);
                thread.interrupt();
            }
        }

        synchronized void over() {
            over = true;
            left.remove(thread);
            Thread.interrupted();
        }
    }
}
