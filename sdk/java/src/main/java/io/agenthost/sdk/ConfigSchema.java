package io.agenthost.sdk;

import com.fasterxml.classmate.ResolvedType;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationConfig;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.introspect.BeanPropertyDefinition;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.github.victools.jsonschema.generator.CustomDefinition;
import com.github.victools.jsonschema.generator.FieldScope;
import com.github.victools.jsonschema.generator.Option;
import com.github.victools.jsonschema.generator.OptionPreset;
import com.github.victools.jsonschema.generator.SchemaGenerationContext;
import com.github.victools.jsonschema.generator.SchemaGenerator;
import com.github.victools.jsonschema.generator.SchemaGeneratorConfigBuilder;
import com.github.victools.jsonschema.generator.SchemaVersion;
import com.github.victools.jsonschema.module.jackson.JacksonModule;
import com.github.victools.jsonschema.module.jackson.JacksonOption;
import com.networknt.schema.ApplyDefaultsStrategy;
import com.networknt.schema.JsonSchema;
import com.networknt.schema.JsonSchemaFactory;
import com.networknt.schema.SchemaValidatorsConfig;
import com.networknt.schema.SpecVersion;
import com.networknt.schema.ValidationMessage;
import io.agenthost.sdk.internal.Json;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;

/** The JSON Schema of a configuration's type, and what it has against a block. */
final class ConfigSchema {
    /** The types of text that the SDK brings, by their patterns: what they are called, and how they are read. */
    private static final Map<String, String> WRITTEN = Map.of(Durations.PATTERN, "a duration such as 30s or 1h30m",
            Size.PATTERN, "a size such as 2GiB or 512MB", SecretRef.PATTERN, "the name of a secret");
    private static final Map<String, Consumer<String>> READ = Map.of(Durations.PATTERN, Durations::parse, Size.PATTERN, Size::of,
            SecretRef.PATTERN, Secret::of);

    private final ObjectNode document;
    private final JsonSchema validator;

    ConfigSchema(Class<?> type) {
        document = plain(generate(type));
        SchemaValidatorsConfig config = SchemaValidatorsConfig.builder().locale(Locale.ENGLISH)
                .applyDefaultsStrategy(new ApplyDefaultsStrategy(true, true, true)).build();
        validator = JsonSchemaFactory.getInstance(SpecVersion.VersionFlag.V202012).getSchema(document, config);
    }

    String text() {
        return document.toPrettyString();
    }

    private static ObjectNode generate(Class<?> type) {
        SchemaGeneratorConfigBuilder builder = new SchemaGeneratorConfigBuilder(SchemaVersion.DRAFT_2020_12, OptionPreset.PLAIN_JSON)
                .with(new JacksonModule(JacksonOption.FLATTENED_ENUMS_FROM_JSONVALUE,
                        JacksonOption.FLATTENED_ENUMS_FROM_JSONPROPERTY))
                .with(Option.FORBIDDEN_ADDITIONAL_PROPERTIES_BY_DEFAULT, Option.ADDITIONAL_FIXED_TYPES, Option.MAP_VALUES_AS_ADDITIONAL_PROPERTIES,
                        Option.INLINE_ALL_SCHEMAS, Option.FLATTENED_OPTIONALS);
        builder.forFields().withPropertyNameOverrideResolver(field -> property(field).map(BeanPropertyDefinition::getName).orElse(null))
                .withRequiredCheck(field -> property(field).map(BeanPropertyDefinition::isRequired).orElse(false))
                .withDescriptionResolver(field -> property(field).map(found -> found.getMetadata().getDescription()).orElse(null))
                .withDefaultResolver(ConfigSchema::defaultOf);
        builder.forTypesInGeneral().withCustomDefinitionProvider(ConfigSchema::definitionOf);
        return new SchemaGenerator(builder.build()).generateSchema(type);
    }

    /** The generator leaves defaults as Java objects, which a validator that puts them into a block takes for no value of any kind. */
    private static ObjectNode plain(ObjectNode generated) {
        try {
            return (ObjectNode) Configuration.parse(generated.toString());
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("a generated schema is JSON", e);
        }
    }

    /** A component as Jackson reads it: what an annotation, a naming strategy or a language's module says of its name and whether it must be given. */
    private static Optional<BeanPropertyDefinition> property(FieldScope field) {
        DeserializationConfig config = Json.MAPPER.getDeserializationConfig();
        return config.introspect(config.constructType(field.getDeclaringType().getErasedType())).findProperties().stream()
                .filter(property -> property.getInternalName().equals(field.getDeclaredName())).findFirst();
    }

    /** The default that {@code @JsonProperty(defaultValue = …)} says: text for text, JSON for everything else. */
    private static Object defaultOf(FieldScope field) {
        String text = property(field).map(found -> found.getMetadata().getDefaultValue()).orElse(null);
        if (text == null || text.isEmpty()) {
            return null;
        }
        try {
            Class<?> type = field.getType().getErasedType();
            boolean json = type.isPrimitive() || Number.class.isAssignableFrom(type) || type == Boolean.class
                    || type.isArray() || Iterable.class.isAssignableFrom(type) && type != Path.class;
            return json ? Configuration.parse(text) : JsonNodeFactory.instance.textNode(text);
        } catch (JsonProcessingException e) {
            throw new IllegalArgumentException("the default of %s.%s is not JSON: %s"
                    .formatted(field.getDeclaringType().getErasedType().getSimpleName(), field.getDeclaredName(), e.getOriginalMessage()), e);
        }
    }

    private static CustomDefinition definitionOf(ResolvedType type, SchemaGenerationContext context) {
        Class<?> erased = type.getErasedType();
        if (erased == Duration.class) {
            return written(Durations.PATTERN, "30s", "1h30m");
        } else if (erased == Size.class) {
            return written(Size.PATTERN, "2GiB", "512MB");
        } else if (erased == SecretRef.class) {
            return written(SecretRef.PATTERN, "warehouse_token");
        } else if (Path.class.isAssignableFrom(erased)) {
            return new CustomDefinition(JsonNodeFactory.instance.objectNode().put("type", "string"), true);
        }
        return null;
    }

    // Without a description: next to the one of the component, the generator would split them up, and the default would be lost.
    private static CustomDefinition written(String pattern, String... examples) {
        ObjectNode definition = JsonNodeFactory.instance.objectNode().put("type", "string").put("pattern", pattern);
        for (String example : examples) {
            definition.withArray("examples").add(example);
        }
        return new CustomDefinition(definition, true);
    }

    /**
     * Everything that is wrong with a block, sorted by key. Takes keys out of it that are null and need not be given, as
     * {@code limits:} with nothing behind it is, and adds the defaults.
     */
    List<ConfigError> check(ObjectNode block) {
        dropNulls(document, block);
        Set<ConfigError> errors = new TreeSet<>(Comparator.comparing(ConfigError::key).thenComparing(ConfigError::message));
        Set<String> ofAnotherKind = new HashSet<>();
        for (ValidationMessage message : validator.walk(block, true).getValidationMessages()) {
            errors.add(errorOf(message));
            if (message.getType().equals("enum")) {
                ofAnotherKind.add(dotted(message));
            }
        }
        // An enum's values say more than that it is a string.
        errors.removeIf(error -> ofAnotherKind.contains(error.key()) && !error.message().startsWith("must be one of "));
        checkTexts(document, block, "", errors);
        return List.copyOf(errors);
    }

    private static void dropNulls(JsonNode schema, JsonNode value) {
        Set<String> required = new HashSet<>();
        schema.path("required").forEach(name -> required.add(name.asText()));
        if (value instanceof ObjectNode object) {
            object.properties().removeIf(field -> field.getValue().isNull() && schema.path("properties").has(field.getKey()) && !required.contains(field.getKey()));
            object.properties().forEach(field -> dropNulls(schemaOf(schema, field.getKey()), field.getValue()));
        } else if (value.isArray()) {
            value.forEach(element -> dropNulls(schema.path("items"), element));
        }
    }

    private static JsonNode schemaOf(JsonNode schema, String key) {
        JsonNode property = schema.path("properties").path(key);
        return property.isMissingNode() ? schema.path("additionalProperties") : property;
    }

    /** Tells of texts that are written as they must be and cannot be read: a size out of range, a secret that is not there. */
    private static void checkTexts(JsonNode schema, JsonNode value, String key, Set<ConfigError> errors) {
        if (value.isObject()) {
            value.properties().forEach(field -> checkTexts(schemaOf(schema, field.getKey()), field.getValue(), join(key, field.getKey()), errors));
        } else if (value.isArray()) {
            for (int i = 0; i < value.size(); i++) {
                checkTexts(schema.path("items"), value.get(i), key + "[" + i + "]", errors);
            }
        } else if (value.isTextual() && READ.containsKey(schema.path("pattern").asText()) && value.asText().matches(schema.path("pattern").asText())) {
            try {
                READ.get(schema.path("pattern").asText()).accept(value.asText());
            } catch (IllegalArgumentException | AgentException e) {
                errors.add(new ConfigError(key, e.getMessage()));
            }
        }
    }

    private ConfigError errorOf(ValidationMessage message) {
        String key = dotted(message);
        JsonNode schema = message.getSchemaNode();
        JsonNode value = message.getInstanceNode();
        return switch (message.getType()) {
            case "additionalProperties" -> new ConfigError(join(key, message.getProperty()),
                    "unknown key: " + Suggestion.of(message.getProperty(), names(message)));
            case "required" -> new ConfigError(join(key, message.getProperty()), "is required");
            case "type" -> new ConfigError(key, "must be %s, got %s".formatted(wanted(parent(message)), given(value)));
            case "enum" -> new ConfigError(key, "must be one of %s, got %s".formatted(joined(schema), given(value)));
            case "pattern" -> new ConfigError(key, mismatch(parent(message), value));
            default -> new ConfigError(key, message.getMessage().replaceFirst("^\\$[^:]*: ", ""));
        };
    }

    /** What a schema takes. */
    private static String wanted(JsonNode schema) {
        String written = WRITTEN.get(schema.path("pattern").asText());
        return written != null ? written : kinds(schema.path("type"));
    }

    private static String mismatch(JsonNode schema, JsonNode value) {
        String pattern = schema.path("pattern").asText();
        if (pattern.equals(SecretRef.PATTERN)) {
            return SecretRef.NO_NAME;
        } else if (WRITTEN.containsKey(pattern)) {
            return "must be %s, got %s".formatted(WRITTEN.get(pattern), given(value));
        }
        JsonNode examples = schema.path("examples");
        return examples.isEmpty() ? "must match %s, got %s".formatted(pattern, given(value))
                : "must be something like %s, got %s".formatted(examples.get(0).asText(), given(value));
    }

    /** Shows a value as the block has it; lists and mappings by their kind alone. */
    static String given(JsonNode value) {
        return value.isContainerNode() ? kind(value) : value.toString();
    }

    private List<String> names(ValidationMessage message) {
        List<String> names = new ArrayList<>();
        parent(message).path("properties").fieldNames().forEachRemaining(names::add);
        Collections.sort(names);
        return names;
    }

    /** The schema that holds the keyword which failed. */
    private JsonNode parent(ValidationMessage message) {
        JsonNode at = document;
        var location = message.getEvaluationPath();
        for (int i = 0; i < location.getNameCount() - 1; i++) {
            Object name = location.getElement(i);
            at = name instanceof Integer index ? at.path(index) : at.path(name.toString());
        }
        return at;
    }

    private static String joined(JsonNode values) {
        List<String> texts = new ArrayList<>();
        values.forEach(value -> texts.add(value.asText()));
        return String.join(", ", texts);
    }

    /** Where the wrong value is, as a key: limits.memory, hosts[2]. */
    private static String dotted(ValidationMessage message) {
        String key = "";
        var location = message.getInstanceLocation();
        for (int i = 0; i < location.getNameCount(); i++) {
            Object name = location.getElement(i);
            key = name instanceof Integer index ? key + "[" + index + "]" : join(key, name.toString());
        }
        return key;
    }

    private static String join(String key, String name) {
        return key.isEmpty() ? name : key + "." + name;
    }

    /** Of an optional key without null, which is as if it were not there. */
    private static String kinds(JsonNode types) {
        if (!types.isArray()) {
            return kind(types.asText());
        }
        List<String> kinds = new ArrayList<>();
        types.forEach(type -> kinds.add(kind(type.asText())));
        kinds.remove("null");
        return String.join(" or ", kinds);
    }

    private static String kind(String type) {
        return switch (type) {
            case "" -> "something else";
            case "null" -> "null";
            case "object" -> "a mapping";
            case "array" -> "a list";
            case "integer" -> "an integer";
            default -> "a " + type;
        };
    }

    static String kind(JsonNode value) {
        return value.isIntegralNumber() ? "an integer" : kind(value.getNodeType().name().toLowerCase(Locale.ROOT));
    }
}
