package io.agenthost.sdk.testing;

import com.flyteidl.admin.TaskExecutionMetadata;
import com.flyteidl.core.LiteralMap;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.Sql;
import com.flyteidl.core.TaskExecutionIdentifier;
import com.flyteidl.core.TaskTemplate;
import com.flyteidl.core.TypedInterface;
import com.flyteidl.core.Variable;
import com.flyteidl.core.VariableMap;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.UnknownFieldSet;
import com.google.protobuf.util.JsonFormat;
import io.agenthost.sdk.internal.Json;
import io.agenthost.sdk.literal.Literals;
import java.util.LinkedHashMap;
import java.util.Map;

/** A task for an agent under test, put together piece by piece. */
public final class TestTask {
    private final TaskTemplate.Builder template;
    private final LiteralMap.Builder inputs = LiteralMap.newBuilder();
    private final Map<String, String> secrets = new LinkedHashMap<>();
    private String outputPrefix = "";
    private TaskExecutionIdentifier executionId = TaskExecutionIdentifier.getDefaultInstance();
    private String idempotencyKey = "";

    private TestTask(TaskTemplate.Builder template) {
        this.template = template;
    }

    /** Begins a task of a type. */
    public static TestTask of(String type) {
        return new TestTask(TaskTemplate.newBuilder().setType(type));
    }

    /** Begins with a template, such as one that flytekit made. */
    public static TestTask of(TaskTemplate template) {
        return new TestTask(template.toBuilder());
    }

    /** Sets the version of the type. */
    public TestTask version(int version) {
        template.setTaskTypeVersion(version);
        return this;
    }

    /** Sets an input, as {@link Literals} writes it. */
    public TestTask input(String name, Object value) {
        inputs.putLiterals(name, Literals.encode(value));
        return this;
    }

    /** Sets an input of a declared type. */
    public TestTask input(String name, Object value, LiteralType type) {
        inputs.putLiterals(name, Literals.encode(value, type));
        return this;
    }

    /** Declares an output. */
    public TestTask output(String name, LiteralType type) {
        TypedInterface.Builder declared = template.getInterfaceBuilder();
        declared.setOutputs(VariableMap.newBuilder(declared.getOutputs()).putVariables(name, Variable.newBuilder().setType(type).build()));
        return this;
    }

    /** Sets the statement of a SQL task. */
    public TestTask sql(String statement) {
        template.setSql(Sql.newBuilder().setStatement(statement));
        return this;
    }

    /** Sets the custom part: a record, a map, whatever JSON writes as an object. */
    public TestTask custom(Object custom) {
        try {
            JsonFormat.parser().merge(Json.MAPPER.valueToTree(custom).toString(), template.getCustomBuilder().clear());
        } catch (InvalidProtocolBufferException e) {
            throw new IllegalArgumentException("a custom part must be a JSON object: " + e.getMessage(), e);
        }
        return this;
    }

    /** Sets one of the template's settings. */
    public TestTask config(String key, String value) {
        template.putConfig(key, value);
        return this;
    }

    /** Sets the storage location for the outputs. */
    public TestTask outputPrefix(String prefix) {
        outputPrefix = prefix;
        return this;
    }

    /** Sets the name that Flyte gives the attempt. Where no key is set, the plugin makes it of this and the output prefix. */
    public TestTask executionId(TaskExecutionIdentifier id) {
        executionId = id;
        return this;
    }

    /** Sets the name of the attempt that the host sends. */
    public TestTask idempotencyKey(String key) {
        idempotencyKey = key;
        return this;
    }

    /** Adds a secret to the connection that Flyte 2 sends. */
    public TestTask secret(String key, String value) {
        secrets.put(key, value);
        return this;
    }

    TaskTemplate template() {
        return template.build();
    }

    LiteralMap inputs() {
        return inputs.build();
    }

    String outputPrefix() {
        return outputPrefix;
    }

    TaskExecutionMetadata metadata() {
        return TaskExecutionMetadata.newBuilder().setTaskExecutionId(executionId).build();
    }

    String idempotencyKey() {
        return idempotencyKey;
    }

    /** The connection, a field that Flyte 1's messages do not know. */
    UnknownFieldSet connection() {
        if (secrets.isEmpty()) {
            return UnknownFieldSet.getDefaultInstance();
        }
        UnknownFieldSet.Field.Builder entries = UnknownFieldSet.Field.newBuilder();
        secrets.forEach((key, value) -> entries.addLengthDelimited(UnknownFieldSet.newBuilder()
                .addField(1, text(key)).addField(2, text(value)).build().toByteString()));
        UnknownFieldSet connection = UnknownFieldSet.newBuilder().addField(1, text(template.getType())).addField(2, entries.build()).build();
        return UnknownFieldSet.newBuilder()
                .addField(5, UnknownFieldSet.Field.newBuilder().addLengthDelimited(connection.toByteString()).build()).build();
    }

    private static UnknownFieldSet.Field text(String value) {
        return UnknownFieldSet.Field.newBuilder().addLengthDelimited(ByteString.copyFromUtf8(value)).build();
    }
}
