package io.agenthost.sdk.log;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.ILoggerFactory;
import org.slf4j.IMarkerFactory;
import org.slf4j.event.Level;
import org.slf4j.helpers.BasicMDCAdapter;
import org.slf4j.helpers.BasicMarkerFactory;
import org.slf4j.spi.MDCAdapter;
import org.slf4j.spi.SLF4JServiceProvider;

/**
 * Lets slf4j write to the host's log: JSON lines on standard error, with level, logger, message, key-value pairs, MDC and
 * stack. Found by slf4j itself. The environment variable AGENTHOST_LOG_LEVEL sets the least level that is written: trace,
 * debug, info (the default), warn, error.
 */
public final class HostLogProvider implements SLF4JServiceProvider {
    private final Map<String, HostLogger> loggers = new ConcurrentHashMap<>();
    private final IMarkerFactory markers = new BasicMarkerFactory();
    private final MDCAdapter mdc = new BasicMDCAdapter();
    private Level least;

    @Override
    public void initialize() {
        least = levelOf(System.getenv().getOrDefault("AGENTHOST_LOG_LEVEL", "info"));
    }

    private static Level levelOf(String name) {
        for (Level level : Level.values()) {
            if (level.name().equalsIgnoreCase(name)) {
                return level;
            }
        }
        System.err.printf("AGENTHOST_LOG_LEVEL is \"%s\" and must be trace, debug, info, warn or error: taking info%n", name);
        return Level.INFO;
    }

    @Override
    public ILoggerFactory getLoggerFactory() {
        return name -> loggers.computeIfAbsent(name, made -> new HostLogger(made, leastOf(made)));
    }

    /** grpc gives every socket keep-alive, and netty warns that unix sockets have none. */
    private Level leastOf(String name) {
        return name.equals("io.grpc.netty.shaded.io.netty.bootstrap.ServerBootstrap") ? Level.ERROR : least;
    }

    @Override
    public IMarkerFactory getMarkerFactory() {
        return markers;
    }

    @Override
    public MDCAdapter getMDCAdapter() {
        return mdc;
    }

    @Override
    public String getRequestedApiVersion() {
        return "2.0.99";
    }
}
