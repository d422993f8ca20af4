package fleet

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/route"
)

// downtime is since when a plugin has had no instance.
type downtime struct {
	looking sync.Mutex // whoever looks last sees the last change
	since   *time.Time // another pointer for each downtime; nil while there is none
}

// look notes whether there is an instance, and returns since when there is none; nil: there is one.
func (d *downtime) look(available func() bool) *time.Time {
	d.looking.Lock()
	defer d.looking.Unlock()
	if available() {
		d.since = nil
	} else if d.since == nil {
		now := time.Now()
		d.since = &now
	}
	return d.since
}

// available says whether an instance takes calls, as far as is known.
func (s *supervisor) available() bool {
	v := s.view.Load()
	if v.state.stopping || v.state.stopped || v.state.refused != nil || v.current == nil {
		return false
	}
	for _, slot := range *v.current.visible.Load() {
		if _, ok := slot.load(); ok {
			return true
		}
	}
	return false
}

// Trouble implements route.Target. It looks itself: a change shows in the slots just before the supervisor is told of it.
func (s *supervisor) Trouble() (route.Trouble, bool) {
	for since := s.down.look(s.available); since != nil; {
		reason := s.describe()
		still := s.down.look(s.available)
		if still == since { // or the reason may be of a plugin that has just come up
			return route.Trouble{Since: *since, Reason: reason}, true
		}
		since = still
	}
	return s.outOfReach()
}

// inVain is what a caller hears who waited for the plugin in vain.
func (s *supervisor) inVain() route.Trouble {
	if trouble, ok := s.Trouble(); ok {
		return trouble
	}
	return route.Trouble{Since: time.Now(), Reason: fmt.Sprintf("plugin %q has only just come up", s.name)}
}

// describe says what the plugin is doing instead of taking calls: neither how often it has, nor for how long.
func (s *supervisor) describe() string {
	v := s.view.Load()
	state, reason := v.doing()
	switch {
	case v.state.halted:
		return fmt.Sprintf("plugin %q is stopped: an operator stopped it", s.name)
	case v.state.refused != nil:
		return fmt.Sprintf("plugin %q is refused: %v", s.name, v.state.refused)
	case v.state.stopped:
		return fmt.Sprintf("plugin %q has stopped", s.name)
	case v.state.stopping && s.desired.Load().hostStops:
		return fmt.Sprintf("plugin %q is draining: the host is stopping", s.name)
	case v.state.stopping:
		return fmt.Sprintf("plugin %q is draining: it was taken out of the configuration", s.name)
	case reason == nil:
		return fmt.Sprintf("plugin %q is %s", s.name, state)
	default:
		return fmt.Sprintf("plugin %q is %s: %s", s.name, state, s.withoutName(reason))
	}
}

// doing is the best state of the current generation's instances, and why none is running.
func (v *view) doing() (best State, reason error) {
	best = Starting
	if v.current == nil {
		return best, nil
	}
	for i, s := range *v.current.visible.Load() {
		s.mu.Lock()
		if i == 0 || rank(s.state) < rank(best) {
			best = s.state
		}
		if s.reason != nil {
			reason = s.reason
		}
		s.mu.Unlock()
	}
	return best, reason
}

// withoutName is an error that begins with the plugin's name, as those of package plugin do, without it.
func (s *supervisor) withoutName(err error) string {
	text := err.Error()
	for _, prefix := range []string{"plugin " + s.name + ": ", fmt.Sprintf("plugin %q ", s.name)} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			return rest
		}
	}
	return text
}

// outOfReach is the trouble of a plugin whose servers run elsewhere and cannot be reached, though it is not given up yet.
func (s *supervisor) outOfReach() (route.Trouble, bool) {
	v := s.view.Load()
	if v.current == nil || !v.current.spec.Remote() {
		return route.Trouble{}, false
	}
	for _, slot := range *v.current.visible.Load() {
		slot.mu.Lock()
		running := slot.instance
		slot.mu.Unlock()
		remote, ok := running.(interface {
			Unreachable() (since time.Time, reason error, ok bool)
		})
		if !ok {
			continue
		}
		if since, reason, ok := remote.Unreachable(); ok {
			return route.Trouble{Since: since, Reason: fmt.Sprintf("plugin %q: none of its servers can be reached: %v", s.name, reason)}, true
		}
	}
	return route.Trouble{}, false
}
