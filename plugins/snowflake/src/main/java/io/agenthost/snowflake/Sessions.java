package io.agenthost.snowflake;

import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Sessions that are open, each shared by the calls that need it: Snowflake's serve many at once. Those that nobody has used
 * for a while are closed, and the longest unused one when there are too many.
 */
final class Sessions implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Sessions.class);

    private final int most;
    private final Duration idle;
    private final Map<Key, Entry> entries = new HashMap<>();

    /** Opens a session. */
    @FunctionalInterface
    interface Opener {
        Connection open() throws SQLException;
    }

    private record Key(Session session, String fingerprint) {}

    private static final class Entry {
        private Connection connection;
        private int users;
        private long lastUse = System.nanoTime();

        /** Opens under its own lock, so that a slow login holds up only those who wait for the same session. */
        synchronized Connection connection(Opener opener) throws SQLException {
            if (connection == null || connection.isClosed()) {
                connection = opener.open();
            }
            return connection;
        }

        synchronized void end() {
            if (connection == null) {
                return;
            }
            try {
                connection.close();
            } catch (SQLException e) {
                LOG.debug("a session was not closed: {}", e.getMessage());
            }
            connection = null;
        }
    }

    Sessions(int most, Duration idle) {
        this.most = most;
        this.idle = idle;
    }

    /** A use of a session, until it is closed. */
    final class Lease implements AutoCloseable {
        private final Key key;
        private final Entry entry;
        private final Connection connection;

        private Lease(Key key, Entry entry, Connection connection) {
            this.key = key;
            this.entry = entry;
            this.connection = connection;
        }

        Connection connection() {
            return connection;
        }

        /** Forgets a session that Snowflake has ended or that may be broken. */
        void discard() {
            synchronized (Sessions.this) {
                entries.remove(key, entry);
            }
            entry.end();
        }

        @Override
        public void close() {
            giveBack(entry);
        }
    }

    Lease use(Session session, String fingerprint, Opener opener) throws SQLException {
        Key key = new Key(session, fingerprint);
        Entry entry;
        List<Entry> over;
        synchronized (this) {
            entry = entries.computeIfAbsent(key, k -> new Entry());
            entry.users++;
            over = removeUnneeded();
        }
        over.forEach(Entry::end);
        try {
            return new Lease(key, entry, entry.connection(opener));
        } catch (SQLException | RuntimeException e) {
            giveBack(entry);
            throw e;
        }
    }

    private synchronized void giveBack(Entry entry) {
        entry.users--;
        entry.lastUse = System.nanoTime();
    }

    private List<Entry> removeUnneeded() {
        long now = System.nanoTime();
        List<Map.Entry<Key, Entry>> unused = new ArrayList<>(entries.entrySet().stream().filter(e -> e.getValue().users == 0)
                .sorted(Comparator.comparingLong(e -> e.getValue().lastUse - now)).toList());
        List<Entry> removed = new ArrayList<>();
        for (Map.Entry<Key, Entry> each : unused) {
            if (entries.size() > most || now - each.getValue().lastUse > idle.toNanos()) {
                entries.remove(each.getKey());
                removed.add(each.getValue());
            }
        }
        return removed;
    }

    /** Closes the sessions that have been idle for too long. */
    void sweep() {
        List<Entry> over;
        synchronized (this) {
            over = removeUnneeded();
        }
        over.forEach(Entry::end);
    }

    synchronized int size() {
        return entries.size();
    }

    @Override
    public void close() {
        List<Entry> all;
        synchronized (this) {
            all = List.copyOf(entries.values());
            entries.clear();
        }
        all.forEach(Entry::end);
    }
}
