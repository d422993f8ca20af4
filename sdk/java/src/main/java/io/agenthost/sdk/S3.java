package io.agenthost.sdk;

import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.net.URI;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.services.s3.S3AsyncClient;

/**
 * Writes to buckets of S3, by AWS' own client, configured as that is: AWS_REGION, AWS_ENDPOINT_URL, credentials. Used only where a
 * plugin has it on its class path.
 */
final class S3 {
    private S3() {}

    /** Writes part by part, as the content comes: a file may be larger than the memory. */
    static void write(URI prefix, String name, InputStream content) throws IOException {
        String folder = prefix.getPath().replaceFirst("^/", "");
        String key = folder.isEmpty() ? name : folder + "/" + name;
        ExecutorService reader = Executors.newSingleThreadExecutor();
        try (S3AsyncClient client = open()) {
            CompletableFuture<?> put = client.putObject(request -> request.bucket(prefix.getAuthority()).key(key),
                    AsyncRequestBody.fromInputStream(content, null, reader));
            try {
                put.get();
            } catch (InterruptedException e) {
                put.cancel(true);
                Thread.currentThread().interrupt();
                throw (IOException) new InterruptedIOException(told(prefix, name, e)).initCause(e);
            }
        } catch (ExecutionException e) {
            throw failure(prefix, name, e.getCause());
        } catch (SdkException e) {
            throw failure(prefix, name, e);
        } finally {
            reader.shutdownNow();
        }
    }

    private static AgentException failure(URI prefix, String name, Throwable cause) {
        boolean passes = cause instanceof SdkException known && known.retryable();
        return (passes ? AgentException.unavailable(told(prefix, name, cause)) : AgentException.failedPrecondition(told(prefix, name, cause))).causedBy(cause);
    }

    private static String told(URI prefix, String name, Throwable cause) {
        Throwable first = cause;
        while (first.getCause() != null) {
            first = first.getCause();
        }
        return "%s cannot be written below %s: %s".formatted(name, prefix, first == cause ? cause.getMessage() : cause.getMessage() + ": " + first.getMessage());
    }

    /** What is not AWS' own has no name for each bucket. */
    private static S3AsyncClient open() {
        boolean elsewhere = System.getenv("AWS_ENDPOINT_URL") != null || System.getenv("AWS_ENDPOINT_URL_S3") != null;
        return S3AsyncClient.builder().multipartEnabled(true).forcePathStyle(elsewhere).build();
    }
}
