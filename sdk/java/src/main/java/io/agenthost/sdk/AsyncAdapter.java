package io.agenthost.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.flyteidl.core.ExecutionMetricResult;
import com.google.protobuf.ByteString;
import io.agenthost.sdk.internal.Json;
import java.util.List;

/** An {@link AsyncAgent} with its metadata as bytes, so that agents of all types fit in one table. */
final class AsyncAdapter<M> {
    private final AsyncAgent<M> agent;
    private final JavaType metaType;

    AsyncAdapter(AsyncAgent<M> agent) {
        this.agent = agent;
        this.metaType = Json.MAPPER.constructType(agent.getClass()).findTypeParameters(AsyncAgent.class)[0];
        if (metaType.isJavaLangObject() && !(agent instanceof MetaCodec)) {
            throw new IllegalArgumentException("the metadata's type of %s cannot be told: write it as a class that implements AsyncAgent<ItsType>"
                    .formatted(agent.getClass().getName()));
        }
    }

    ByteString create(Task task) throws Exception {
        return encoded(agent.create(task));
    }

    boolean finds() {
        return agent instanceof Finder;
    }

    ByteString find(Task task) throws Exception {
        return encoded(finder().find(task));
    }

    void abandon(Task task) throws Exception {
        finder().abandon(task);
    }

    @SuppressWarnings("unchecked")
    private Finder<M> finder() {
        if (agent instanceof Finder<?> finder) {
            return (Finder<M>) finder;
        }
        throw AgentException.unimplemented("it does not find jobs by their key");
    }

    /** Writes the metadata, and reads it at once: what cannot be read would be a job that nobody finds again. */
    @SuppressWarnings("unchecked")
    private ByteString encoded(M meta) throws Exception {
        if (meta == null) {
            throw AgentException.internal("it returned null, by which no poll finds the job: return its %s".formatted(metaType.getRawClass().getSimpleName()));
        }
        if (agent instanceof MetaCodec<?> codec) {
            byte[] written = ((MetaCodec<M>) codec).encodeMeta(meta);
            if (written == null) {
                throw AgentException.internal("encodeMeta returned null: return the bytes that Flyte keeps of the job");
            }
            ((MetaCodec<M>) codec).decodeMeta(written);
            return ByteString.copyFrom(written);
        }
        return ByteString.copyFrom(KeptMetadata.write(meta, metaType));
    }

    Resource get(Job<ByteString> job) throws Exception {
        return agent.get(typed(job));
    }

    void delete(Job<ByteString> job) throws Exception {
        agent.delete(typed(job));
    }

    void logs(Job<ByteString> job, LogQuery query, LogStream out) throws Exception {
        agent.logs(typed(job), query, out);
    }

    List<ExecutionMetricResult> metrics(Job<ByteString> job, MetricsQuery query) throws Exception {
        return agent.metrics(typed(job), query);
    }

    /** Reads the metadata that create wrote, perhaps in an older or newer version of the plugin. */
    private Job<M> typed(Job<ByteString> job) {
        return new Job<>(meta(job.meta().toByteArray()), job.category(), job.outputPrefix(), job.connection());
    }

    @SuppressWarnings("unchecked")
    private M meta(byte[] data) {
        try {
            if (agent instanceof MetaCodec<?> codec) {
                return ((MetaCodec<M>) codec).decodeMeta(data);
            }
            if (data.length == 0) {
                throw notAJob("it is empty, not JSON", null);
            }
            M meta = Json.MAPPER.readValue(data, metaType);
            if (meta == null) {
                throw notAJob("it is null, not a JSON object", null);
            }
            return meta;
        } catch (AgentException e) {
            throw e;
        } catch (JsonProcessingException e) {
            Guard.rethrowAgentException(e);
            throw notAJob((Json.path(e) + " " + Json.describe(e)).strip(), e);
        } catch (Exception e) {
            throw notAJob(Guard.describe(e), e);
        }
    }

    private static AgentException notAJob(String why, Exception cause) {
        AgentException exception = AgentException.invalidArgument("resource_meta is not a job that this agent made: " + why);
        return cause == null ? exception : exception.causedBy(cause);
    }
}
