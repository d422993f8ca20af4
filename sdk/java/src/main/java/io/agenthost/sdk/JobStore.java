package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.agenthost.sdk.internal.Json;
import java.io.IOException;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.UnaryOperator;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Keeps jobs in files, so that they outlive the process that made them: for agents whose jobs have no service behind them that
 * remembers.
 *
 * <pre>{@code
 * JobStore<Work> store = JobStore.open(folder, Work.class); // where the plugin's sandbox lets it write
 * Work work = store.add(task.idempotencyKey(), new Work("first")); // in create: the first of an attempt counts
 * }</pre>
 *
 * <p>In {@code get} comes, of the same folder, {@code store.get(job.meta())}, and behind the calls
 * {@code store.update(id, work -> new Work("second"))}.
 *
 * <p>A folder holds one JSON file a job, which is replaced as a whole: whoever reads sees one state or the next, also after a
 * crash. Any number of processes use it at a time, such as a newer generation of the plugin while the older one drains. A job's
 * type may get further components: those that an older file lacks are null or 0, and those of a newer one are dropped where an older
 * process writes it again. The files are those of the other SDKs. The lock by which a change waits for others is the JVM's own, so
 * plugins in Java and in other languages do not change one folder at a time.
 *
 * @param <J> a job, commonly a record
 */
public final class JobStore<J> {
    private static final Logger LOG = LoggerFactory.getLogger(JobStore.class);
    private static final int FORMAT = 1;
    private static final int MAX_NAME = 255;
    private static final String SUFFIX = ".json";
    private static final String NEW = ".new-";
    /** How old a file is that was begun and is no job yet, until it is removed. */
    private static final Duration ABANDONED = Duration.ofHours(1);
    /** By folder: a lock of a file is the whole process's. */
    private static final Map<Path, ReentrantLock> LOCKS = new ConcurrentHashMap<>();

    private final Path folder;
    private final JavaType type;
    private final ReentrantLock lock;

    private JobStore(Path folder, JavaType type) {
        this.folder = folder;
        this.type = type;
        this.lock = LOCKS.computeIfAbsent(folder, path -> new ReentrantLock());
    }

    /**
     * Opens a folder, which is made where it is missing, for its owner alone.
     *
     * @throws AgentException FAILED_PRECONDITION, where the process may not write there
     */
    public static <J> JobStore<J> open(Path folder, Class<J> type) throws IOException {
        try {
            if (!Files.isDirectory(folder)) {
                Files.createDirectories(folder, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
            }
            JobStore<J> store = new JobStore<>(folder.toRealPath(), Json.MAPPER.constructType(type));
            store.locked(store::clearUp);
            return store;
        } catch (FileSystemException e) {
            throw AgentException.failedPrecondition("the job store cannot be opened (does the plugin's sandbox have it in `write:`?): " + e).causedBy(e);
        }
    }

    /** Keeps a job unless there is one of that id, made by whichever process; returns the one that is kept. */
    public J add(String id, J job) throws IOException {
        return locked(() -> Files.exists(file(id)) ? get(id) : write(id, job));
    }

    /** Keeps a job in the place of one of the same id. */
    public void put(String id, J job) throws IOException {
        locked(() -> write(id, job));
    }

    /**
     * Changes a job, and returns it. No other change comes between, by whichever process; nothing changes where the function throws.
     *
     * @param change makes the job that is kept, of that which was; it must not use the store
     * @throws AgentException NOT_FOUND where there is none; FAILED_PRECONDITION, with the file, where it cannot be read
     */
    public J update(String id, UnaryOperator<J> change) throws IOException {
        return locked(() -> write(id, change.apply(get(id))));
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

    /** All jobs by their ids, in the order of these. Those that cannot be read are missing, and the log names their files. */
    public Map<String, J> jobs() throws IOException {
        Map<String, J> jobs = new TreeMap<>();
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "[!.]*" + SUFFIX)) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                try {
                    String id = URLDecoder.decode(name.substring(0, name.length() - SUFFIX.length()), StandardCharsets.UTF_8);
                    jobs.put(id, get(id));
                } catch (AgentException | IllegalArgumentException e) {
                    if (Files.exists(file)) { // or it was deleted meanwhile
                        LOG.atWarn().addKeyValue("file", file).addKeyValue("error", e.getMessage()).log("a job's file is left out");
                    }
                }
            }
        }
        return jobs;
    }

    /** Forgets a job. One that is not there is forgotten already. */
    public void delete(String id) throws IOException {
        Path file = file(id);
        locked(() -> Files.deleteIfExists(file));
    }

    private Path file(String id) {
        String name = URLEncoder.encode(id, StandardCharsets.UTF_8) + SUFFIX;
        name = name.startsWith(".") ? "%2E" + name.substring(1) : name;
        if (id.isEmpty() || name.length() > MAX_NAME) {
            throw AgentException.invalidArgument("the id of a job must have 1 to %d bytes, as a file's name without %s: \"%s\""
                    .formatted(MAX_NAME - SUFFIX.length(), SUFFIX, id));
        }
        return folder.resolve(name);
    }

    /** Replaces a job's file as a whole, and returns when it is on the disk. */
    private J write(String id, J job) throws IOException {
        Path file = file(id);
        ObjectNode content = Json.MAPPER.createObjectNode().put("format", FORMAT);
        content.set("job", Json.MAPPER.readTree(KeptMetadata.write(job, type)));
        Path fresh = Files.createTempFile(folder, NEW, "");
        try {
            try (FileChannel channel = FileChannel.open(fresh, StandardOpenOption.WRITE)) {
                ByteBuffer bytes = ByteBuffer.wrap((content + "\n").getBytes(StandardCharsets.UTF_8));
                while (bytes.hasRemaining()) {
                    channel.write(bytes);
                }
                channel.force(true);
            }
            Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(fresh);
        }
        try (FileChannel names = FileChannel.open(folder, StandardOpenOption.READ)) {
            names.force(true);
        }
        return job;
    }

    /** Removes what processes left that ended while they wrote, and returns how much. */
    private int clearUp() throws IOException {
        int removed = 0;
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, NEW + "*")) {
            for (Path file : files) {
                if (Files.getLastModifiedTime(file).toInstant().isBefore(Instant.now().minus(ABANDONED)) && Files.deleteIfExists(file)) {
                    removed++;
                }
            }
        }
        return removed;
    }

    private interface Change<T> {
        T make() throws IOException;
    }

    /** Makes a change while no other process, and nobody else in this one, changes the folder. */
    private <T> T locked(Change<T> change) throws IOException {
        lock.lock();
        try (FileChannel file = FileChannel.open(folder.resolve(".lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            file.lock(); // until it is closed
            return change.make();
        } finally {
            lock.unlock();
        }
    }
}
