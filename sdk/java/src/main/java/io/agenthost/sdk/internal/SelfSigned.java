package io.agenthost.sdk.internal;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

/**
 * A key on P-256 and a certificate for it that the key itself signs, for "localhost", not an authority.
 *
 * <p>The JDK can read certificates and cannot write them. A library that can is ten megabytes and a noticeable part of a
 * plugin's start; this certificate is always the same but for five of its fields, so it is written out here.
 *
 * @param encoded the certificate in DER
 */
public record SelfSigned(PrivateKey key, X509Certificate certificate, byte[] encoded) {
    private static final int INTEGER = 0x02;
    private static final int BIT_STRING = 0x03;
    private static final int OCTET_STRING = 0x04;
    private static final int OBJECT_ID = 0x06;
    private static final int UTF8_STRING = 0x0c;
    private static final int GENERALIZED_TIME = 0x18;
    private static final int SEQUENCE = 0x30;
    private static final int SET = 0x31;
    private static final int CONTEXT_0 = 0xa0;
    private static final int CONTEXT_3 = 0xa3;
    private static final int DNS_NAME = 0x82;
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyyMMddHHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final Duration CLOCK_DIFFERENCE = Duration.ofHours(1);
    private static final Duration VALID = Duration.ofDays(10 * 365);

    /** Makes a new key and its certificate. */
    public static SelfSigned create() throws GeneralSecurityException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        KeyPair keys = generator.generateKeyPair();
        byte[] ecdsaWithSha256 = der(SEQUENCE, oid(42, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2));
        byte[] body = body(keys, ecdsaWithSha256, Instant.now());
        Signature signer = Signature.getInstance("SHA256withECDSA");
        signer.initSign(keys.getPrivate());
        signer.update(body);
        byte[] encoded = der(SEQUENCE, body, ecdsaWithSha256, bits(signer.sign()));
        X509Certificate certificate = (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(encoded));
        return new SelfSigned(keys.getPrivate(), certificate, encoded);
    }

    /** TBSCertificate of RFC 5280, section 4.1. */
    private static byte[] body(KeyPair keys, byte[] algorithm, Instant now) {
        byte[] version3 = der(CONTEXT_0, der(INTEGER, new byte[] {2}));
        byte[] serial = der(INTEGER, new BigInteger(127, new SecureRandom()).add(BigInteger.ONE).toByteArray());
        byte[] commonName = der(SEQUENCE, oid(0x55, 4, 3), der(UTF8_STRING, "localhost".getBytes(StandardCharsets.US_ASCII)));
        byte[] name = der(SEQUENCE, der(SET, commonName));
        byte[] validity = der(SEQUENCE, time(now.minus(CLOCK_DIFFERENCE)), time(now.plus(VALID)));
        return der(SEQUENCE, version3, serial, algorithm, name, validity, name, keys.getPublic().getEncoded(), der(CONTEXT_3, extensions()));
    }

    private static byte[] extensions() {
        byte[] digitalSignature = {7, (byte) 0x80};
        byte[] serverAuth = oid(0x2b, 6, 1, 5, 5, 7, 3, 1);
        byte[] localhost = der(DNS_NAME, "localhost".getBytes(StandardCharsets.US_ASCII));
        return der(SEQUENCE,
                extension(15, der(BIT_STRING, digitalSignature)),
                extension(19, der(SEQUENCE)), // basic constraints: not an authority
                extension(37, der(SEQUENCE, serverAuth)),
                extension(17, der(SEQUENCE, localhost)));
    }

    /** An extension of the arc 2.5.29. */
    private static byte[] extension(int id, byte[] value) {
        return der(SEQUENCE, oid(0x55, 29, id), der(OCTET_STRING, value));
    }

    private static byte[] time(Instant instant) {
        return der(GENERALIZED_TIME, TIME.format(instant).getBytes(StandardCharsets.US_ASCII));
    }

    private static byte[] oid(int... encoded) {
        byte[] bytes = new byte[encoded.length];
        for (int i = 0; i < encoded.length; i++) {
            bytes[i] = (byte) encoded[i];
        }
        return der(OBJECT_ID, bytes);
    }

    private static byte[] bits(byte[] value) {
        return der(BIT_STRING, new byte[] {0}, value);
    }

    /** A tag, the length of the parts, and the parts. */
    private static byte[] der(int tag, byte[]... parts) {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            content.writeBytes(part);
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(tag);
        int length = content.size();
        if (length >= 0x80) {
            byte[] digits = BigInteger.valueOf(length).toByteArray();
            int zeros = digits[0] == 0 ? 1 : 0;
            out.write(0x80 | digits.length - zeros);
            out.write(digits, zeros, digits.length - zeros);
        } else {
            out.write(length);
        }
        out.writeBytes(content.toByteArray());
        return out.toByteArray();
    }
}
