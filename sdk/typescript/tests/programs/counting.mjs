// Counts one job up, as each of several processes does at a time, in two threads.
import { Worker } from "node:worker_threads";
import { JobStore } from "agenthost/jobstore";
import { z } from "zod";

const [, program, folder, times, thread] = process.argv;
if (!thread) new Worker(program, { argv: [folder, times, "thread"] });
const store = new JobStore(folder, z.object({ count: z.int() }));
for (let i = 0; i < Number(times); i++) {
  store.add("a", { count: 0 });
  store.update("a", ({ count }) => ({ count: count + 1 }));
}
