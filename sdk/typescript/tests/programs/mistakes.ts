// Makes an author's mistakes, each in the creation of a task type of its own: see test/languages/mistakes.
import { asyncAgent, Plugin, secret, succeeded, type Task } from "agenthost";
import { z } from "zod";

const Config = z.object({ greeting: z.string().default("Hello") });

const Named = z.object({ name: z.string() });

class Wired {
  readonly results = new ReadableStream();
}

/** An agent whose creations go wrong. */
function mistaken<M extends z.ZodType>(taskType: string, meta: M, create: (task: Task) => z.output<M> | Promise<z.output<M>>) {
  return asyncAgent({ taskType, meta, create, get: () => succeeded(), delete: () => {} });
}

const agents = [
  mistaken("wrong_type", Named, (task) => ({ name: String(task.input("name", z.int())) })),
  mistaken("metadata", z.custom<Wired>(), () => new Wired()),
  mistaken("null", Named.optional(), () => undefined),
  mistaken("panic", Named, () => {
    const rows: { name: string }[] = [];
    return { name: (rows[3] as { name: string }).name };
  }),
  mistaken("block", Named, () => {
    for (;;); // waits for what never comes
  }),
  mistaken("secret", Named, () => ({ name: secret("token").reveal() })),
  mistaken("exit", Named, () => {
    console.log("no license found");
    process.exit(3);
  }),
];

new Plugin("mistakes", "1.0.0", agents).configure(Config, () => {}).serve();
