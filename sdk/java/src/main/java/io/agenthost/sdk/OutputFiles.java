package io.agenthost.sdk;

import io.agenthost.sdk.literal.FlyteFile;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemNotFoundException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;

/**
 * What an agent leaves beside its outputs, by {@link java.nio.file}: files, which are outputs by their uri, and a deck.
 *
 * <pre>{@code
 * FlyteFile report = OutputFiles.of(task.outputPrefix()).write("report.csv", content);
 * return Resource.succeeded(Map.of("report", report));
 * }</pre>
 *
 * <p>A prefix is a folder (an absolute path, or file://), which the plugin's sandbox must have in {@code write:}; in a bucket of S3,
 * for plugins with {@code software.amazon.awssdk:s3}, configured as AWS' own programs are (AWS_REGION, AWS_ENDPOINT_URL, credentials); or
 * what another {@link java.nio.file.spi.FileSystemProvider} on the plugin's class path knows, such as
 * {@code com.google.cloud:google-cloud-nio} for gs://.
 */
public final class OutputFiles {
    /** The file below an output prefix that Flyte shows as the task's deck. */
    private static final String DECK = "deck.html";

    private final String prefix;

    private OutputFiles(String prefix) {
        this.prefix = prefix.endsWith("/") ? prefix.substring(0, prefix.length() - 1) : prefix;
    }

    /** The files below an output prefix: {@link Task#outputPrefix()}. */
    public static OutputFiles of(String outputPrefix) {
        if (outputPrefix.isEmpty()) {
            throw AgentException.invalidArgument("no file can be written: the task has no output prefix");
        }
        return new OutputFiles(outputPrefix);
    }

    /** Writes a file, in a folder whole or not at all, and returns it as the task's output. The name may have folders in it; its ending is the format. */
    public FlyteFile write(String name, InputStream content) throws IOException {
        Path plain = Path.of(name);
        if (name.isEmpty() || plain.isAbsolute() || !plain.normalize().toString().equals(name) || plain.startsWith("..")) {
            throw AgentException.invalidArgument("a file below the output prefix must have a plain name, got \"%s\"".formatted(name));
        }
        try {
            if (prefix.startsWith("s3://") && hasClientOfS3()) {
                S3.write(URI.create(prefix), name, content);
                return written(name);
            }
            Path file = folder().resolve(name);
            if (file.getFileSystem() == FileSystems.getDefault()) {
                writeWhole(file, content);
            } else {
                Files.copy(content, file, StandardCopyOption.REPLACE_EXISTING);
            }
        } catch (java.nio.file.AccessDeniedException e) {
            throw AgentException.failedPrecondition("%s cannot be written below %s: %s".formatted(name, prefix, e)).causedBy(e);
        }
        return written(name);
    }

    private static boolean hasClientOfS3() {
        try {
            Class.forName("software.amazon.awssdk.services.s3.S3Client");
            return true;
        } catch (ClassNotFoundException e) {
            return false;
        }
    }

    private FlyteFile written(String name) {
        int ending = name.lastIndexOf('.');
        return new FlyteFile(prefix + "/" + name, ending < 0 ? "" : name.substring(ending + 1));
    }

    /** Writes a text. */
    public FlyteFile write(String name, String content) throws IOException {
        return write(name, new ByteArrayInputStream(content.getBytes(StandardCharsets.UTF_8)));
    }

    /** Writes the HTML that Flyte's console shows as the task's deck. It is shown to users as it is: what is not HTML in it must be escaped. */
    public void writeDeck(String html) throws IOException {
        write(DECK, html);
    }

    private Path folder() throws IOException {
        if (prefix.startsWith("/")) {
            return Path.of(prefix);
        }
        URI uri = URI.create(prefix);
        if (uri.getScheme() == null) {
            throw AgentException.invalidArgument("the output prefix %s is neither an absolute path nor a URI".formatted(prefix));
        }
        try {
            return Path.of(uri);
        } catch (FileSystemNotFoundException e) {
            if (java.nio.file.spi.FileSystemProvider.installedProviders().stream().noneMatch(found -> found.getScheme().equalsIgnoreCase(uri.getScheme()))) {
                throw AgentException.failedPrecondition(("the output prefix %s needs software.amazon.awssdk:s3, for s3, or a "
                        + "FileSystemProvider for %s on the plugin's class path").formatted(prefix, uri.getScheme())).causedBy(e);
            }
            return FileSystems.newFileSystem(uri, Map.of()).provider().getPath(uri);
        }
    }

    private static void writeWhole(Path file, InputStream content) throws IOException {
        Files.createDirectories(file.getParent());
        Path fresh = Files.createTempFile(file.getParent(), ".new-", "");
        try {
            Files.copy(content, fresh, StandardCopyOption.REPLACE_EXISTING);
            Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(fresh);
        }
    }
}
