package io.agenthost.sdk;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;

/**
 * Writes to buckets of S3, by AWS' own client, configured as that is: AWS_REGION, AWS_ENDPOINT_URL, credentials. Used only where a
 * plugin has it on its class path.
 */
final class S3 {
    private S3() {}

    static void write(URI prefix, String name, InputStream content) throws IOException {
        String folder = prefix.getPath().replaceFirst("^/", "");
        String key = folder.isEmpty() ? name : folder + "/" + name;
        try (S3Client client = open()) {
            byte[] bytes = content.readAllBytes();
            client.putObject(request -> request.bucket(prefix.getAuthority()).key(key), RequestBody.fromBytes(bytes));
        } catch (SdkException e) {
            throw (e.retryable() ? AgentException.unavailable(told(prefix, name, e)) : AgentException.failedPrecondition(told(prefix, name, e))).causedBy(e);
        }
    }

    private static String told(URI prefix, String name, SdkException e) {
        return "%s cannot be written below %s: %s".formatted(name, prefix, e.getMessage());
    }

    /** What is not AWS' own has no name for each bucket. */
    private static S3Client open() {
        boolean elsewhere = System.getenv("AWS_ENDPOINT_URL") != null || System.getenv("AWS_ENDPOINT_URL_S3") != null;
        return S3Client.builder().forcePathStyle(elsewhere).build();
    }
}
