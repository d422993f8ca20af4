package io.agenthost.sdk;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.AnnotationIntrospector;
import com.fasterxml.jackson.databind.DeserializationConfig;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.AnnotatedMember;
import com.fasterxml.jackson.databind.introspect.BeanPropertyDefinition;
import com.fasterxml.jackson.databind.introspect.NopAnnotationIntrospector;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.util.TokenBuffer;
import com.flyteidl.core.Literal;
import io.agenthost.sdk.internal.Json;
import io.agenthost.sdk.literal.LiteralException;
import io.agenthost.sdk.literal.Literals;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;

/** Reads a task's inputs. */
final class Inputs {
    private static final PropertyNamingStrategies.SnakeCaseStrategy SNAKE_CASE = new PropertyNamingStrategies.SnakeCaseStrategy();

    /** Makes objects of properties that are read already, which it takes as they are. */
    private static final JsonMapper GIVEN = Json.MAPPER.rebuild().annotationIntrospector(AnnotationIntrospector.pair(new TakenAsGiven(),
            Json.MAPPER.getDeserializationConfig().getAnnotationIntrospector())).build();

    private Inputs() {}

    static <T> T read(Task task, String name, Type type) {
        Map<String, Literal> literals = task.literals();
        Literal literal = literals.get(name);
        if (literal == null) {
            throw AgentException.invalidArgument("input \"%s\" is missing: %s".formatted(name, literals.isEmpty()
                    ? "the task has no inputs" : "the task's inputs are " + String.join(", ", new TreeSet<>(literals.keySet()))));
        }
        try {
            return Literals.decode(literal, type);
        } catch (LiteralException e) {
            throw AgentException.invalidArgument("input \"%s%s\": %s".formatted(name, e.path(), e.problem())).causedBy(e);
        }
    }

    static <R> R readRecord(Task task, Class<R> type) {
        RecordComponent[] components = type.getRecordComponents();
        Object[] values = new Object[components.length];
        List<String> failures = new ArrayList<>();
        for (int i = 0; i < components.length; i++) {
            String name = nameOf(components[i]);
            boolean optional = components[i].getType() == Optional.class;
            try {
                values[i] = optional && !task.hasInput(name) ? Optional.empty() : read(task, name, components[i].getGenericType());
            } catch (AgentException e) {
                failures.add(e.getMessage());
            }
        }
        if (!failures.isEmpty()) {
            throw AgentException.invalidArgument(String.join("\n", failures));
        }
        return construct(type, components, values);
    }

    /** Reads the inputs of a class that Jackson makes, each by its property's type, and has Jackson put them together. */
    static <T> T readObject(Task task, Class<T> type) {
        DeserializationConfig config = GIVEN.getDeserializationConfig();
        List<String> failures = new ArrayList<>();
        try (TokenBuffer given = new TokenBuffer(GIVEN, false)) {
            given.writeStartObject();
            for (BeanPropertyDefinition property : config.introspect(config.constructType(type)).findProperties()) {
                if (!property.isRequired() && !task.hasInput(property.getName()) && property.getRawPrimaryType() != Optional.class) {
                    continue;
                }
                given.writeFieldName(property.getName());
                try {
                    given.writeEmbeddedObject(property.getRawPrimaryType() == Optional.class && !task.hasInput(property.getName())
                            ? Optional.empty() : read(task, property.getName(), property.getPrimaryType()));
                } catch (AgentException e) {
                    failures.add(e.getMessage());
                }
            }
            given.writeEndObject();
            if (!failures.isEmpty()) {
                throw AgentException.invalidArgument(String.join("\n", failures));
            }
            return GIVEN.readValue(given.asParser(), type);
        } catch (JsonProcessingException e) {
            Guard.rethrowAgentException(e);
            throw AgentException.invalidArgument("the inputs do not fit: " + Json.describe(e)).causedBy(e);
        } catch (IOException e) {
            throw new IllegalStateException("a buffer in memory can be read", e);
        }
    }

    private static final class TakenAsGiven extends NopAnnotationIntrospector {
        private static final long serialVersionUID = 1;

        @Override
        public Object findDeserializer(Annotated annotated) {
            return annotated instanceof AnnotatedMember ? Given.class : null;
        }
    }

    private static final class Given extends JsonDeserializer<Object> {
        @Override
        public Object deserialize(JsonParser json, DeserializationContext context) throws IOException {
            return json.getEmbeddedObject();
        }
    }

    private static String nameOf(RecordComponent component) {
        JsonProperty named = component.getAccessor().getAnnotation(JsonProperty.class);
        return named != null && !named.value().isEmpty() ? named.value() : SNAKE_CASE.translate(component.getName());
    }

    private static <R> R construct(Class<R> type, RecordComponent[] components, Object[] values) {
        try {
            Constructor<R> constructor = type.getDeclaredConstructor(
                    Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new));
            constructor.setAccessible(true);
            return constructor.newInstance(values);
        } catch (InvocationTargetException e) {
            Guard.rethrowAgentException(e.getCause());
            throw AgentException.invalidArgument("the inputs do not fit: " + Guard.describe(e.getCause())).causedBy(e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalArgumentException("the record %s cannot be made: %s".formatted(type.getName(), e.getMessage()), e);
        }
    }
}
