package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.flyteidl.core.Identifier;
import com.flyteidl.core.NodeExecutionIdentifier;
import com.flyteidl.core.SimpleType;
import com.flyteidl.core.TaskExecution;
import com.flyteidl.core.TaskExecutionIdentifier;
import com.flyteidl.core.WorkflowExecutionIdentifier;
import com.google.protobuf.Struct;
import io.agenthost.sdk.internal.Json;
import io.agenthost.sdk.literal.Types;
import io.agenthost.sdk.testing.AgentTest;
import io.agenthost.sdk.testing.TestTask;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** What crosses between host and agent, beyond inputs and outputs. */
class WireTest {
    record Golden(String name, WorkflowName execution, String node, TaskName task, long retryAttempt, String outputPrefix, String key) {
        record WorkflowName(String project, String domain, String name) {}

        record TaskName(String project, String domain, String name, String version) {}

        TaskExecutionIdentifier attempt() {
            return TaskExecutionIdentifier.newBuilder()
                    .setTaskId(Identifier.newBuilder().setProject(task.project).setDomain(task.domain).setName(task.name).setVersion(task.version))
                    .setNodeExecutionId(NodeExecutionIdentifier.newBuilder().setNodeId(node).setExecutionId(WorkflowExecutionIdentifier.newBuilder()
                            .setProject(execution.project).setDomain(execution.domain).setName(execution.name)))
                    .setRetryAttempt((int) retryAttempt).build();
        }
    }

    /** Hosts and the SDKs of all languages agree on the keys: the contract has them in one file. */
    @Test
    void idempotencyKeysAreThoseOfTheContract() throws Exception {
        String keys = Files.readString(Path.of("../../proto/agenthost/plugin/v1/testdata/idempotency_keys.json"));
        Golden[] cases = Json.MAPPER.readValue(keys, Golden[].class);
        assertTrue(cases.length >= 12, "there are " + cases.length + " cases");
        for (Golden golden : cases) {
            assertEquals(golden.key, Wire.idempotencyKey(golden.attempt(), golden.outputPrefix), golden.name);
        }
    }

    record Wanted(long maxRows, Optional<String> region) {}

    @Test
    void aTaskTellsEverythingThatWasSent() throws Exception {
        AtomicReference<Task> seen = new AtomicReference<>();
        SyncAgent agent = task -> {
            seen.set(task);
            return Resource.succeeded();
        };
        try (AgentTest test = AgentTest.of(Plugin.named("p", "1").sync("query", agent))) {
            test.run(TestTask.of("query").version(3).sql("select 1").config("warehouse", "small").custom(Map.of("n", 1)).outputPrefix("s3://b/o")
                    .idempotencyKey("k").secret("token", "hunter2").input("max_rows", 5).output("o", Types.simple(SimpleType.INTEGER)));
        }
        Task task = seen.get();
        assertEquals(new Category("query", 3), task.category());
        assertEquals("select 1", task.sql());
        assertEquals(Map.of("warehouse", "small"), task.config());
        assertEquals("s3://b/o", task.outputPrefix());
        assertEquals("k", task.idempotencyKey());
        assertEquals(new Wanted(5, Optional.empty()), task.inputs(Wanted.class));
        assertEquals(Map.of("max_rows", 5L), task.inputs());
        assertEquals("hunter2", task.secret("token").reveal());
        assertFalse(task.connection().toString().contains("hunter2"), task.connection().toString());
        assertEquals(Types.simple(SimpleType.INTEGER), task.outputTypes().byName().get("o"));
    }

    @Test
    void outputTypesCanBeKeptInMetadata() throws Exception {
        OutputTypes types = new OutputTypes(Map.of("o", Types.optional(Types.listOf(Types.simple(SimpleType.FLOAT)))));
        assertEquals(types, Json.MAPPER.readValue(Json.MAPPER.writeValueAsString(types), OutputTypes.class));
        String newer = "{\"o\": {\"simple\": \"FLOAT\", \"fieldOfTomorrow\": 1}}";
        assertEquals(Types.simple(SimpleType.FLOAT), Json.MAPPER.readValue(newer, OutputTypes.class).byName().get("o"));
    }

    @Test
    void outputsMustBeTheDeclaredOnes() {
        OutputTypes types = new OutputTypes(Map.of("a", Types.simple(SimpleType.INTEGER)));
        assertTrue(failure(Map.of(), types).contains("output a is declared but missing"));
        assertTrue(failure(Map.of("a", 1, "b", 2), types).contains("output b is not one that the task declares: a"));
        assertTrue(failure(Map.of("a", "x"), types).contains("output a: a Java String cannot be written as integer"));
    }

    @Test
    void outputsThatDoNotFitAreTheEndOfAJobAtItsFirstPoll() throws Exception {
        OutputTypes types = new OutputTypes(Map.of("a", Types.simple(SimpleType.INTEGER)));
        var ended = Wire.polled(Resource.succeeded(Map.of("a", 1, "b", 2)).withOutputTypes(types));
        assertEquals(TaskExecution.Phase.FAILED, ended.getPhase());
        assertEquals("BadOutputs", ended.getAgentError().getCode());
        assertEquals("output b is not one that the task declares: a", ended.getMessage());
    }

    private static String failure(Map<String, ?> outputs, OutputTypes types) {
        return assertThrows(IllegalArgumentException.class, () -> Wire.resource(Resource.succeeded(outputs), types)).getMessage();
    }

    @Test
    void agentsThatContradictEachOtherAreRefused() {
        SyncAgent sync = task -> Resource.succeeded();
        Plugin plugin = Plugin.named("p", "1").sync("a", sync);
        assertTrue(assertThrows(IllegalArgumentException.class, () -> plugin.sync("a", sync)).getMessage().contains("has two agents"));
        assertTrue(assertThrows(IllegalArgumentException.class, () -> plugin.async("a", new AgentsTest.Counter(), new Registration().atVersion(2).named("b")))
                .getMessage().contains("agents of both kinds"));
        assertTrue(assertThrows(IllegalArgumentException.class, () -> plugin.async("b", new AgentsTest.Counter(), new Registration().named("a")))
                .getMessage().contains("two names"));
    }

    @Test
    void theCustomInfoKeepsEveryDigit() throws Exception {
        Struct info = Wire.structOf(Map.of("rows", 3, "id", (1L << 53) + 1, "all", List.of(BigInteger.TEN.pow(30), 0.5)));
        assertEquals(3, info.getFieldsOrThrow("rows").getNumberValue());
        assertEquals("9007199254740993", info.getFieldsOrThrow("id").getStringValue());
        assertEquals("1" + "0".repeat(30), info.getFieldsOrThrow("all").getListValue().getValues(0).getStringValue());
        assertEquals(0.5, info.getFieldsOrThrow("all").getListValue().getValues(1).getNumberValue());
    }
}
