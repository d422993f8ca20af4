package io.agenthost.sdk.testing;

import com.fasterxml.jackson.core.type.TypeReference;
import com.flyteidl.admin.Resource;
import com.flyteidl.core.Literal;
import com.flyteidl.core.TaskLog;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.agenthost.sdk.internal.Json;
import io.agenthost.sdk.literal.Literals;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * How a job is, as Flyte sees it.
 *
 * @param resource the agent's answer
 */
public record TestResult(Resource resource) {
    /** How far it is, by Flyte's name, such as "SUCCEEDED". */
    public String phase() {
        return resource.getPhase().name();
    }

    /** The message. */
    public String message() {
        return resource.getMessage();
    }

    /** The code of a failure; empty without one. */
    public String code() {
        return resource.getAgentError().getCode();
    }

    /** The links by name. */
    public Map<String, String> links() {
        Map<String, String> links = new LinkedHashMap<>();
        List<TaskLog> sent = resource.getLogLinksList();
        sent.forEach(link -> links.put(link.getName(), link.getUri()));
        return links;
    }

    /** The custom info, as Jackson reads it. */
    public <T> T customInfo(Class<T> type) {
        try {
            return Json.MAPPER.readValue(JsonFormat.printer().print(resource.getCustomInfo()), type);
        } catch (InvalidProtocolBufferException e) {
            throw new AssertionError("the custom info cannot be printed", e);
        } catch (IOException e) {
            throw new AssertionError("the custom info is not " + type.getSimpleName() + ": " + e.getMessage(), e);
        }
    }

    /** An output as a Java value. An AssertionError tells what there is instead. */
    public <T> T output(String name, Class<T> type) {
        return Literals.decode(literal(name), type);
    }

    /** An output as a generic type. */
    public <T> T output(String name, TypeReference<T> type) {
        return Literals.decode(literal(name), type);
    }

    /** An output as it was sent. */
    public Literal literal(String name) {
        Literal literal = resource.getOutputs().getLiteralsMap().get(name);
        if (literal == null) {
            throw new AssertionError("there is no output \"%s\": the task is %s (%s), its outputs are %s"
                    .formatted(name, phase(), message(), resource.getOutputs().getLiteralsMap().keySet()));
        }
        return literal;
    }
}
