// The smallest Flyte agent: its tasks greet whom their input names.
import { asyncAgent, Plugin, succeeded } from "agenthost";
import { z } from "zod";

const hello = asyncAgent({
  taskType: "hello",
  inputs: z.object({ name: z.string() }),
  outputs: z.object({ greeting: z.string() }),
  meta: z.object({ name: z.string() }), // what Flyte keeps of a job
  create: (task) => ({ name: task.inputs.name }),
  get: (job) => succeeded({ greeting: `Hello, ${job.meta.name}` }),
  delete: () => {},
});

new Plugin("hello", "1.0.0", [hello]).serve();
