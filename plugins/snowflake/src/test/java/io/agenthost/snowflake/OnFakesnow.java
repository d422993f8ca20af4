package io.agenthost.snowflake;

import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;

/** What the tests on fakesnow share: the emulator, keys, and the tasks that flytekit compiled, in a folder of a class's own. */
abstract class OnFakesnow {
    @TempDir
    static Path folder;
    static Snow snow;
    static Keys keys;

    @BeforeAll
    static void start() throws Exception {
        snow = new Snow();
        keys = Keys.make(folder);
        Tasks.compile(folder);
    }

    @AfterAll
    static void stop() {
        snow.close();
    }
}
