package io.agenthost.sdk.internal;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.BeanDescription;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonSerializer;
import com.fasterxml.jackson.databind.SerializationConfig;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.ser.BeanSerializerModifier;
import com.fasterxml.jackson.databind.ser.impl.UnknownSerializer;
import com.fasterxml.jackson.databind.ser.std.BeanSerializerBase;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import java.lang.reflect.Proxy;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.locks.Lock;

/**
 * Refuses to write what does something rather than being something. Jackson makes an object of whatever has getters, a thread's
 * priority and a connection's settings included, and an empty one of what has none.
 */
final class NoValues extends BeanSerializerModifier {
    private static final long serialVersionUID = 1;
    private static final List<Class<?>> DOERS = List.of(AutoCloseable.class, Runnable.class, Executor.class, Future.class, CompletionStage.class,
            Lock.class, Throwable.class, ClassLoader.class, Process.class);

    @Override
    public JsonSerializer<?> modifySerializer(SerializationConfig config, BeanDescription bean, JsonSerializer<?> given) {
        Class<?> type = bean.getBeanClass();
        if (type.isRecord() || !(given instanceof BeanSerializerBase || given instanceof UnknownSerializer)) {
            return given;
        }
        if (given instanceof UnknownSerializer) {
            return new Refusal(type, "has no getters or public fields, and would be written as {}");
        }
        return doesSomething(type) ? new Refusal(type, "is no value: give what it stands for, such as an id or a name") : given;
    }

    private static boolean doesSomething(Class<?> type) {
        String module = String.valueOf(type.getModule().getName());
        return module.startsWith("java.") || module.startsWith("jdk.") || type.isHidden() || Proxy.isProxyClass(type)
                || DOERS.stream().anyMatch(doer -> doer.isAssignableFrom(type));
    }

    /** Throws in the place of writing. */
    private static final class Refusal extends StdSerializer<Object> {
        private static final long serialVersionUID = 1;
        private final String why;

        Refusal(Class<?> type, String why) {
            super(Object.class);
            this.why = "a Java %s %s".formatted(type.getSimpleName(), why);
        }

        @Override
        public void serialize(Object value, JsonGenerator json, SerializerProvider provider) throws JsonMappingException {
            throw JsonMappingException.from(json, why);
        }

        @Override
        public boolean isEmpty(SerializerProvider provider, Object value) {
            return false;
        }
    }
}
