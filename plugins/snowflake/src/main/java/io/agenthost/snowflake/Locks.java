package io.agenthost.snowflake;

/** A fixed number of locks by name: two names may share one, one name never has two. */
final class Locks {
    private final Object[] locks = new Object[256];

    Locks() {
        for (int i = 0; i < locks.length; i++) {
            locks[i] = new Object();
        }
    }

    Object of(String name) {
        return locks[Math.floorMod(name.hashCode(), locks.length)];
    }
}
