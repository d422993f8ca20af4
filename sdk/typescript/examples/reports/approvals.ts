// Approvals are jobs that no service remembers: they wait, in files, until a task of another type says who approves.
import { asyncAgent, FailedPrecondition, queued, succeeded, syncAgent } from "agenthost";
import { JobStore } from "agenthost/jobstore";
import { z } from "zod";

const Approval = z.object({ question: z.string(), by: z.string().optional() });

let approvals: JobStore<typeof Approval> | undefined;

export function openApprovals(folder: string) {
  approvals = new JobStore(folder, Approval); // sandbox: {write: [the folder]}
}

function store(): JobStore<typeof Approval> {
  if (!approvals) throw new FailedPrecondition("there is no folder for approvals: set `config: {approvals: …}`");
  return approvals;
}

export const approval = asyncAgent({
  taskType: "approval",
  idempotentCreate: true,
  inputs: z.object({ question: z.string() }),
  meta: z.object({ id: z.string() }),
  create({ idempotencyKey: id, inputs: { question } }) {
    store().add(id, { question }); // the first of an attempt counts
    return { id };
  },
  get({ meta: { id } }) {
    const { question, by } = store().get(id);
    return by ? succeeded({ by }) : queued(`${question} Say so with a task of type approve: id=${id}`);
  },
  delete: ({ meta: { id } }) => store().delete(id),
});

export const approve = syncAgent({
  taskType: "approve",
  inputs: z.object({ id: z.string(), by: z.string() }),
  execute({ inputs: { id, by } }) {
    const { question } = store().update(id, (job) => ({ ...job, by })); // no other change comes between
    return succeeded({ question });
  },
});
