package hello;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The hello agent as the program that it is: handshake, mutual TLS, end. */
class HelloIT {
    private static final List<String> COMMAND = List.of("java", "-jar", "target/hello.jar");

    @Test
    void itGreetsOverMutualTls() throws Exception {
        try (AgentTest test = AgentTest.command(COMMAND)) {
            assertEquals("Hello, Ada", test.run(TestTask.of("hello").input("name", "Ada")).output("greeting", String.class));
            assertEquals("hello", test.describe().getName());
        }
    }

    @Test
    void byHandItSaysHowItIsMeant() throws Exception {
        Process process = new ProcessBuilder(COMMAND).start();
        String said = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(1, process.waitFor());
        assertEquals(0, process.getInputStream().readAllBytes().length);
        for (String want : List.of("hello 1.0.0 is a Flyte agent plugin", "agenthost task run", "agenthost check")) {
            assertTrue(said.contains(want), said);
        }
    }

    @Test
    void aHostOfAnotherContractIsToldSo() throws Exception {
        ProcessBuilder builder = new ProcessBuilder(COMMAND);
        builder.environment().put("AGENTHOST_PLUGIN", "flyte-agent-plugin");
        builder.environment().put("PLUGIN_PROTOCOL_VERSIONS", "2,3");
        Process process = builder.start();
        String said = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(1, process.waitFor());
        assertTrue(said.contains("2,3"), said);
    }

    @Test
    void itsSourceIsAtMost25Lines() throws Exception {
        assertTrue(Files.readAllLines(Path.of("src/main/java/hello/Hello.java")).size() <= 25);
    }
}
