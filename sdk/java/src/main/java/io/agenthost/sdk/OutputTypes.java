package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.annotation.JsonDeserialize;
import com.fasterxml.jackson.databind.annotation.JsonSerialize;
import com.fasterxml.jackson.databind.util.StdConverter;
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
@JsonSerialize(converter = OutputTypes.Writer.class)
@JsonDeserialize(converter = OutputTypes.Reader.class)
public record OutputTypes(Map<String, LiteralType> byName) {
    /** Makes output types; the map is copied. */
    public OutputTypes {
        byName = Map.copyOf(byName);
    }

    static final class Writer extends StdConverter<OutputTypes, Map<String, JsonNode>> {
        @Override
        public Map<String, JsonNode> convert(OutputTypes types) {
            Map<String, JsonNode> json = new TreeMap<>();
            types.byName.forEach((name, type) -> {
                try {
                    json.put(name, Json.MAPPER.readTree(JsonFormat.printer().print(type)));
                } catch (InvalidProtocolBufferException | JsonProcessingException e) {
                    throw new IllegalArgumentException("the type of output \"%s\": %s".formatted(name, e.getMessage()), e);
                }
            });
            return json;
        }
    }

    /** Reads what the writer wrote, also where a newer version wrote more. */
    static final class Reader extends StdConverter<Map<String, JsonNode>, OutputTypes> {
        @Override
        public OutputTypes convert(Map<String, JsonNode> json) {
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
}
