package io.agenthost.sdk;

import com.flyteidl.admin.Agent;
import com.flyteidl.admin.TaskCategory;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.logging.LogManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.bridge.SLF4JBridgeHandler;

/** A plugin's process, from the environment that the host gave it to its end. */
final class PluginProcess {
    private PluginProcess() {}

    /** Returns the exit code. */
    static int run(Plugin plugin) {
        Map<String, String> environment = System.getenv();
        if (!Contract.MAGIC_COOKIE_VALUE.equals(environment.get(Contract.MAGIC_COOKIE_KEY))) {
            explain(System.err, plugin);
            return 1;
        }
        String offered = environment.getOrDefault("PLUGIN_PROTOCOL_VERSIONS", Contract.PROTOCOL_VERSION);
        if (!Arrays.asList(offered.split(",")).contains(Contract.PROTOCOL_VERSION)) {
            System.err.printf("plugin %s speaks version %s of the plugin protocol, the host offers %s: use an SDK and a host that go together%n",
                    plugin.name(), Contract.PROTOCOL_VERSION, offered);
            return 1;
        }
        bridgeJavaUtilLogging();
        Logger log = LoggerFactory.getLogger(PluginProcess.class);
        try (Listener listener = Listener.open(plugin, environment)) {
            Ending ending = new Ending(listener);
            ending.onTerminate();
            listener.announce(Stdout.real());
            ending.await();
            return 0;
        } catch (Exception e) {
            log.error("plugin {} cannot serve", plugin.name(), e);
            return 1;
        }
    }

    private static void bridgeJavaUtilLogging() {
        LogManager.getLogManager().reset();
        SLF4JBridgeHandler.install();
    }

    /** Tells a person who started the program by hand what it is for. */
    private static void explain(PrintStream out, Plugin plugin) {
        out.printf("%s %s is a Flyte agent plugin: it is started by agenthost, not by hand. It serves%n%n", plugin.name(), plugin.version());
        for (Agent agent : plugin.registry().agents()) {
            for (TaskCategory category : agent.getSupportedTaskCategoriesList()) {
                out.printf("  task type %s, version %d (%s)%n", category.getName(), category.getVersion(), agent.getIsSync() ? "sync" : "async");
            }
        }
        out.printf("""

                Give it to the host in its configuration file:

                  plugins:
                    %s:
                      command: [java, -jar, %s]

                Then "agenthost check --start" starts it once and shows what it serves, "agenthost task run" runs a single task with it,
                and "agenthost serve" serves it to Flyte.
                """, plugin.name(), jar());
    }

    private static Path jar() {
        Path first = Path.of(System.getProperty("java.class.path").split(java.io.File.pathSeparator)[0]);
        return first.toAbsolutePath().normalize();
    }
}
