package fleet

import "context"

// Action is what Apply did with a plugin.
type Action string

// The actions.
const (
	Unchanged Action = "unchanged" // its process stays; settings that leave it alone are in effect
	Started   Action = "started"   // it is new
	Swapped   Action = "swapped"   // calls go to a new generation
	Canary    Action = "canary"    // a new generation gets a share of new jobs
	Removed   Action = "removed"   // it has drained and is gone
	Failed    Action = "failed"    // the swap failed: the old generation serves on
	Halted    Action = "stopped"   // an operator stopped it, and nothing of it runs
	Disabled  Action = "disabled"  // an operator took it out of the configuration
)

// Outcome is what came of one plugin in a Round.
type Outcome struct {
	Plugin     string
	Action     Action
	Generation string
	Err        error // why it failed

	round int
}

// Round is one Apply.
type Round struct {
	number      int
	supervisors []*supervisor
	disabled    []string
}

// Wait waits until it is known of every plugin what came of it, and calls each (not at the same time) as it is. A plugin
// that a newer Apply decides about first is not reported. The error is ctx's.
func (r *Round) Wait(ctx context.Context, each func(Outcome)) error {
	for _, name := range r.disabled {
		each(Outcome{Plugin: name, Action: Disabled})
	}
	for _, s := range r.supervisors {
		for {
			signal := *s.signal.Load()
			v := s.view.Load()
			if decided := v.state.outcome.Action != Started || s.up(v); decided && v.state.outcome.round == r.number {
				outcome := v.state.outcome
				outcome.Plugin = s.name
				if outcome.Action == Started {
					outcome.Err = v.startError()
				}
				each(outcome)
				break
			}
			if v.state.outcome.round > r.number || v.state.stopped {
				break
			}
			select {
			case <-signal:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// up says whether it is known how the first start went.
func (s *supervisor) up(v *view) bool {
	return v.state.manifest != nil || v.startError() != nil
}

// startError is why a plugin that never served does not.
func (v *view) startError() error {
	if v.state.refused != nil {
		return v.state.refused
	}
	if v.state.manifest != nil || v.current == nil {
		return nil
	}
	for _, s := range *v.current.visible.Load() {
		s.mu.Lock()
		err := s.reason
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
