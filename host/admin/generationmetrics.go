package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/route"
)

// generationCollector reads what the calls on generations came to when it is asked for metrics. Only generations that calls go to, or
// are under way on, have series: their number is bounded, however often a plugin is swapped.
type generationCollector struct{ plugins func() []fleet.Status }

var (
	generationInfo = prometheus.NewDesc("agenthost_generation_info",
		"1, with the plugin's own version and what the generation is for: current, canary or draining. It is to be joined with the other metrics of generations.",
		[]string{"plugin", "generation", "version", "role"}, nil)
	generationCalls = prometheus.NewDesc("agenthost_generation_calls_total",
		"Calls on the generation that have ended, each try for itself, by outcome: ok, rejected (an error that a sound agent may answer with), error (the plugin's fault, whatever Flyte heard in its place), canceled (by its caller or the host, which says nothing of the plugin).",
		[]string{"plugin", "generation", "outcome"}, nil)
	generationDuration = prometheus.NewDesc("agenthost_generation_call_duration_seconds",
		"Time of calls on the generation, from when it got them, without those that are canceled.", []string{"plugin", "generation"}, nil)
)

// Describe implements prometheus.Collector.
func (c *generationCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- generationInfo
	descs <- generationCalls
	descs <- generationDuration
}

// Collect implements prometheus.Collector.
func (c *generationCollector) Collect(metrics chan<- prometheus.Metric) {
	type key struct {
		plugin, generation string
		role               fleet.Role
	}
	seen := map[key]bool{} // one of an equal spec has the same name: a restart, or a plugin that was removed and is wanted again
	first := func(k key) bool {
		was := seen[k]
		seen[k] = true
		return !was
	}
	for _, p := range c.plugins() {
		for i := range p.Generations {
			g := &p.Generations[i]
			if g.Role == fleet.RoleCandidate {
				continue
			}
			if first(key{p.Name, g.ID, g.Role}) {
				metrics <- prometheus.MustNewConstMetric(generationInfo, prometheus.GaugeValue, 1, p.Name, g.ID, g.Version, string(g.Role))
			}
			if !first(key{p.Name, g.ID, ""}) {
				continue
			}
			for _, outcome := range route.Outcomes {
				metrics <- prometheus.MustNewConstMetric(generationCalls, prometheus.CounterValue, float64(g.Calls.With(outcome)), p.Name, g.ID, outcome.String())
			}
			buckets := make(map[float64]uint64, len(route.BucketBounds))
			within := g.Calls.Cumulative()
			for n, bound := range route.BucketBounds {
				buckets[bound.Seconds()] = within[n]
			}
			metrics <- prometheus.MustNewConstHistogram(generationDuration, g.Calls.Calls(), g.Calls.Took().Seconds(), buckets, p.Name, g.ID)
		}
	}
}
