package io.agenthost.sdk.testing;

import io.agenthost.sdk.Plugin;
import io.agenthost.sdk.Resource;
import java.nio.file.Files;
import java.nio.file.Path;
import org.slf4j.LoggerFactory;

/** A program that prints wherever it can, and whose calls last as long as a file is there. */
public final class NoisyPlugin {
    private NoisyPlugin() {}

    public static void main(String[] args) {
        Plugin plugin = Plugin.named("noisy", "1.0.0");
        System.out.println("printed before serve");
        plugin.sync("noisy", task -> {
            System.out.println("printed in a call");
            LoggerFactory.getLogger("agent").atWarn().addKeyValue("rows", 3).log("logged in a call");
            java.util.logging.Logger.getLogger("old").warning("logged the old way");
            return Resource.succeeded();
        });
        plugin.sync("wait", task -> {
            Path begun = Path.of(task.input("begun", String.class));
            Files.createFile(begun);
            while (Files.exists(begun)) {
                Thread.sleep(5);
            }
            return Resource.succeeded();
        });
        plugin.onClose(() -> LoggerFactory.getLogger("agent").warn("closed")).serve();
    }
}
