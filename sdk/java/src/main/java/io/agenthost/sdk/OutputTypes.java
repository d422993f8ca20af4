package io.agenthost.sdk;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonValue;
import com.fasterxml.jackson.databind.JsonNode;
import com.flyteidl.core.LiteralType;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.agenthost.sdk.internal.Json;
import java.util.Map;
import java.util.TreeMap;

/**
 * The types of outputs by name. They can be a component of an async agent's metadata.
 *
 * @param byName the types
 */
public record OutputTypes(Map<String, LiteralType> byName) {
    /** Makes output types; the map is copied. */
    public OutputTypes {
        byName = Map.copyOf(byName);
    }

    @JsonValue
    Map<String, JsonNode> toJson() throws Exception {
        Map<String, JsonNode> json = new TreeMap<>();
        for (Map.Entry<String, LiteralType> type : byName.entrySet()) {
            json.put(type.getKey(), Json.MAPPER.readTree(JsonFormat.printer().print(type.getValue())));
        }
        return json;
    }

    /** Reads what {@link #toJson} wrote, also where a newer version wrote more. */
    @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
    static OutputTypes fromJson(Map<String, JsonNode> json) {
        Map<String, LiteralType> types = new TreeMap<>();
        json.forEach((name, node) -> {
            LiteralType.Builder type = LiteralType.newBuilder();
            try {
                JsonFormat.parser().ignoringUnknownFields().merge(node.toString(), type);
            } catch (InvalidProtocolBufferException e) {
                throw new IllegalArgumentException("the type of output \"%s\": %s".formatted(name, e.getMessage()), e);
            }
            types.put(name, type.build());
        });
        return new OutputTypes(types);
    }
}
