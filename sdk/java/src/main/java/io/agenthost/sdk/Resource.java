package io.agenthost.sdk;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * How a job is. Make one with {@link #running}, {@link #succeeded}, {@link #failed(String)} and so on; the {@code with…}
 * methods return a copy with more.
 *
 * <pre>{@code
 * Resource running = Resource.running("40 %").withLink("Console", "https://example.com/1").withInfo("rows", 3);
 * Resource failed = Resource.failed("no such table").withUserError("BadSQL");
 * }</pre>
 *
 * @param phase how far it is
 * @param message shown to the user; Flyte 1 shows it for failures only
 * @param outputs the outputs of a succeeded task, as Java values; null: the job has written outputs.pb below the output
 *     prefix itself, or the task has none
 * @param outputTypes the types that the outputs are written as, or null: a sync agent's outputs take the task's own; an
 *     async agent that needs them keeps {@link Task#outputTypes} in its metadata. Outputs that are declared but missing,
 *     or not declared, are errors. Without types each output takes what is natural
 * @param links shown with the task
 * @param customInfo kept with the task execution: anything that JSON can hold
 * @param error whose fault a failure is and what code it has, or null
 */
public record Resource(Phase phase, String message, Map<String, ?> outputs, OutputTypes outputTypes, List<Link> links,
        Map<String, ?> customInfo, JobError error) {

    /** Makes a resource; collections are copied. */
    public Resource {
        Objects.requireNonNull(phase, "a resource needs a phase");
        message = message == null ? "" : message;
        outputs = copy(outputs);
        links = List.copyOf(links);
        customInfo = copy(customInfo);
    }

    // Unlike Map.copyOf it takes null values: an output can be None.
    private static Map<String, ?> copy(Map<String, ?> map) {
        return map == null ? null : Collections.unmodifiableMap(new LinkedHashMap<>(map));
    }

    private static Resource of(Phase phase, String message) {
        return new Resource(phase, message, null, null, List.of(), null, null);
    }

    /** The job waits for its turn. */
    public static Resource queued(String message) {
        return of(Phase.QUEUED, message);
    }

    /** The job waits for capacity or quota. */
    public static Resource waitingForResources(String message) {
        return of(Phase.WAITING_FOR_RESOURCES, message);
    }

    /** The job is being set up. */
    public static Resource initializing(String message) {
        return of(Phase.INITIALIZING, message);
    }

    /** The job runs, and how far it is. */
    public static Resource running(String message) {
        return of(Phase.RUNNING, message);
    }

    /** The job runs, and how far it is: shown as "40%: 4 of 10 files", and kept as "progress" in the custom info. */
    public static Resource running(double fraction, String what) {
        if (!(fraction >= 0 && fraction <= 1)) {
            throw new IllegalArgumentException("progress is a fraction from 0 to 1, not " + fraction);
        }
        String percent = Math.round(fraction * 100) + "%";
        return running(what.isEmpty() ? percent : percent + ": " + what).withInfo("progress", fraction);
    }

    /** The job is done, and wrote outputs.pb itself or has no outputs. */
    public static Resource succeeded() {
        return of(Phase.SUCCEEDED, "");
    }

    /** The job is done, with these outputs by name; {@link io.agenthost.sdk.literal.Literals} lists what becomes what. */
    public static Resource succeeded(Map<String, ?> outputs) {
        return new Resource(Phase.SUCCEEDED, "", outputs, null, List.of(), null, null);
    }

    /** Somebody ended the job from outside. */
    public static Resource aborted(String message) {
        return of(Phase.ABORTED, message);
    }

    /** The job went wrong and would go wrong again. */
    public static Resource failed(String message) {
        return of(Phase.FAILED, message);
    }

    /** The job went wrong and would go wrong again. */
    public static Resource failed(Throwable cause) {
        return failed(Guard.describe(cause));
    }

    /** The job went wrong and a repetition may help. It spends one of the task's retries. */
    public static Resource retryableFailed(String message) {
        return of(Phase.RETRYABLE_FAILED, message);
    }

    /** The job went wrong and a repetition may help. It spends one of the task's retries. */
    public static Resource retryableFailed(Throwable cause) {
        return retryableFailed(Guard.describe(cause));
    }

    /** With another message. */
    public Resource withMessage(String message) {
        return new Resource(phase, message, outputs, outputTypes, links, customInfo, error);
    }

    /** With one link more. */
    public Resource withLink(String name, String uri) {
        return withLink(new Link(name, uri));
    }

    /** With one link more. */
    public Resource withLink(Link link) {
        List<Link> more = new ArrayList<>(links);
        more.add(link);
        return new Resource(phase, message, outputs, outputTypes, more, customInfo, error);
    }

    /** With a key of the custom info. */
    public Resource withInfo(String key, Object value) {
        Map<String, Object> more = new LinkedHashMap<>(customInfo == null ? Map.of() : customInfo);
        more.put(key, value);
        return new Resource(phase, message, outputs, outputTypes, links, more, error);
    }

    /** With the types that the outputs are written as. */
    public Resource withOutputTypes(OutputTypes types) {
        return new Resource(phase, message, outputs, types, links, customInfo, error);
    }

    /** With an error's code, for what the task's author can mend. */
    public Resource withUserError(String code) {
        return new Resource(phase, message, outputs, outputTypes, links, customInfo, new JobError(code, JobError.Origin.USER));
    }

    /** With an error's code, for what the task's author cannot mend. */
    public Resource withSystemError(String code) {
        return new Resource(phase, message, outputs, outputTypes, links, customInfo, new JobError(code, JobError.Origin.SYSTEM));
    }
}
