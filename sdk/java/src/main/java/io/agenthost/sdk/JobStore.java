package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.net.URLEncoder;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;

/**
 * Keeps jobs in files, so that they outlive the process that made them: for agents whose jobs have no service behind them that
 * remembers.
 *
 * <pre>{@code
 * JobStore<Work> store = JobStore.open(folder, Work.class); // where the plugin's sandbox lets it write
 * Work work = store.add(task.idempotencyKey(), new Work("first")); // in create: the first of an attempt counts
 * }</pre>
 *
 * <p>and in {@code get}, of the same folder, {@code store.get(job.meta())}.
 *
 * <p>A folder holds one JSON file a job, which is replaced as a whole: whoever reads sees one state or the next, also after a
 * crash. Any number of processes use it at a time, such as a newer generation of the plugin while the older one drains. A job's
 * type may get further components: those that an older file lacks are null or 0.
 *
 * @param <J> a job, commonly a record
 */
public final class JobStore<J> {
    private static final int FORMAT = 1;
    private static final int MAX_NAME = 255;

    private final Path folder;
    private final JavaType type;

    private JobStore(Path folder, JavaType type) {
        this.folder = folder;
        this.type = type;
    }

    /** Opens a folder, which is made where it is missing, for its owner alone. */
    public static <J> JobStore<J> open(Path folder, Class<J> type) throws IOException {
        if (!Files.isDirectory(folder)) {
            Files.createDirectories(folder, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        }
        return new JobStore<>(folder, Json.MAPPER.constructType(type));
    }

    /** Keeps a job unless there is one of that id, made by whichever process; returns the one that is kept. */
    public J add(String id, J job) throws IOException {
        Path file = file(id);
        Path fresh = written(job);
        try {
            Files.createLink(file, fresh); // which fails where there is one
            return job;
        } catch (FileAlreadyExistsException e) {
            return get(id);
        } finally {
            Files.deleteIfExists(fresh);
        }
    }

    /** Keeps a job in the place of one of the same id. */
    public void put(String id, J job) throws IOException {
        Path file = file(id);
        Files.move(written(job), file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }

    /**
     * The job of an id.
     *
     * @throws AgentException NOT_FOUND where there is none; FAILED_PRECONDITION, with the file, where it cannot be read
     */
    public J get(String id) throws IOException {
        Path file = file(id);
        JsonNode content;
        try {
            content = Json.MAPPER.readTree(Files.readAllBytes(file));
        } catch (NoSuchFileException e) {
            throw AgentException.notFound("there is no job \"%s\"".formatted(id));
        } catch (JsonProcessingException e) {
            throw damaged(file).causedBy(e);
        }
        int format = content.path("format").asInt();
        if (format < 1) {
            throw damaged(file);
        } else if (format > FORMAT) {
            throw AgentException.failedPrecondition("%s has format %d, and this version of the plugin reads up to %d: a newer one has written it"
                    .formatted(file, format, FORMAT));
        }
        try {
            return Json.MAPPER.treeToValue(content.path("job"), type);
        } catch (JsonProcessingException e) {
            throw AgentException.failedPrecondition("%s has a job of another type: %s %s".formatted(file, Json.path(e), Json.describe(e))).causedBy(e);
        }
    }

    private static AgentException damaged(Path file) {
        return AgentException.failedPrecondition(
                "%s is not the file of a job: it is damaged, or of something else; remove it to go on without the job".formatted(file));
    }

    /** Forgets a job. One that is not there is forgotten already. */
    public void delete(String id) throws IOException {
        Files.deleteIfExists(file(id));
    }

    private Path file(String id) {
        String name = URLEncoder.encode(id, StandardCharsets.UTF_8) + ".json";
        name = name.startsWith(".") ? "%2E" + name.substring(1) : name;
        if (id.isEmpty() || name.length() > MAX_NAME) {
            throw AgentException.invalidArgument("the id of a job must have 1 to %d bytes, as a file's name without .json: \"%s\""
                    .formatted(MAX_NAME - ".json".length(), id));
        }
        return folder.resolve(name);
    }

    /** Writes a job to a file that is none of a job's yet, and returns when it is on the disk. */
    private Path written(J job) throws IOException {
        ObjectNode content = Json.MAPPER.createObjectNode().put("format", FORMAT);
        content.set("job", Json.MAPPER.readTree(KeptMetadata.write(job, type)));
        Path fresh = Files.createTempFile(folder, ".new-", "");
        try (FileChannel channel = FileChannel.open(fresh, StandardOpenOption.WRITE)) {
            ByteBuffer bytes = ByteBuffer.wrap((content + "\n").getBytes(StandardCharsets.UTF_8));
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
            channel.force(true);
        } catch (IOException e) {
            Files.deleteIfExists(fresh);
            throw e;
        }
        return fresh;
    }
}
