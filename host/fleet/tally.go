package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/agenthost/agenthost/host/route"
)

// tally is what the calls on a generation came to since it was started.
type tally struct {
	route.Tally
	since time.Time
}

// tallyOf is the tally of a generation: one that is restarted goes on with its own, since equal specs are one generation.
func (s *supervisor) tallyOf(id string) *tally {
	for _, g := range s.generations {
		if g.id == id {
			return g.tally
		}
	}
	return &tally{since: time.Now()}
}

// missed counts a call that waited in vain for an instance of the generation that it was for.
func (v *view) missed(want route.Want, ended error, waited time.Duration) {
	if !errors.Is(ended, context.DeadlineExceeded) {
		return // its caller has gone
	}
	g := v.current
	if v.canary != nil && want.Generation == v.canary.id { // new jobs do not wait for it
		g = v.canary
	}
	if g != nil {
		g.tally.Tell(want.Call, route.OutcomeError, waited)
	}
}

// window is since when a canary and the current generation are compared, as a whole and within a step, and what both had counted by then.
type window struct {
	canary, current int // the numbers of the generations
	step            int
	since           time.Time
	whole, inStep   counted
}

type counted struct{ canary, current route.Counts }

// windowOf is a view's window: a new one where one of its generations is another one than in the last.
func (v *view) windowOf(last *window) *window {
	if v.canary == nil || v.current == nil {
		return nil
	}
	again := last != nil && last.canary == v.canary.number && last.current == v.current.number
	if again && last.step == v.state.stage.step {
		return last
	}
	now := counted{v.canary.tally.Counts(), v.current.tally.Counts()}
	next := &window{v.canary.number, v.current.number, v.state.stage.step, time.Now(), now, now}
	if again {
		next.since, next.whole = last.since, last.whole
	}
	return next
}

// since is what both generations have counted since.
func (v *view) since(before *counted) counted {
	return counted{v.canary.tally.Counts().Since(&before.canary), v.current.tally.Counts().Since(&before.current)}
}

// measureInterval is how often a canary with steps is looked at.
const measureInterval = 500 * time.Millisecond

// due is when it is next; never, where there is none.
func (s *supervisor) due() <-chan time.Time {
	if s.measuring == nil {
		return nil
	}
	return s.measuring.C
}

func (s *supervisor) measureNothing() {
	if s.measuring != nil {
		s.measuring.Stop()
		s.measuring = nil
	}
}

// measure is what decide goes by.
func (v *view) measure() (measured, bool) {
	if v.window == nil {
		return measured{}, false
	}
	now := v.since(&v.window.inStep)
	return measured{v.canary.number, v.window.step, now.canary, now.current}, true
}

// RolloutStatus is what a canary has done beside the current generation.
type RolloutStatus struct {
	// Percent is the canary's share of new jobs.
	Percent int
	// Since is when it began, and Canary and Current are what both have counted since.
	Since           time.Time
	Canary, Current route.Counts
	// Step is where it stands; nil where it has no steps.
	Step *StepStatus
}

// StepStatus is where a rollout by steps stands.
type StepStatus struct {
	// Number is the step's, from 1, of Steps.
	Number, Steps int
	// Began is when it began, and Pause how long it takes at least.
	Began time.Time
	Pause time.Duration
	// Canary and Current are what both have counted since, and MinCalls how many of the canary's there have to be.
	Canary, Current route.Counts
	MinCalls        int
	// Promoted says that the last step is over.
	Promoted bool
}

func (v *view) rollout() *RolloutStatus {
	if v.window == nil {
		return nil
	}
	whole, rollout := v.since(&v.window.whole), v.state.canary.settings.Rollout
	status := &RolloutStatus{Percent: v.state.share(), Since: v.window.since, Canary: whole.canary, Current: whole.current}
	if n := len(rollout.Steps); n > 0 {
		now, step := v.since(&v.window.inStep), min(v.state.stage.step, n-1)
		status.Step = &StepStatus{
			Number: step + 1, Steps: n, Began: v.state.stage.began, Pause: rollout.Steps[step].Pause,
			Canary: now.canary, Current: now.current, MinCalls: rollout.AbortIf.MinCalls, Promoted: v.state.stage.promoted,
		}
	}
	return status
}
