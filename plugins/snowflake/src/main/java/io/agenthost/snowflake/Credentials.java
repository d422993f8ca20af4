package io.agenthost.snowflake;

import com.flyteidl.core.Identifier;
import io.agenthost.sdk.AgentException;
import io.agenthost.sdk.Connection;
import io.agenthost.sdk.Secret;
import io.agenthost.sdk.Task;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Optional;
import java.util.Properties;

/** How a session logs in: the driver's properties with the secrets in them. Prints as its method only. */
final class Credentials {
    private static final String PASSPHRASE = "snowflake_private_key_passphrase";

    private final Settings.Method method;
    private final Secret secret;
    private final Secret passphrase;

    private Credentials(Settings.Method method, Secret secret, Secret passphrase) {
        this.method = method;
        this.secret = secret;
        this.passphrase = passphrase;
    }

    /** For a new job: the task's project and domain are known. */
    static Credentials of(Settings settings, Session session, Task task) {
        Identifier id = task.template().getId();
        return settings.credentials().stream()
                .filter(c -> fits(c.project(), id.getProject()) && fits(c.domain(), id.getDomain()) && fits(session, c))
                .findFirst().map(c -> named(c, task.connection())).orElseGet(() -> common(settings, task.connection()));
    }

    /** For a job that exists: its user stands for the project and domain, which is why config asks for the user there. */
    static Credentials of(Settings settings, Session session, Connection connection) {
        return settings.credentials().stream().filter(c -> fits(session, c))
                .findFirst().map(c -> named(c, connection)).orElseGet(() -> common(settings, connection));
    }

    private static boolean fits(Session session, Settings.Credential c) {
        return fits(c.account(), session.account()) && fits(c.user(), session.user());
    }

    private static boolean fits(String wanted, String found) {
        return wanted == null || wanted.equalsIgnoreCase(found);
    }

    private static Credentials named(Settings.Credential c, Connection connection) {
        Secret passphrase = c.passphraseSecret() == null ? null : secret(connection, c.passphraseSecret());
        return new Credentials(c.authenticator(), secret(connection, c.secret()), passphrase);
    }

    private static Credentials common(Settings settings, Connection connection) {
        Settings.Method method = settings.authenticator();
        return new Credentials(method, secret(connection, method.secret()), method == Settings.Method.KEY_PAIR
                ? optional(connection).orElse(null) : null);
    }

    private static Optional<Secret> optional(Connection connection) {
        try {
            return Optional.of(secret(connection, PASSPHRASE));
        } catch (AgentException e) {
            return Optional.empty(); // Most keys have none; a key that needs one says so when it is read.
        }
    }

    private static Secret secret(Connection connection, String key) {
        return connection.secret(key).orElseGet(() -> Secret.of(key));
    }

    void addTo(Properties properties) {
        switch (method) {
            case KEY_PAIR -> {
                properties.put("authenticator", "SNOWFLAKE_JWT");
                properties.put("private_key_base64", Base64.getEncoder().encodeToString(secret.reveal().strip().getBytes(StandardCharsets.UTF_8)));
                if (passphrase != null) {
                    properties.put("private_key_pwd", passphrase.reveal());
                }
            }
            case PASSWORD -> properties.put("password", secret.reveal());
            case OAUTH -> {
                properties.put("authenticator", "OAUTH");
                properties.put("token", secret.reveal());
            }
            case PAT -> {
                properties.put("authenticator", "PROGRAMMATIC_ACCESS_TOKEN");
                properties.put("token", secret.reveal());
            }
        }
    }

    /** Tells these credentials from others, without telling what they are: a rotated secret gets a new session. */
    String fingerprint() {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update(method.name().getBytes(StandardCharsets.UTF_8));
            digest.update(secret.reveal().getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /** Takes the secrets out of a text from elsewhere. */
    String redact(String text) {
        String clean = text == null ? "" : text;
        for (Secret hidden : passphrase == null ? new Secret[] {secret} : new Secret[] {secret, passphrase}) {
            String bare = hidden.reveal().strip(); // A file's ends with a line that a text that quotes it may lack.
            clean = bare.isEmpty() ? clean : clean.replace(bare, "[secret]");
        }
        return clean;
    }

    @Override
    public String toString() {
        return method.name().toLowerCase(Locale.ROOT);
    }
}
