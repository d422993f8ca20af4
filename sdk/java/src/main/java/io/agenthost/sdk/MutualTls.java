package io.agenthost.sdk;

import io.agenthost.sdk.internal.Pinned;
import io.agenthost.sdk.internal.SelfSigned;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.netty.handler.ssl.ClientAuth;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslProvider;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Base64;

/** TLS in which each side knows the other's certificate, to the byte: nobody signs, and nobody else gets in. */
final class MutualTls {
    private final SelfSigned own;
    private final SslContext context;

    private MutualTls(X509Certificate host) throws Exception {
        own = SelfSigned.create();
        context = GrpcSslContexts.configure(SslContextBuilder.forServer(own.key(), own.certificate()), SslProvider.JDK)
                .protocols("TLSv1.3", "TLSv1.2").clientAuth(ClientAuth.REQUIRE).trustManager(Pinned.to(host)).build();
    }

    /** Makes the plugin's side for the certificate that the host will show, PEM; null when the host wants no TLS. */
    static MutualTls of(String hostCertificate) throws Exception {
        if (hostCertificate == null || hostCertificate.isBlank()) {
            return null;
        }
        try {
            return new MutualTls((X509Certificate) CertificateFactory.getInstance("X.509")
                    .generateCertificate(new ByteArrayInputStream(hostCertificate.getBytes(StandardCharsets.US_ASCII))));
        } catch (CertificateException e) {
            throw new CertificateException("PLUGIN_CLIENT_CERT, the host's certificate, cannot be read: " + e.getMessage(), e);
        }
    }

    SslContext context() {
        return context;
    }

    /** The plugin's certificate as the handshake line has it. */
    String certificate() {
        return Base64.getEncoder().withoutPadding().encodeToString(own.encoded());
    }
}
