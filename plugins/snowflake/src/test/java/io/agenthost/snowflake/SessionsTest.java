package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;

import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class SessionsTest {
    private final AtomicInteger open = new AtomicInteger();

    private Connection connect() {
        boolean[] closed = new boolean[1];
        open.incrementAndGet();
        return (Connection) Proxy.newProxyInstance(Connection.class.getClassLoader(), new Class<?>[] {Connection.class}, (proxy, method, arguments) -> {
            if (method.getName().equals("close") && !closed[0]) {
                closed[0] = true;
                open.decrementAndGet();
            }
            return method.getName().equals("isClosed") ? closed[0] : null;
        });
    }

    private Sessions.Lease use(Sessions sessions, String warehouse) throws SQLException {
        return sessions.use(new Session("u", "a", "d", "s", warehouse, ""), "fingerprint", this::connect);
    }

    @Test
    void sharesOneSession() throws SQLException {
        try (Sessions sessions = new Sessions(4, Duration.ofHours(1)); Sessions.Lease one = use(sessions, "w"); Sessions.Lease other = use(sessions, "w")) {
            assertSame(one.connection(), other.connection());
        }
        assertEquals(0, open.get(), "closing closes what is open");
    }

    @Test
    void closesTheLongestUnusedAndNeverOneInUse() throws SQLException {
        try (Sessions sessions = new Sessions(2, Duration.ofHours(1)); Sessions.Lease used = use(sessions, "used")) {
            use(sessions, "first").close();
            use(sessions, "second").close();
            assertEquals(2, sessions.size());
            assertEquals(2, open.get());
            try (Sessions.Lease again = use(sessions, "used")) {
                assertSame(used.connection(), again.connection());
            }
        }
    }

    @Test
    void closesIdleOnesAndForgetsBrokenOnes() throws SQLException {
        try (Sessions sessions = new Sessions(4, Duration.ZERO)) {
            Sessions.Lease broken = use(sessions, "w");
            broken.discard();
            broken.close();
            try (Sessions.Lease fresh = use(sessions, "w")) {
                assertNotSame(broken.connection(), fresh.connection());
            }
            sessions.sweep();
            assertEquals(0, sessions.size());
            assertEquals(0, open.get());
        }
    }
}
