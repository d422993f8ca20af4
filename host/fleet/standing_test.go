package fleet

import (
	"errors"
	"slices"
	"testing"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

func TestHowItStandsWithAPlugin(t *testing.T) {
	up := &plugin.Manifest{}
	refuses := &plugin.StartError{Step: plugin.StepConfigure, Fault: plugin.FaultOfConfiguration}
	away := &plugin.StartError{Step: plugin.StepHealth, Fault: plugin.FaultOfService}
	died := errors.New("it was killed")
	for name, c := range map[string]struct {
		wanted wanted
		back   bool
		is     state
		best   State
		reason error
		want   Stand
		why    error
	}{
		"it has not been looked at":       {wanted: wanted{round: 2}, is: state{round: 1, manifest: up}, best: Running, want: Pending},
		"it starts":                       {best: Starting, want: Pending},
		"it runs and has claimed nothing": {best: Running, want: Pending},
		"it runs":                         {is: state{manifest: up}, best: Running, want: AsConfigured},
		"it runs again":                   {is: state{manifest: up}, best: Running, reason: died, want: AsConfigured},
		"it died":                         {is: state{manifest: up}, best: Restarting, reason: died, want: Failing, why: died},
		"what it needs is away":           {best: Restarting, reason: away, want: Failing, why: away},
		"it refuses its configuration":    {best: Restarting, reason: refuses, want: Wrong, why: refuses},
		"the next generation is starting": {is: state{manifest: up, candidate: member{number: 2}}, best: Running, want: Pending},
		"the next one refuses":            {is: state{manifest: up, swapError: refuses}, best: Running, want: Wrong, why: refuses},
		"the next one is away":            {is: state{manifest: up, swapError: away}, best: Running, want: Failing, why: away},
		"the next one is tried again":     {is: state{manifest: up, swapError: away, candidate: member{number: 3}}, best: Running, want: Failing, why: away},
		"its task types are others'":      {is: state{manifest: up, refused: refusal{}}, best: Running, want: Wrong, why: refusal{}},
		"an operator stopped it":          {wanted: wanted{round: 2, halted: true}, is: state{round: 1, manifest: up}, best: Running, want: Excused, why: errHalted},
		"an operator rolled it back":      {back: true, is: state{manifest: up}, best: Running, want: Wrong, why: errRolledBack},
		"a canary is out":                 {is: state{manifest: up, canary: member{number: 2}}, best: Running, want: AsConfigured},
	} {
		got, why := stand(desired{wanted: c.wanted, rolledBack: c.back}, c.is, c.best, c.reason)
		if got != c.want || brief(why) != brief(c.why) || (why == nil) != (c.why == nil) {
			t.Errorf("%s: %s, %v; want: %s, %v", name, got, why, c.want, c.why)
		}
	}
}

// It is of what was applied last, from Apply's return on.
func TestStandingsAreOfWhatWasAppliedLast(t *testing.T) {
	f := start(t, nil)
	stands := func() (all []Stand) {
		for _, s := range f.Standings() {
			all = append(all, s.Stand)
		}
		return all
	}
	until := func(want ...Stand) {
		t.Helper()
		wait.Until(t, "it stands so", func() bool { return slices.Equal(stands(), want) })
	}
	f.Apply(only(echo("1")))
	if got := stands(); !slices.Equal(got, []Stand{Pending}) {
		t.Errorf("at once: %v", got)
	}
	until(AsConfigured)
	f.Apply(only(echo("2")))
	if got := stands(); slices.Equal(got, []Stand{AsConfigured}) && f.status(t, "echo", func(Status) bool { return true }).Manifest.Version == "1" {
		t.Error("what ran before is taken for what is configured")
	}
	until(AsConfigured)
	f.status(t, "echo", isVersion("2"))

	refusing := echo("3")
	refusing.Command = badplugin.Command("configure-errors")
	settings := only(refusing)
	other := echo("1", "-agents", "other:async:other_task")
	settings.Plugins["other"] = other
	f.Apply(settings)
	until(Wrong, AsConfigured)
	if got := f.Standings()[0]; !got.Serves || got.Problem == nil || got.Brief != `it does not start, at the step "configure" (the configuration is at fault)` {
		t.Errorf("it is %+v", got)
	}
	for _, what := range []Operation{Stop, Disable} {
		if _, err := f.Operate("other", what); err != nil {
			t.Fatal(err)
		}
		until(Wrong, Excused)
	}
	f.Apply(only(echo("2")))
	until(AsConfigured)
}
