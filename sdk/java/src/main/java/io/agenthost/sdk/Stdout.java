package io.agenthost.sdk;

import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Standard output belongs to the handshake. In a plugin's process, what the program prints becomes log lines instead;
 * elsewhere, in a test of an agent say, it stays as it is.
 */
final class Stdout {
    /** Bounds a line of prints; a longer one becomes several. */
    private static final int MAX_LINE = 16 << 10;
    private static final PrintStream REAL = System.out;

    private Stdout() {}

    /** The real one, for the handshake. */
    static PrintStream real() {
        return REAL;
    }

    static void divert() {
        if (Contract.MAGIC_COOKIE_VALUE.equals(System.getenv(Contract.MAGIC_COOKIE_KEY))) {
            System.setOut(new PrintStream(new Lines(), true, StandardCharsets.UTF_8));
        }
    }

    /** Cuts what is printed into lines. */
    private static final class Lines extends OutputStream {
        private final java.io.ByteArrayOutputStream line = new java.io.ByteArrayOutputStream();
        private Logger log;

        @Override
        public synchronized void write(int b) {
            if (b == '\n' || line.size() >= MAX_LINE) {
                emit();
            }
            if (b != '\n') {
                line.write(b);
            }
        }

        private void emit() {
            String text = line.toString(StandardCharsets.UTF_8);
            line.reset();
            if (log == null) {
                log = LoggerFactory.getLogger("stdout");
            }
            log.atInfo().addKeyValue("stream", "stdout").log(() -> text.endsWith("\r") ? text.substring(0, text.length() - 1) : text);
        }
    }
}
