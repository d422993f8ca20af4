package io.agenthost.sdk.testing;

import com.flyteidl.admin.DeleteTaskRequest;
import com.flyteidl.admin.GetTaskLogsRequest;
import com.flyteidl.admin.GetTaskRequest;
import com.flyteidl.admin.TaskCategory;
import com.google.protobuf.ByteString;
import io.agenthost.sdk.Category;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** A job that an agent under test has made. */
public final class TestJob {
    private static final Duration PAUSE = Duration.ofMillis(20);

    private final AgentTest test;
    private final TaskCategory category;
    private final ByteString meta;
    private final String outputPrefix;
    private final TestTask task;

    TestJob(AgentTest test, Category category, byte[] meta, TestTask task) {
        this.test = test;
        this.category = TaskCategory.newBuilder().setName(category.name()).setVersion(category.version()).build();
        this.meta = ByteString.copyFrom(meta);
        this.outputPrefix = task.outputPrefix();
        this.task = task;
    }

    /** What Flyte keeps of the job: the metadata that create returned, as the agent wrote it. */
    public byte[] meta() {
        return meta.toByteArray();
    }

    /** Asks how it is. */
    public TestResult get() {
        return new TestResult(test.async().getTask(GetTaskRequest.newBuilder().setTaskCategory(category).setResourceMeta(meta)
                .setOutputPrefix(outputPrefix).setUnknownFields(task.connection()).build()).getResource());
    }

    /** Polls until the phase is terminal, and fails when that takes longer than the test's maximum wait. */
    public TestResult await() throws InterruptedException {
        long end = System.nanoTime() + test.maxWait().toNanos();
        while (true) {
            TestResult result = get();
            switch (result.phase()) {
                case "SUCCEEDED", "FAILED", "ABORTED", "RETRYABLE_FAILED" -> {
                    return result;
                }
                default -> {
                    if (System.nanoTime() > end) {
                        throw new AssertionError("the job is still %s after %s: %s".formatted(result.phase(), test.maxWait(), result.message()));
                    }
                }
            }
            Thread.sleep(PAUSE.toMillis());
        }
    }

    /** Ends it. */
    public void delete() {
        test.async().deleteTask(DeleteTaskRequest.newBuilder().setTaskCategory(category).setResourceMeta(meta)
                .setUnknownFields(task.connection()).build());
    }

    /** Its log lines. */
    @SuppressWarnings("deprecation") // results, what every Flyte reads
    public List<String> logs() {
        List<String> lines = new ArrayList<>();
        test.async().getTaskLogs(GetTaskLogsRequest.newBuilder().setTaskCategory(category).setResourceMeta(meta).build())
                .forEachRemaining(part -> lines.addAll(part.getBody().getResultsList()));
        return lines;
    }
}
