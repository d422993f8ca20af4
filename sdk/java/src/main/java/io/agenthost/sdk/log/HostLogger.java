package io.agenthost.sdk.log;

import java.io.PrintStream;
import java.util.LinkedHashMap;
import java.util.Map;
import org.slf4j.MDC;
import org.slf4j.Marker;
import org.slf4j.event.KeyValuePair;
import org.slf4j.event.Level;
import org.slf4j.event.LoggingEvent;
import org.slf4j.helpers.LegacyAbstractLogger;
import org.slf4j.helpers.MessageFormatter;
import org.slf4j.spi.LoggingEventAware;

/** A logger of one name. */
final class HostLogger extends LegacyAbstractLogger implements LoggingEventAware {
    private static final long serialVersionUID = 1;
    // The real one, whatever the program sets later: the host reads it.
    private static final PrintStream STDERR = System.err;

    private final Level least;

    HostLogger(String name, Level least) {
        this.name = name;
        this.least = least;
    }

    private boolean enabled(Level level) {
        return level.toInt() >= least.toInt();
    }

    @Override
    public boolean isTraceEnabled() {
        return enabled(Level.TRACE);
    }

    @Override
    public boolean isDebugEnabled() {
        return enabled(Level.DEBUG);
    }

    @Override
    public boolean isInfoEnabled() {
        return enabled(Level.INFO);
    }

    @Override
    public boolean isWarnEnabled() {
        return enabled(Level.WARN);
    }

    @Override
    public boolean isErrorEnabled() {
        return enabled(Level.ERROR);
    }

    @Override
    protected String getFullyQualifiedCallerName() {
        return null;
    }

    @Override
    protected void handleNormalizedLoggingCall(Level level, Marker marker, String pattern, Object[] arguments, Throwable throwable) {
        write(level, MessageFormatter.basicArrayFormat(pattern, arguments), Map.of(), throwable);
    }

    @Override
    public void log(LoggingEvent event) {
        Map<String, Object> fields = new LinkedHashMap<>();
        if (event.getKeyValuePairs() != null) {
            for (KeyValuePair pair : event.getKeyValuePairs()) {
                fields.put(pair.key, pair.value);
            }
        }
        write(event.getLevel(), MessageFormatter.basicArrayFormat(event.getMessage(), event.getArgumentArray()), fields, event.getThrowable());
    }

    private void write(Level level, String message, Map<String, Object> own, Throwable throwable) {
        Map<String, Object> fields = new LinkedHashMap<>(Trace.fields());
        Map<String, String> context = MDC.getCopyOfContextMap();
        if (context != null) {
            fields.putAll(context);
        }
        fields.putAll(own);
        String line = HostLine.of(level, name, message, fields, throwable);
        synchronized (STDERR) {
            STDERR.println(line);
            STDERR.flush();
        }
    }
}
