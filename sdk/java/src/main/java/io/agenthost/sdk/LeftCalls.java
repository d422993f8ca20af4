package io.agenthost.sdk;

import io.grpc.Status;
import io.grpc.StatusException;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * An agent's calls that go on though their callers have left: they do not heed their interruption. Each holds a thread for as long
 * as it likes, so they are bounded: an agent that blocks for ever takes no more calls then, and the plugin's other agents do.
 */
final class LeftCalls {
    static final int MAX = 100;

    private static final Map<String, LeftCalls> BY_AGENT = new ConcurrentHashMap<>();

    private final String agent;
    private final Set<Thread> threads = ConcurrentHashMap.newKeySet();

    private LeftCalls(String agent) {
        this.agent = agent;
    }

    static LeftCalls of(String agent) {
        return BY_AGENT.computeIfAbsent(agent, LeftCalls::new);
    }

    void add(Thread thread) {
        threads.add(thread);
    }

    void remove(Thread thread) {
        threads.remove(thread);
    }

    int size() {
        return threads.size();
    }

    /** Refuses a call while there are so many, and says where one of them stands. */
    void refuseIfTooMany(String method) throws StatusException {
        if (threads.size() < MAX) {
            return;
        }
        throw Status.UNAVAILABLE.withDescription(("agent %s: %s: %d of its calls go on though nobody waits for them, one of them at %s: "
                + "bound what they wait for, and let an interrupt end it").formatted(agent, method, threads.size(), place())).asException();
    }

    /** Where a call stands: in the first class that is not the JDK's, and so perhaps the author's. */
    private String place() {
        for (Thread thread : threads) {
            for (StackTraceElement frame : thread.getStackTrace()) {
                if (frame.getModuleName() == null || !frame.getModuleName().startsWith("java.")) {
                    return frame.toString();
                }
            }
        }
        return "an unknown place";
    }
}
