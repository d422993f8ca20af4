package io.agenthost.snowflake;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Keys in the forms in which users have them, made by OpenSSL's library as Python has it. */
record Keys(String plain, String encrypted, String publicKey) {
    static final String PASSPHRASE = "pass-phrase-of-the-test";

    private static final String MAKE = """
            import sys
            from cryptography.hazmat.primitives import serialization as s
            from cryptography.hazmat.primitives.asymmetric import rsa
            key = rsa.generate_private_key(65537, 2048)
            def pem(cipher): return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, cipher)
            open(sys.argv[1] + "/plain", "wb").write(pem(s.NoEncryption()))
            open(sys.argv[1] + "/encrypted", "wb").write(pem(s.BestAvailableEncryption(sys.argv[2].encode())))
            open(sys.argv[1] + "/public", "wb").write(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
            """;

    static Keys make(Path folder) throws IOException, InterruptedException {
        Programs.run(Programs.environment("fakesnow").resolve("python").toString(), "-c", MAKE, folder.toString(), PASSPHRASE);
        return new Keys(Files.readString(folder.resolve("plain")), Files.readString(folder.resolve("encrypted")),
                Files.readString(folder.resolve("public")));
    }
}
