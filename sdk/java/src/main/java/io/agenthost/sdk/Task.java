package io.agenthost.sdk;

import com.fasterxml.jackson.core.type.TypeReference;
import com.flyteidl.admin.TaskExecutionMetadata;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralMap;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.Scalar;
import com.flyteidl.core.TaskExecutionIdentifier;
import com.flyteidl.core.TaskTemplate;
import io.agenthost.sdk.literal.LiteralException;
import io.agenthost.sdk.literal.Literals;
import java.lang.reflect.Type;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What an agent is asked to run. {@link Literals} lists which Java types inputs can be read as.
 *
 * <pre>{@code
 * record Wanted(String statement, Optional<Integer> maxRows) {} // the inputs statement and max_rows
 *
 * SyncAgent agent = task -> {
 *     Wanted wanted = task.inputs(Wanted.class);
 *     return Resource.succeeded(Map.of("rows", wanted.maxRows().orElse(10)));
 * };
 * }</pre>
 */
public final class Task {
    private final Category category;
    private final TaskTemplate template;
    private final LiteralMap literals;
    private final String outputPrefix;
    private final TaskExecutionMetadata metadata;
    private final String idempotencyKey;
    private final long maxDatasetSizeBytes;
    private final Connection connection;

    Task(TaskTemplate template, LiteralMap literals, String outputPrefix, TaskExecutionMetadata metadata, String idempotencyKey,
            long maxDatasetSizeBytes, Connection connection) {
        this.category = new Category(template.getType(), template.getTaskTypeVersion());
        this.template = template;
        this.literals = literals;
        this.outputPrefix = outputPrefix;
        this.metadata = metadata;
        this.idempotencyKey = idempotencyKey;
        this.maxDatasetSizeBytes = maxDatasetSizeBytes;
        this.connection = connection;
    }

    /**
     * Reads one input as a class: String.class, int.class, Instant.class, a record for a dataclass, Object.class for
     * whatever it is.
     *
     * @throws AgentException INVALID_ARGUMENT, naming the input and the types, when it is absent, None or of another type
     */
    public <T> T input(String name, Class<T> type) {
        return input(name, (Type) type);
    }

    /** Reads one input as a generic type, such as {@code new TypeReference<List<Double>>() {}}. */
    public <T> T input(String name, TypeReference<T> type) {
        return input(name, type.getType());
    }

    private <T> T input(String name, Type type) {
        return Inputs.read(this, name, type);
    }

    /** Reads an input that may be absent or None. */
    public <T> Optional<T> optionalInput(String name, Class<T> type) {
        return hasInput(name) ? Optional.of(input(name, type)) : Optional.empty();
    }

    /** Reads an input that may be absent or None, as a generic type. */
    public <T> Optional<T> optionalInput(String name, TypeReference<T> type) {
        return hasInput(name) ? Optional.of(input(name, type)) : Optional.empty();
    }

    /** Whether the task has an input of that name that is not None. */
    public boolean hasInput(String name) {
        Literal literal = literals.getLiteralsMap().get(name);
        return literal != null && !Literals.isNone(literal);
    }

    /** Reads all inputs as the Java values that are natural for them. */
    public Map<String, Object> inputs() {
        Map<String, Object> values = new LinkedHashMap<>();
        literals.getLiteralsMap().keySet().forEach(name -> values.put(name, Inputs.read(this, name, Object.class)));
        return values;
    }

    /**
     * Reads the inputs as a record. A component takes the input of its name in snake case ({@code maxRows} takes max_rows),
     * or of the name that {@code @JsonProperty} says. An absent or None input is an error, unless the component is an
     * Optional. Inputs without a component are ignored.
     *
     * <p>Any other class is read as Jackson makes one. There an absent or None input is an error where the property is required, as
     * those of Kotlin's data classes are that have no default and are not nullable.
     *
     * @throws AgentException INVALID_ARGUMENT, naming everything that is wrong
     */
    public <T> T inputs(Class<T> type) {
        return type.isRecord() ? Inputs.readRecord(this, type) : Inputs.readObject(this, type);
    }

    /**
     * Reads the template's custom part, commonly as a record. Keys that it lacks are ignored; an absent custom part is
     * like an empty one.
     */
    public <T> T custom(Class<T> type) {
        Literal custom = Literal.newBuilder().setScalar(Scalar.newBuilder().setGeneric(template.getCustom())).build();
        try {
            return Literals.decode(custom, type);
        } catch (LiteralException e) {
            throw AgentException.invalidArgument("the custom part of the %s template does not fit: %s %s"
                    .formatted(category.name(), e.path(), e.problem())).causedBy(e);
        }
    }

    /** The statement of a SQL task; empty for others. */
    public String sql() {
        return template.getSql().getStatement();
    }

    /** The template's settings by name: flytekit's task_config as strings. */
    public Map<String, String> config() {
        return template.getConfigMap();
    }

    /** What the call was routed by: the template's type and version. */
    public Category category() {
        return category;
    }

    /** The task as it was registered. */
    public TaskTemplate template() {
        return template;
    }

    /** The inputs as Flyte sent them. */
    public Map<String, Literal> literals() {
        return literals.getLiteralsMap();
    }

    /** The storage location for the attempt's outputs, such as "s3://bucket/metadata/…/0". */
    public String outputPrefix() {
        return outputPrefix;
    }

    /** What Flyte says of the execution: namespace, labels, environment variables, identity. */
    public TaskExecutionMetadata metadata() {
        return metadata;
    }

    /**
     * Flyte's name of the attempt: execution, node, task and retry attempt. A node's id is that within its workflow: the uses of one
     * subworkflow share it, and {@link #idempotencyKey} tells them apart. Empty where the caller sent none.
     */
    public Optional<TaskExecutionIdentifier> executionId() {
        return metadata.hasTaskExecutionId() ? Optional.of(metadata.getTaskExecutionId()) : Optional.empty();
    }

    /**
     * The same for every call for one attempt, and another for every other attempt: 64 hex digits, good as (part of) the
     * name of an external job. Empty where the caller sent no execution id.
     */
    public String idempotencyKey() {
        return idempotencyKey;
    }

    /** The caller's limit on the size of inline datasets of a sync call; 0 for none. */
    public long maxDatasetSizeBytes() {
        return maxDatasetSizeBytes;
    }

    /** What Flyte 2 sends; elsewhere an empty one. */
    public Connection connection() {
        return connection;
    }

    /** A secret from the task's connection, or else the plugin's own secret of that name. */
    public Secret secret(String key) {
        return connection.secretOrPlugins(key);
    }

    /**
     * When the caller stops waiting, at which the call's thread is interrupted; empty where it waits for ever. To be asked on the
     * call's thread.
     */
    public Optional<Instant> deadline() {
        return Calls.deadline();
    }

    /** The types that the task declares for its outputs. */
    public OutputTypes outputTypes() {
        Map<String, LiteralType> types = new LinkedHashMap<>();
        template.getInterface().getOutputs().getVariablesMap().forEach((name, variable) -> types.put(name, variable.getType()));
        return new OutputTypes(types);
    }

    /** Names the task for logs, without its inputs. */
    @Override
    public String toString() {
        return "%s %s@%s".formatted(category.name(), template.getId().getName(), template.getId().getVersion());
    }
}
