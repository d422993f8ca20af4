package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import com.flyteidl.admin.AgentError;
import com.flyteidl.core.ExecutionError;
import com.flyteidl.core.LiteralMap;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.TaskExecutionIdentifier;
import com.flyteidl.core.TaskLog;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Struct;
import com.google.protobuf.UnknownFieldSet;
import com.google.protobuf.util.JsonFormat;
import io.agenthost.sdk.internal.Json;
import io.agenthost.sdk.literal.LiteralException;
import io.agenthost.sdk.literal.Literals;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** Between the SDK's types and the messages. */
final class Wire {
    /** flyteidl2.connector: connection of CreateTaskRequest, GetTaskRequest, DeleteTaskRequest and CreateRequestHeader. */
    private static final int CONNECTION = 5;
    // flyteidl2.core.Connection
    private static final int CONNECTION_TASK_TYPE = 1;
    private static final int CONNECTION_SECRETS = 2;
    private static final int CONNECTION_CONFIGS = 3;

    private Wire() {}

    /** The connection that Flyte 2 sent with a request. Flyte 1's messages do not know it: it arrives as an unknown field. */
    static Connection connectionOf(Message request) {
        List<ByteString> parts = request.getUnknownFields().getField(CONNECTION).getLengthDelimitedList();
        if (parts.isEmpty()) {
            return Connection.NONE;
        }
        String taskType = "";
        Map<String, String> configs = new LinkedHashMap<>();
        Map<String, Secret> secrets = new LinkedHashMap<>();
        for (ByteString part : parts) {
            UnknownFieldSet fields = parse(part);
            taskType = lastString(fields, CONNECTION_TASK_TYPE, taskType);
            for (ByteString entry : fields.getField(CONNECTION_SECRETS).getLengthDelimitedList()) {
                secrets.put(lastString(parse(entry), 1, ""), Secret.hiding(lastString(parse(entry), 2, "")));
            }
            for (ByteString entry : fields.getField(CONNECTION_CONFIGS).getLengthDelimitedList()) {
                configs.put(lastString(parse(entry), 1, ""), lastString(parse(entry), 2, ""));
            }
        }
        return new Connection(taskType, configs, secrets);
    }

    private static UnknownFieldSet parse(ByteString message) {
        try {
            return UnknownFieldSet.parseFrom(message);
        } catch (InvalidProtocolBufferException e) {
            throw AgentException.invalidArgument("the request's connection is not a message: " + e.getMessage()).causedBy(e);
        }
    }

    private static String lastString(UnknownFieldSet fields, int number, String otherwise) {
        List<ByteString> values = fields.getField(number).getLengthDelimitedList();
        return values.isEmpty() ? otherwise : values.get(values.size() - 1).toStringUtf8();
    }

    /** Names a task attempt as proto/agenthost/plugin/v1/idempotency.go says, for callers that did not send its name. */
    static String idempotencyKey(TaskExecutionIdentifier id, String outputPrefix) {
        var execution = id.getNodeExecutionId().getExecutionId();
        var task = id.getTaskId();
        if (execution.getName().isEmpty()) {
            return "";
        }
        MessageDigest digest = sha256();
        for (String field : List.of(execution.getProject(), execution.getDomain(), execution.getName(), id.getNodeExecutionId().getNodeId(),
                task.getProject(), task.getDomain(), task.getName(), task.getVersion(), Integer.toUnsignedString(id.getRetryAttempt()), outputPrefix)) {
            byte[] bytes = field.getBytes(StandardCharsets.UTF_8);
            digest.update(ByteBuffer.allocate(4).putInt(bytes.length).array());
            digest.update(bytes);
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /** What a poll is answered with. Outputs that do not fit would not at the next one either: the job has failed. */
    static com.flyteidl.admin.Resource polled(Resource resource) throws InvalidProtocolBufferException {
        try {
            return resource(resource, null);
        } catch (OutputsException e) {
            return resource(Resource.failed(e.getMessage()).withSystemError("BadOutputs"), null);
        }
    }

    /** Outputs that do not fit the types that are declared, or no type of Flyte's. */
    private static final class OutputsException extends IllegalArgumentException {
        OutputsException(IllegalArgumentException cause) {
            super(cause.getMessage(), cause);
        }
    }

    /** Writes a resource. declared are the task's output types, or null where the call does not know them. */
    static com.flyteidl.admin.Resource resource(Resource resource, OutputTypes declared) throws InvalidProtocolBufferException {
        if (resource == null) {
            throw new IllegalStateException("it returned null instead of a resource: use Resource.running, Resource.succeeded, …");
        }
        var message = com.flyteidl.admin.Resource.newBuilder().setPhase(resource.phase().wire()).setMessage(resource.message());
        if (resource.outputs() != null) {
            try {
                message.setOutputs(outputs(resource.outputs(), resource.outputTypes() != null ? resource.outputTypes() : declared));
            } catch (IllegalArgumentException e) {
                throw new OutputsException(e);
            }
        }
        for (Link link : resource.links()) {
            message.addLogLinks(TaskLog.newBuilder().setName(link.name()).setUri(link.uri())
                    .setShowWhilePending(link.showWhilePending()).setHideOnceFinished(link.hideOnceFinished()));
        }
        if (resource.customInfo() != null) {
            message.setCustomInfo(structOf(resource.customInfo()));
        }
        if (resource.error() != null) {
            message.setAgentError(agentError(resource.error(), resource.phase()));
        }
        return message.build();
    }

    private static AgentError agentError(JobError error, Phase phase) {
        AgentError.Builder message = AgentError.newBuilder().setCode(error.code())
                .setOrigin(ExecutionError.ErrorKind.valueOf(error.origin().name()));
        if (phase == Phase.RETRYABLE_FAILED) {
            message.setKind(AgentError.Kind.RECOVERABLE);
        }
        return message.build();
    }

    private static LiteralMap outputs(Map<String, ?> outputs, OutputTypes declared) {
        Map<String, LiteralType> types = declared == null ? Map.of() : declared.byName();
        for (String name : new TreeSet<>(types.keySet())) {
            if (!outputs.containsKey(name)) {
                throw new IllegalArgumentException("output %s is declared but missing".formatted(name));
            }
        }
        LiteralMap.Builder encoded = LiteralMap.newBuilder();
        outputs.forEach((name, value) -> {
            if (!types.isEmpty() && !types.containsKey(name)) {
                throw new IllegalArgumentException("output %s is not one that the task declares: %s"
                        .formatted(name, String.join(", ", new TreeSet<>(types.keySet()))));
            }
            try {
                encoded.putLiterals(name, Literals.encode(value, types.getOrDefault(name, LiteralType.getDefaultInstance())));
            } catch (LiteralException e) {
                throw new IllegalArgumentException("output %s%s: %s".formatted(name, e.path(), e.problem()), e);
            } catch (StackOverflowError e) { // as a cause it would be a thousand lines of the log
                throw new IllegalArgumentException("output %s: a Java %s contains itself".formatted(name, value.getClass().getSimpleName()));
            }
        });
        return encoded.build();
    }

    /** A Struct's only numbers are floats: a whole number that none holds becomes text. */
    static Struct structOf(Map<String, ?> value) throws InvalidProtocolBufferException {
        Struct.Builder struct = Struct.newBuilder();
        try {
            JsonFormat.parser().merge(withAllDigits(Json.MAPPER.valueToTree(value)).toString(), struct);
        } catch (IllegalArgumentException e) {
            if (e.getCause() instanceof JsonProcessingException json) {
                throw new IllegalArgumentException("custom info%s: %s".formatted(Json.path(json), Json.describe(json)), e);
            }
            throw e;
        }
        return struct.build();
    }

    private static JsonNode withAllDigits(JsonNode node) {
        if (node instanceof ObjectNode object) {
            object.properties().forEach(field -> field.setValue(withAllDigits(field.getValue())));
        } else if (node instanceof ArrayNode list) {
            for (int i = 0; i < list.size(); i++) {
                list.set(i, withAllDigits(list.get(i)));
            }
        } else if (node.isIntegralNumber() && node.bigIntegerValue().abs().bitLength() > 53) {
            return TextNode.valueOf(node.asText());
        }
        return node;
    }
}
