package injava;

import io.agenthost.sdk.AsyncAgent;
import io.agenthost.sdk.Job;
import io.agenthost.sdk.Plugin;
import io.agenthost.sdk.Resource;
import io.agenthost.sdk.Task;

/** Makes an author's mistakes, each in the creation of a task type of its own. */
final class Mistakes {
    record Config(String greeting) {}

    record Work(String name) {}

    record Wired(Thread results) {}

    /** An agent whose creations go wrong. */
    private abstract static class Mistaken<M> implements AsyncAgent<M> {
        @Override
        public Resource get(Job<M> job) {
            return Resource.succeeded();
        }

        @Override
        public void delete(Job<M> job) {}
    }

    private static final class WrongType extends Mistaken<Work> {
        @Override
        public Work create(Task task) {
            int count = task.input("name", int.class);
            return new Work(String.valueOf(count));
        }
    }

    private static final class Metadata extends Mistaken<Wired> {
        @Override
        public Wired create(Task task) {
            return new Wired(new Thread());
        }
    }

    private static final class Null extends Mistaken<Work> {
        @Override
        public Work create(Task task) {
            return null;
        }
    }

    private static final class Panic extends Mistaken<Work> {
        @Override
        public Work create(Task task) {
            String[] names = {};
            return new Work(names[3]);
        }
    }

    private static final class Block extends Mistaken<Work> {
        @Override
        public Work create(Task task) throws InterruptedException {
            Thread.sleep(Long.MAX_VALUE);
            return new Work("");
        }
    }

    private static final class MissingSecret extends Mistaken<Work> {
        @Override
        public Work create(Task task) {
            return new Work(task.secret("token").reveal());
        }
    }

    private static final class Exit extends Mistaken<Work> {
        @Override
        public Work create(Task task) {
            System.out.println("no license found");
            System.exit(1);
            return new Work("");
        }
    }

    public static void main(String[] args) {
        Plugin.named("mistakes", "1.0.0")
                .async("wrong_type", new WrongType())
                .async("metadata", new Metadata())
                .async("null", new Null())
                .async("panic", new Panic())
                .async("block", new Block())
                .async("secret", new MissingSecret())
                .async("exit", new Exit())
                .configure(Config.class, config -> {})
                .serve();
    }
}
