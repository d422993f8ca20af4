// The metrics of a plugin's own, of all its threads. Both ends of prom-client's registries are here: what a thread has counted is a
// list of its objects.

/** What one thread has counted, as prom-client's `getMetricsAsJSON` gives it. */
export type Counted = readonly Metric[];

interface Metric {
  readonly name: string;
  readonly type: string;
  readonly aggregator?: string;
  readonly values: readonly { readonly labels?: Readonly<Record<string, unknown>> }[];
}

/**
 * In Prometheus' text format. What several threads count is added up, or put together as the metric's `aggregator` says.
 *
 * prom-client would add up the quantiles of a summary, too, and what each thread says of the whole process: the first are left out
 * where several threads have them, since they cannot be put together, and of the second one thread's is taken.
 */
export async function textOf(threads: readonly Counted[]): Promise<string> {
  const { AggregatorRegistry } = await import("prom-client");
  const having = new Map<string, number>();
  for (const { name } of threads.flat()) having.set(name, (having.get(name) ?? 0) + 1);
  const together = (metric: Metric): Metric => {
    if (having.get(metric.name) === 1) return metric;
    if (metric.name.startsWith("process_")) return { ...metric, aggregator: "first" };
    if (metric.type !== "summary") return metric;
    return { ...metric, values: metric.values.filter(({ labels }) => labels?.quantile === undefined) };
  };
  return AggregatorRegistry.aggregate(threads.map((counted) => counted.map(together))).metrics();
}
