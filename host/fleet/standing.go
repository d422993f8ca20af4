package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
)

// Standing is how it stands with what the configuration says of a plugin.
type Standing struct {
	Plugin string
	Stand  Stand
	// Problem is why it does not run as configured; nil where it does, or where that is not known yet.
	Problem error
	// Brief is Problem without anything that the plugin or the configuration says.
	Brief string
	// Listed says that what it serves, or served before the host was restarted, is in the route table.
	Listed bool
	// Serves says that calls are taken: by what is configured, or by what was before.
	Serves bool
}

// Stand is one of the ways in which it may stand.
type Stand string

// The stands.
const (
	// AsConfigured: it runs, and is what the configuration says.
	AsConfigured Stand = "as configured"
	// Pending: it is on its way.
	Pending Stand = "pending"
	// Failing: it does not run as configured, and that is tried again.
	Failing Stand = "failing"
	// Wrong: it does not run as configured, and only another configuration, or an operator, helps.
	Wrong Stand = "refused"
	// Excused: an operator stopped or disabled it. It counts for nothing.
	Excused Stand = "excused"
)

// Stands are all of them.
var Stands = []Stand{AsConfigured, Pending, Failing, Wrong, Excused}

// Standings says it of each plugin of the configuration, by name. What Apply was last given is what counts, from its return on.
func (f *Fleet) Standings() []Standing {
	f.mu.Lock()
	supervisors := slices.Collect(maps.Values(f.supervisors))
	f.mu.Unlock()
	standings := make([]Standing, 0, len(supervisors))
	for _, s := range supervisors {
		standings = append(standings, s.standing())
	}
	for _, status := range f.disabled() {
		standings = append(standings, Standing{Plugin: status.Name, Stand: Excused, Problem: status.Reason, Brief: brief(status.Reason)})
	}
	slices.SortFunc(standings, func(a, b Standing) int { return strings.Compare(a.Plugin, b.Plugin) })
	return standings
}

// Changed is closed when anything in Standings may have changed since it was asked for.
func (f *Fleet) Changed() <-chan struct{} { return *f.changed.Load() }

// change tells those who wait for a change.
func (f *Fleet) change() {
	fresh := make(chan struct{})
	close(*f.changed.Swap(&fresh))
}

// Tell tells of what happens to the host as a whole.
func (f *Fleet) Tell(e Event) {
	e.Time = time.Now()
	f.events.send(e)
}

// GiveUp tells of plugins that the host does not wait for any longer.
func (f *Fleet) GiveUp(standings []Standing) {
	for _, s := range standings {
		cause := string(s.Stand)
		if s.Problem != nil {
			cause = s.Problem.Error()
		}
		f.events.send(Event{Time: time.Now(), Plugin: s.Plugin, State: EventGivenUp, Cause: cause})
	}
}

func (s *supervisor) standing() Standing {
	wanted, v := s.desired.Load(), s.view.Load()
	best, reason := v.doing()
	standing := Standing{Plugin: s.name, Serves: s.available(), Listed: v.state.accepted || v.state.recalled != nil}
	standing.Stand, standing.Problem = stand(*wanted, v.state, best, reason)
	standing.Brief = brief(standing.Problem)
	return standing
}

var errRolledBack = errors.New("an operator rolled it back")

// stand decides how it stands with a plugin, by what is wanted, what there is of it, and the best state of the current generation's instances
// with the reason for it.
func stand(wanted desired, is state, best State, reason error) (Stand, error) {
	switch {
	case wanted.halted:
		return Excused, errHalted
	case is.round != wanted.round: // nobody has looked yet
		return Pending, nil
	case is.refused != nil:
		return Wrong, is.refused
	case is.swapError != nil:
		return standOf(is.swapError), is.swapError
	case wanted.rolledBack:
		return Wrong, errRolledBack
	case is.candidate.exists():
		return Pending, nil
	case best == Running && is.manifest != nil:
		return AsConfigured, nil
	case best == Running, reason == nil: // it has not claimed its task types, or is starting
		return Pending, nil
	}
	return standOf(reason), reason
}

// standOf is how it stands with a plugin that does not run for this reason.
func standOf(err error) Stand {
	if conflict := (refusal{}); errors.As(err, &conflict) || plugin.FaultOf(err) == plugin.FaultOfConfiguration {
		return Wrong
	}
	return Failing
}

// brief is an error in the host's own words.
func brief(err error) string {
	var failed *plugin.StartError
	var conflict refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &failed) && failed.Exited != "":
		return fmt.Sprintf("it does not start, at the step %q: it %s (%v)", failed.Step, failed.Exited, failed.Fault)
	case errors.As(err, &failed):
		return fmt.Sprintf("it does not start, at the step %q (%v)", failed.Step, failed.Fault)
	case errors.As(err, &conflict):
		return "the task types that it lists belong to other plugins"
	case errors.Is(err, errHalted), errors.Is(err, errDisabled), errors.Is(err, errRolledBack):
		return err.Error()
	}
	return "it does not stay up"
}
