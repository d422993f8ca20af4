package io.agenthost.snowflake;

import com.flyteidl.core.LiteralMap;
import com.flyteidl.core.TaskTemplate;
import io.agenthost.sdk.literal.Literals;
import io.agenthost.sdk.testing.TestTask;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Tasks as real flytekit compiles them, with inputs. */
final class Tasks {
    private Tasks() {}

    static void compile(Path folder) throws IOException, InterruptedException {
        Programs.run(Programs.environment("connectors").resolve("python").toString(), "src/test/resources/tasks.py", folder.toString());
    }

    static TestTask of(Path folder, String name) throws IOException {
        TaskTemplate template = TaskTemplate.parseFrom(Files.readAllBytes(folder.resolve(name + ".template.pb")));
        TestTask task = TestTask.of(template);
        LiteralMap.parseFrom(Files.readAllBytes(folder.resolve(name + ".inputs.pb"))).getLiteralsMap().forEach((input, literal) ->
                task.input(input, Literals.decode(literal, Object.class), template.getInterface().getInputs().getVariablesOrThrow(input).getType()));
        return task;
    }
}
