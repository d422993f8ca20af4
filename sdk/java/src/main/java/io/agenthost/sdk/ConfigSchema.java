package io.agenthost.sdk;

import com.fasterxml.classmate.ResolvedType;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
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
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;

/** The JSON Schema of a configuration's type, and what it has against a block. */
final class ConfigSchema {
    private static final PropertyNamingStrategies.SnakeCaseStrategy SNAKE_CASE = new PropertyNamingStrategies.SnakeCaseStrategy();

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
                .with(new JacksonModule(JacksonOption.RESPECT_JSONPROPERTY_REQUIRED, JacksonOption.FLATTENED_ENUMS_FROM_JSONVALUE,
                        JacksonOption.FLATTENED_ENUMS_FROM_JSONPROPERTY))
                .with(Option.FORBIDDEN_ADDITIONAL_PROPERTIES_BY_DEFAULT, Option.ADDITIONAL_FIXED_TYPES, Option.MAP_VALUES_AS_ADDITIONAL_PROPERTIES,
                        Option.INLINE_ALL_SCHEMAS, Option.FLATTENED_OPTIONALS);
        builder.forFields().withPropertyNameOverrideResolver(ConfigSchema::snakeCase).withDefaultResolver(ConfigSchema::defaultOf);
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

    private static String snakeCase(FieldScope field) {
        JsonProperty property = field.getAnnotationConsideringFieldAndGetterIfSupported(JsonProperty.class);
        return property != null && !property.value().isEmpty() ? null : SNAKE_CASE.translate(field.getDeclaredName());
    }

    /** The default that {@code @JsonProperty(defaultValue = …)} says: text for text, JSON for everything else. */
    private static Object defaultOf(FieldScope field) {
        JsonProperty property = field.getAnnotationConsideringFieldAndGetterIfSupported(JsonProperty.class);
        if (property == null || property.defaultValue().isEmpty()) {
            return null;
        }
        try {
            Class<?> type = field.getType().getErasedType();
            boolean json = type.isPrimitive() || Number.class.isAssignableFrom(type) || type == Boolean.class
                    || type.isArray() || Iterable.class.isAssignableFrom(type) && type != Path.class;
            return json ? Configuration.parse(property.defaultValue()) : JsonNodeFactory.instance.textNode(property.defaultValue());
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

    /** Everything that the schema has against a block, sorted by key. Adds the defaults to the block. */
    List<ConfigError> check(ObjectNode block) {
        List<ConfigError> errors = new ArrayList<>();
        for (ValidationMessage message : validator.walk(block, true).getValidationMessages()) {
            errors.add(errorOf(message));
        }
        return errors.stream().distinct().sorted(Comparator.comparing(ConfigError::key).thenComparing(ConfigError::message)).toList();
    }

    private ConfigError errorOf(ValidationMessage message) {
        String key = dotted(message);
        JsonNode schema = message.getSchemaNode();
        JsonNode value = message.getInstanceNode();
        return switch (message.getType()) {
            case "additionalProperties" -> new ConfigError(join(key, message.getProperty()),
                    "unknown key: " + Suggestion.of(message.getProperty(), names(message)));
            case "required" -> new ConfigError(join(key, message.getProperty()), "is required");
            case "type" -> new ConfigError(key, "must be %s, got %s".formatted(kind(schema.asText()), kindOf(value)));
            case "enum" -> new ConfigError(key, "must be one of %s, got %s".formatted(joined(schema), value.asText()));
            case "pattern" -> new ConfigError(key, pattern(message, value));
            default -> new ConfigError(key, message.getMessage().replaceFirst("^\\$[^:]*: ", ""));
        };
    }

    private String pattern(ValidationMessage message, JsonNode value) {
        JsonNode examples = parent(message).path("examples");
        return examples.isEmpty()
                ? "must match %s, got \"%s\"".formatted(message.getSchemaNode().asText(), value.asText())
                : "must be something like %s, got \"%s\"".formatted(examples.get(0).asText(), value.asText());
    }

    private List<String> names(ValidationMessage message) {
        List<String> names = new ArrayList<>();
        parent(message).path("properties").fieldNames().forEachRemaining(names::add);
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

    private static String kind(String type) {
        return switch (type) {
            case "null" -> "null";
            case "object" -> "a mapping";
            case "array" -> "a list";
            case "integer" -> "an integer";
            default -> "a " + type;
        };
    }

    private static String kindOf(JsonNode value) {
        return value.isIntegralNumber() ? "an integer" : kind(value.getNodeType().name().toLowerCase(Locale.ROOT));
    }
}
