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

// window is since when a canary and the current generation are compared, and what both had counted by then.
type window struct {
	canary, current             int // the numbers of the generations
	since                       time.Time
	canaryBefore, currentBefore route.Counts
}

// windowOf is a view's window: a new one where one of its generations is another one than in the last.
func (v *view) windowOf(last *window) *window {
	switch {
	case v.canary == nil || v.current == nil:
		return nil
	case last != nil && last.canary == v.canary.number && last.current == v.current.number:
		return last
	}
	return &window{v.canary.number, v.current.number, time.Now(), v.canary.tally.Counts(), v.current.tally.Counts()}
}

// RolloutStatus is what a canary has done beside the current generation.
type RolloutStatus struct {
	// Percent is the canary's share of new jobs.
	Percent int
	// Since is when it began, and Canary and Current are what both have counted since.
	Since           time.Time
	Canary, Current route.Counts
}

func (v *view) rollout() *RolloutStatus {
	if v.window == nil {
		return nil
	}
	return &RolloutStatus{
		Percent: v.state.canary.settings.Rollout.Percent, Since: v.window.since,
		Canary:  v.canary.tally.Counts().Since(&v.window.canaryBefore),
		Current: v.current.tally.Counts().Since(&v.window.currentBefore),
	}
}
