package fleet

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/route"
)

// The next host has the new generation alone. It cannot do what this one did, and says so.
func TestTheNextHostTellsThatARolloutWasCutShort(t *testing.T) {
	root, dir := openRunRoot(t), openState(t)
	next := echo("2")
	next.Rollout = steps(config.AbortIf{ErrorRate: 0.05, MinCalls: 10}, 50)
	next.Rollout.Steps[0].Pause = time.Hour
	begin := func() (running, Status) {
		f := hostOf(t, root, dir, only(echo("1")))
		f.apply(t, only(next))
		return f, f.status(t, "echo", func(s Status) bool { return s.Rollout != nil })
	}
	again := func() string {
		f := running{New(Options{Routes: &route.Current{}, RunRoot: root, State: dir, Memory: "manifests", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), &route.Current{}}
		t.Cleanup(f.end)
		events := f.Events(t.Context())
		f.Apply(only(next))
		<-f.Synced()
		for {
			switch e := <-events; e.State {
			case EventCutShort:
				f.end()
				return e.Cause
			case Running: // it would have come before
				f.end()
				return ""
			}
		}
	}

	f, _ := begin()
	f.end()
	if cause := again(); !strings.Contains(cause, "has ended in step 1 of its rollout") {
		t.Errorf("of a rollout it says %q", cause)
	}
	if cause := again(); cause != "" {
		t.Errorf("once more, of a host that had none, it says %q", cause)
	}

	f, s := begin()
	f.told(t, s.of(RoleCanary).ID, route.OutcomeError, 20)
	f.status(t, "echo", func(s Status) bool { return s.Rollout == nil && s.Aborts == 1 })
	f.apply(t, only(next))
	f.end()
	if cause := again(); !strings.Contains(cause, "though it was withdrawn") || !strings.Contains(cause, "20 of its 20 calls failed by its fault") {
		t.Errorf("of one that was withdrawn it says %q", cause)
	}
}

func TestOperatorsEndARolloutAndBeginItAgain(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	next := echo("2")
	next.Rollout = steps(config.AbortIf{ErrorRate: 0.05, MinCalls: 10}, 50)
	canary := f.apply(t, only(next))["echo"].Generation
	if _, err := f.Operate("echo", Retry); err == nil {
		t.Error("what was not withdrawn can be tried again")
	}
	f.told(t, canary, route.OutcomeError, 10)
	f.status(t, "echo", func(s Status) bool { return s.Aborts == 1 && len(s.Generations) == 1 })
	if got := f.apply(t, only(next))["echo"]; got.Action != Unchanged {
		t.Errorf("the same configuration again: %+v", got)
	}
	if got := f.operate(t, "echo", Retry); got.Action != Canary || got.Generation != canary {
		t.Errorf("tried again: %+v", got)
	}
	if s := f.status(t, "echo", func(s Status) bool { return s.Rollout != nil }); s.Rollout.Canary.Calls() != 0 {
		t.Errorf("tried again, it has %d calls already", s.Rollout.Canary.Calls())
	}
	if got := f.operate(t, "echo", Promote); got.Action != Swapped || got.Generation != canary {
		t.Errorf("promoted: %+v", got)
	}
	f.status(t, "echo", isVersion("2"))
	if _, err := f.Operate("echo", Promote); err == nil {
		t.Error("there is no canary, and it is promoted")
	}
}
