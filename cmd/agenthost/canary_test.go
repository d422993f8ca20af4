package main

import (
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

func aCanary(calls int) fleet.Status {
	count := func(calls, errors int, took time.Duration) route.Counts {
		var tally route.Tally
		for i := range calls {
			outcome := route.OutcomeOK
			if i < errors {
				outcome = route.OutcomeError
			}
			tally.Tell(route.CallPoll, outcome, took)
		}
		return tally.Counts()
	}
	canary, current := count(calls, calls/100, 20*time.Millisecond), count(1000, 2, 10*time.Millisecond)
	return fleet.Status{
		Name: "bigquery", State: fleet.Running, PID: 1, Started: time.Now(), Manifest: &plugin.Manifest{Version: "2.0"},
		Generations: []fleet.GenerationStatus{
			{ID: "9ac1b2", Role: fleet.RoleCurrent, State: fleet.Running, Percent: 50, Version: "2.0", Calls: current},
			{ID: "3fa1b2", Role: fleet.RoleCanary, State: fleet.Running, Percent: 50, Version: "2.1", Calls: canary},
		},
		Rollout: &fleet.RolloutStatus{
			Percent: 50, Since: time.Now().Add(-12 * time.Minute), Canary: canary, Current: current,
			Step: &fleet.StepStatus{Number: 2, Steps: 3, Began: time.Now(), Pause: 7 * time.Minute, Canary: canary, Current: current, MinCalls: 100},
		},
	}
}

func TestStatusComparesACanaryWithTheCurrentGeneration(t *testing.T) {
	address := serveStatus(t, true, func() []fleet.Status { return []fleet.Status{aCanary(400)} })
	got := agenthost(t, "status", "--admin", address)
	for _, want := range []string{
		"bigquery: canary 3fa1b2 2.1, 50 % of new jobs, beside 9ac1b2 2.0 for 12m",
		"calls 400 against 1000, errors 4 against 2: 1.0 % against 0.2 % (+0.8), p50 ", " times), p99 ",
		"step 2 of 3, waits for 7m0s; in it 400 of 100 calls, errors 1.0 % against 0.2 %",
	} {
		got.expect(t, 0, want, "")
	}
	few := serveStatus(t, true, func() []fleet.Status { return []fleet.Status{aCanary(99)} })
	got = agenthost(t, "status", "--admin", few)
	got.expect(t, 0, "calls 99 against 1000, errors 0 against 2: too few calls to tell, which takes 100 of each", "")
	got.expect(t, 0, "waits for 7m0s, and 99 of 100 calls", "")
}

// Whoever raises a canary's share reads first what it has done.
func TestReloadSaysWhatACanaryHasDoneWhoseRolloutItChanges(t *testing.T) {
	plan := []config.Change{{Plugin: "bigquery", Action: config.Updated, Keys: []string{"rollout.percent"}}, {Plugin: "duckdb", Action: config.Unchanged}}
	other := aCanary(400)
	other.Name = "duckdb"
	canaries := admin.Canaries(plan, []fleet.Status{aCanary(400), other, {Name: "hello"}})
	const want = "bigquery: canary 3fa1b2 2.1, 50 % of new jobs, beside 9ac1b2 2.0"
	if len(canaries) != 1 {
		t.Fatalf("got %d canaries, want that of bigquery alone", len(canaries))
	}
	address := reloadHost(t, admin.ReloadLine{Plan: plan}, admin.ReloadLine{Canaries: canaries}, admin.ReloadLine{Report: &admin.ReloadReport{Plan: plan, Canaries: canaries}})
	agenthost(t, "reload", "--admin", address).expect(t, 0, "bigquery: updated: rollout.percent\n1 plugin unchanged\n"+want, "")
}
