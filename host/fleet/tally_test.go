package fleet

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/route"
)

func (s Status) of(role Role) GenerationStatus {
	for _, g := range s.Generations {
		if g.Role == role {
			return g
		}
	}
	return GenerationStatus{}
}

// told makes calls about jobs of a generation, which come to something.
func (f running) told(t *testing.T, generation string, outcome route.Outcome, calls int) {
	t.Helper()
	for range calls {
		lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{Generation: generation})
		if err != nil {
			t.Fatal(err)
		}
		lease.Tally.Tell(route.CallPoll, outcome, 10*time.Millisecond)
		lease.Release()
	}
}

func TestACanaryIsComparedWithWhatTheCurrentGenerationHasDoneBesideIt(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	old := f.status(t, "echo", isRunning).Generations[0].ID
	f.told(t, old, route.OutcomeError, 7) // long before there is a canary
	next := echo("2")
	next.Rollout.Percent = 25
	canary := f.apply(t, only(next))["echo"].Generation
	f.told(t, old, route.OutcomeOK, 3)
	f.told(t, canary, route.OutcomeError, 2)

	s := f.status(t, "echo", func(s Status) bool { return s.Rollout != nil })
	of := s.of(RoleCurrent)
	if of.ID != old || of.Calls.Calls() != 10 || of.Calls.Errors() != 7 || of.Counted.After(s.Rollout.Since) {
		t.Errorf("the current generation has %d calls and %d errors since %v", of.Calls.Calls(), of.Calls.Errors(), of.Counted)
	}
	if of := s.of(RoleCanary); of.ID != canary || of.Calls.Calls() != 2 || of.Calls.Errors() != 2 {
		t.Errorf("the canary has %d calls and %d errors", of.Calls.Calls(), of.Calls.Errors())
	}
	r := s.Rollout
	if r.Percent != 25 || r.Current.Calls() != 3 || r.Current.Errors() != 0 || r.Canary.Calls() != 2 || r.Canary.ErrorRate() != 1 {
		t.Errorf("compared are %d and %d calls, with %d and %d errors", r.Canary.Calls(), r.Current.Calls(), r.Canary.Errors(), r.Current.Errors())
	}

	next.Rollout.Percent = 50 // is no other rollout
	f.apply(t, only(next))
	if again := f.status(t, "echo", func(s Status) bool { return s.Rollout != nil && s.Rollout.Percent == 50 }).Rollout; again.Canary.Calls() != 2 || !again.Since.Equal(r.Since) {
		t.Errorf("another share has compared anew: %d calls since %v", again.Canary.Calls(), again.Since)
	}
	f.apply(t, only(echo("1")))
	if s := f.status(t, "echo", func(s Status) bool { return len(s.Generations) == 1 }); s.Rollout != nil || s.Generations[0].Calls.Calls() != 10 {
		t.Errorf("without a canary: %+v, %d calls", s.Rollout, s.Generations[0].Calls.Calls())
	}
}

// A call that waits for a generation in vain never comes to one of its instances, and it is the generation's failure all the same.
func TestACallThatWaitsInVainIsPutDownToItsGeneration(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	old := f.status(t, "echo", isRunning).Generations[0].ID
	next := echo("2")
	next.Rollout.Percent = 50
	next.Restart.InitialBackoff, next.Restart.MaxBackoff = 5*time.Minute, 5*time.Minute
	f.apply(t, only(next))
	up := f.status(t, "echo", func(s Status) bool { return s.of(RoleCanary).State == Running }).of(RoleCanary)
	if err := syscall.Kill(up.Instances[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.status(t, "echo", func(s Status) bool { return s.of(RoleCanary).State == Restarting })
	target := f.route(t, "echo_task").Target
	wait := func(ctx context.Context, want route.Want) {
		if lease, err := target.Acquire(ctx, want); err == nil {
			lease.Release()
		}
	}
	pinned := route.Want{Generation: up.ID, Call: route.CallPoll}
	short, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	wait(short, pinned)
	gone, cancel := context.WithCancel(soon(t))
	cancel()
	wait(gone, pinned)
	s := f.status(t, "echo", func(s Status) bool { return s.Rollout != nil })
	polls := s.Rollout.Canary.Of(route.CallPoll)
	if polls.Errors() != 1 || s.Rollout.Canary.Calls() != 1 {
		t.Errorf("the canary has %d calls, of them %d polls that failed; want one, the other's caller had gone", s.Rollout.Canary.Calls(), polls.Errors())
	}
	if s.of(RoleCurrent).ID != old || s.Rollout.Current.Calls() != 0 {
		t.Errorf("the other generation has %d calls", s.Rollout.Current.Calls())
	}
}

// Equal specs are one generation: what it has counted goes on, as its metrics must.
func TestARestartedGenerationGoesOnCounting(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	before := f.status(t, "echo", isRunning).Generations[0]
	f.told(t, before.ID, route.OutcomeOK, 4)
	if got := f.operate(t, "echo", Restart); got.Action != Swapped {
		t.Fatalf("got %+v", got)
	}
	f.told(t, before.ID, route.OutcomeOK, 1)
	after := f.status(t, "echo", isRunning).Generations[0]
	if after.ID != before.ID || after.Calls.Calls() != 5 || !after.Counted.Equal(before.Counted) {
		t.Errorf("%s has %d calls since %v; want %s, 5, since %v", after.ID, after.Calls.Calls(), after.Counted, before.ID, before.Counted)
	}
}
