package hello;

import io.agenthost.sdk.*;
import java.util.Map;

/** The smallest Flyte agent: its tasks greet whom their input names. */
public class Hello implements AsyncAgent<Hello.Greeting> {
    record Greeting(String name) {}

    public Greeting create(Task task) {
        return new Greeting(task.input("name", String.class));
    }

    public Resource get(Job<Greeting> job) {
        return Resource.succeeded(Map.of("greeting", "Hello, " + job.meta().name()));
    }

    public void delete(Job<Greeting> job) {}

    public static void main(String[] args) {
        Plugin.named("hello", "1.0.0").async("hello", new Hello()).serve();
    }
}
