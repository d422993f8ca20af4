package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/route"
)

func generationOf(id string, role fleet.Role, calls ...route.Outcome) fleet.GenerationStatus {
	var tally route.Tally
	for _, outcome := range calls {
		tally.Tell(route.CallPoll, outcome, 3*time.Millisecond)
	}
	return fleet.GenerationStatus{ID: id, Role: role, Version: "v" + id, Calls: tally.Counts()}
}

// Each generation that has calls has series of its own, and whatever is listed twice has them once.
func TestCallsAreCountedByGeneration(t *testing.T) {
	plugins := []fleet.Status{
		{Name: "x", Generations: []fleet.GenerationStatus{
			generationOf("1", fleet.RoleCurrent, route.OutcomeOK, route.OutcomeOK, route.OutcomeCanceled),
			generationOf("2", fleet.RoleCanary, route.OutcomeError, route.OutcomeRejected),
			generationOf("3", fleet.RoleCandidate),
		}},
		{Name: "x", Generations: []fleet.GenerationStatus{generationOf("1", fleet.RoleCurrent)}}, // it was removed before, and drains
	}
	metrics := prometheus.NewPedanticRegistry()
	metrics.MustRegister(&generationCollector{func() []fleet.Status { return plugins }})
	const want = `# HELP agenthost_generation_info 1, with the plugin's own version and what the generation is for: current, canary or draining. It is to be joined with the other metrics of generations.
# TYPE agenthost_generation_info gauge
agenthost_generation_info{generation="1",plugin="x",role="current",version="v1"} 1
agenthost_generation_info{generation="2",plugin="x",role="canary",version="v2"} 1
# HELP agenthost_generation_calls_total Calls on the generation that have ended, each try for itself, by outcome: ok, rejected (an error that a sound agent may answer with), error (the plugin's fault, whatever Flyte heard in its place), canceled (by its caller or the host, which says nothing of the plugin).
# TYPE agenthost_generation_calls_total counter
agenthost_generation_calls_total{generation="1",outcome="canceled",plugin="x"} 1
agenthost_generation_calls_total{generation="1",outcome="error",plugin="x"} 0
agenthost_generation_calls_total{generation="1",outcome="ok",plugin="x"} 2
agenthost_generation_calls_total{generation="1",outcome="rejected",plugin="x"} 0
agenthost_generation_calls_total{generation="2",outcome="canceled",plugin="x"} 0
agenthost_generation_calls_total{generation="2",outcome="error",plugin="x"} 1
agenthost_generation_calls_total{generation="2",outcome="ok",plugin="x"} 0
agenthost_generation_calls_total{generation="2",outcome="rejected",plugin="x"} 1
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "agenthost_generation_info", "agenthost_generation_calls_total"); err != nil {
		t.Error(err)
	}
	all, err := testutil.GatherAndCount(metrics, "agenthost_generation_call_duration_seconds")
	if err != nil || all != 2 {
		t.Errorf("there are %d histograms (%v), want one for each generation", all, err)
	}
}

func BenchmarkGenerationMetrics(b *testing.B) {
	var plugins []fleet.Status
	for i := range 300 {
		plugins = append(plugins, fleet.Status{Name: fmt.Sprint("plugin", i), Generations: []fleet.GenerationStatus{generationOf("1", fleet.RoleCurrent, route.OutcomeOK)}})
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(&generationCollector{func() []fleet.Status { return plugins }})
	for b.Loop() {
		if _, err := metrics.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
