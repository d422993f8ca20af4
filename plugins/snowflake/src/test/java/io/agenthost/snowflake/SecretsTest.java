package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestJob;
import io.agenthost.sdk.testing.TestResult;
import io.grpc.StatusRuntimeException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What leaves the plugin, its log at its most talkative included, holds no secret, however calls and queries end. */
class SecretsTest extends OnFakesnow {
    private static final String PASSWORD = "password-that-nobody-may-read";

    private final List<String> said = new ArrayList<>();
    private Path log;

    @BeforeEach
    void listen() throws Exception {
        snow.logins.clear();
        snow.refusal = null;
        log = Files.createTempFile(folder, "plugin", ".log");
    }

    private AgentTest program(String method, Map<String, String> secrets) throws Exception {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        List<String> command = List.of("sh", "-c", "exec \"$@\" 2>>\"$0\"", log.toString(), java,
                "-cp", System.getProperty("java.class.path"), Main.class.getName());
        Map<String, String> environment = new HashMap<>(Map.of("AGENTHOST_LOG_LEVEL", "trace"));
        secrets.forEach((name, secret) -> environment.put("_FSEC_" + name, secret));
        return AgentTest.command(command, environment).configure(Map.of("url", snow.url(), "authenticator", method, "call_timeout", "60s"));
    }

    /** Queries that succeed, fail and are cancelled. */
    private void work(String method, Map<String, String> secrets) throws Exception {
        try (AgentTest program = program(method, secrets)) {
            said.add(program.describe().toString());
            for (Map.Entry<String, String> each : Map.of("kinds", "SUCCEEDED", "wrong", "FAILED").entrySet()) {
                TestJob job = program.create(Tasks.of(folder, each.getKey()).idempotencyKey(method + each.getKey()));
                TestResult result = job.await();
                assertEquals(each.getValue(), result.phase(), result.message());
                said.add(new String(job.meta(), StandardCharsets.UTF_8) + result.resource());
                job.delete();
                refused(job::logs);
            }
            snow.held = "RUNNING";
            TestJob cancelled = program.create(Tasks.of(folder, "kinds"));
            snow.held = null;
            cancelled.delete();
            assertEquals("ABORTED", cancelled.get().phase());
            said.add(cancelled.get().resource().toString());
        }
    }

    /** A login that Snowflake refuses, quoting what it was given. */
    private void beRefused(String method, Map<String, String> secrets, String quoted) throws Exception {
        snow.refusal = "Incorrect username or password was specified: " + quoted;
        try (AgentTest program = program(method, secrets)) {
            String message = refused(() -> program.create(Tasks.of(folder, "kinds")));
            assertTrue(message.contains("UNAUTHENTICATED") && message.contains("Incorrect username"), message);
        }
    }

    private String refused(Executable call) {
        StatusRuntimeException thrown = assertThrows(StatusRuntimeException.class, call);
        said.add(thrown.getStatus() + " " + thrown.getTrailers());
        return thrown.getMessage();
    }

    /** Looks for secrets, whole ones, lines of them and as base64, in all that was said. */
    private void assertSilent(String... secrets) throws Exception {
        String logged = Files.readString(log);
        assertTrue(logged.contains("\"@message\""), "the plugin logs into the file that is looked through");
        said.add(logged);
        List<String> hidden = new ArrayList<>(Arrays.asList(secrets));
        snow.logins.forEach(login -> hidden.add(login.path("TOKEN").asText()));
        for (String secret : hidden) {
            for (String form : forms(secret)) {
                said.stream().flatMap(String::lines).filter(line -> line.contains(form)).findFirst()
                        .ifPresent(line -> fail("a secret was said: " + line.replace(form, "<the secret>")));
            }
        }
    }

    private static List<String> forms(String secret) {
        List<String> forms = new ArrayList<>(List.of(secret, Base64.getEncoder().encodeToString(secret.strip().getBytes(StandardCharsets.UTF_8)),
                secret.replaceAll("-----[A-Z ]+-----|\\s", "")));
        secret.lines().filter(line -> !line.startsWith("-----")).forEach(forms::add);
        forms.removeIf(String::isBlank);
        return forms;
    }

    @Test
    void saysNoPassword() throws Exception {
        Map<String, String> secrets = Map.of("SNOWFLAKE_PASSWORD", PASSWORD);
        work("password", secrets);
        assertEquals(PASSWORD, snow.logins.get(0).path("PASSWORD").asText(), "it was used");
        beRefused("password", secrets, PASSWORD);
        assertSilent(PASSWORD);
    }

    @Test
    void saysNoKey() throws Exception {
        Map<String, String> secrets = Map.of("SNOWFLAKE_PRIVATE_KEY", keys.plain());
        work("key_pair", secrets);
        beRefused("key_pair", secrets, keys.plain().strip());
        assertSilent(keys.plain());
    }

    @Test
    void saysNoEncryptedKeyAndNoPassphrase() throws Exception {
        Map<String, String> secrets = Map.of("SNOWFLAKE_PRIVATE_KEY", keys.encrypted(), "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", Keys.PASSPHRASE);
        work("key_pair", secrets);
        beRefused("key_pair", secrets, Keys.PASSPHRASE);
        assertSilent(keys.encrypted(), keys.plain(), Keys.PASSPHRASE);
    }

    @Test
    void saysNothingOfWrongPassphrasesAndBrokenKeys() throws Exception {
        String wrong = "another-passphrase-of-the-test";
        String broken = keys.plain().replaceFirst("[A-Za-z0-9+/=]{16}\\s+-----END", "-----END");
        try (AgentTest program = program("key_pair", Map.of("SNOWFLAKE_PRIVATE_KEY", keys.encrypted(), "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", wrong))) {
            refused(() -> program.create(Tasks.of(folder, "kinds")));
        }
        try (AgentTest program = program("key_pair", Map.of("SNOWFLAKE_PRIVATE_KEY", broken))) {
            refused(() -> program.create(Tasks.of(folder, "kinds")));
        }
        assertSilent(keys.encrypted(), wrong, broken);
    }
}
