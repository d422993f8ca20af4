package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// The fleet runs two generations of a plugin as long as the host lives, and the next host has the configuration alone, which names the
// newer one: all jobs go to it. That is told, and not done in silence.

// savedRollout is what of a plugin's rollout the next host is to know. The zero value is nothing.
type savedRollout struct {
	Generation string    // the canary, or what was withdrawn
	Step       int       `json:",omitempty"` // from 0
	Began      time.Time `json:",omitzero"`  // the step
	Withdrawn  string    `json:",omitempty"` // why
}

func (s *state) savedRollout() savedRollout {
	switch {
	case s.canary.exists():
		return savedRollout{Generation: s.canary.id, Step: s.stage.step, Began: s.stage.began}
	case len(s.rejected) > 0 && s.swapError != nil:
		return savedRollout{Generation: s.rejected[len(s.rejected)-1], Withdrawn: s.swapError.Error()}
	case len(s.rejected) > 0: // there has been another configuration since
		return savedRollout{Generation: s.rejected[len(s.rejected)-1], Withdrawn: longAgo}
	}
	return savedRollout{}
}

// longAgo is why something was withdrawn where that is not remembered.
const longAgo = "it crash-looped, or was worse than the one before it"

// rollouts is that of all plugins, as it is kept.
type rollouts struct {
	mu  sync.Mutex
	all map[string]savedRollout // by plugin name
}

// keepRollout remembers how it stands with a plugin's rollout.
func (f *Fleet) keepRollout(name string, is savedRollout) {
	r := &f.rollouts
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.all[name]; was == is || is.Withdrawn == longAgo && was.Generation == is.Generation && was.Withdrawn != "" {
		return
	}
	if is == (savedRollout{}) {
		delete(r.all, name)
	} else {
		r.all[name] = is
	}
	f.memory.keepRollouts(r.all)
}

// tellCutShort tells of rollouts that ended with the host before this one.
func (f *Fleet) tellCutShort() {
	r := &f.rollouts
	r.mu.Lock()
	r.all = f.memory.rollouts()
	before := make(map[string]savedRollout, len(r.all))
	for name, was := range r.all {
		before[name] = was
	}
	r.mu.Unlock()
	for name, was := range before {
		entry, configured := f.settingsOf(name)
		if !configured || revisionOf(f.specOf(name, entry), entry).id != was.Generation {
			continue
		}
		cause := fmt.Sprintf("the host has ended in step %d of its rollout, and keeps no older generation: all jobs go to generation %s", was.Step+1, was.Generation)
		if was.Withdrawn != "" {
			cause = fmt.Sprintf("the host has ended, and keeps no older generation: all jobs go to generation %s though it was withdrawn: %s", was.Generation, was.Withdrawn)
		}
		f.options.Log.Warn("a rollout is cut short", "plugin", name, "generation", was.Generation, "cause", cause)
		f.events.send(Event{Time: time.Now(), Plugin: name, Generation: was.Generation, State: EventCutShort, Was: EventCanary, Cause: cause})
	}
}

// rolloutsFile has a name that no plugin has.
const rolloutsFile = "_rollouts"

// rollouts remembers how it stood with rollouts in the host before this one.
func (m memory) rollouts() map[string]savedRollout {
	all := map[string]savedRollout{}
	if m.state == nil {
		return all
	}
	content, _, err := m.state.Read(m.file(rolloutsFile), memoryFormat)
	if err == nil {
		err = json.Unmarshal(content, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Error("which rollouts were under way when the host ended cannot be read", "error", err)
		return map[string]savedRollout{}
	}
	return all
}

func (m memory) keepRollouts(all map[string]savedRollout) {
	if m.state == nil {
		return
	}
	content, err := json.Marshal(all)
	if err == nil {
		err = m.state.Write(m.file(rolloutsFile), memoryFormat, content)
	}
	if err != nil {
		m.log.Warn("which rollouts are under way cannot be kept for the next start of the host", "error", err)
	}
}
