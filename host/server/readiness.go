package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/route"
)

// readiness decides when a host that has been started is ready for the first time. Its goroutine (run) owns what it decides; others
// read it.
type readiness struct {
	settings config.Ready
	plugins  *fleet.Fleet
	routes   *route.Current
	// atOnce is for a host that takes over from another, which judges whether it may.
	atOnce bool
	began  time.Time

	// first is closed when the host may be ready, and listed when discovery may be answered: what is listed is whole, or as whole as it
	// is going to be.
	first, listed chan struct{}
	// waits are those that it waits for, nil where it does not wait for plugins; without those that it was ready without.
	waits, without atomic.Pointer[[]fleet.Standing]
}

func newReadiness(settings config.Ready, plugins *fleet.Fleet, routes *route.Current, atOnce bool) *readiness {
	return &readiness{
		settings: settings, plugins: plugins, routes: routes, atOnce: atOnce, began: time.Now(), first: make(chan struct{}), listed: make(chan struct{}),
	}
}

// verdict is what firstReady decides.
type verdict struct {
	ready, listed bool
	// waits are the plugins that are waited for, or that it is ready without, with givenUp.
	waits   []fleet.Standing
	givenUp bool
}

// firstReady decides whether a host is ready, once all plugins have been tried (synced), and whether what it lists is what Flyte may be told.
//
// A host that lists nothing, though it has plugins, is never ready: Flyte would hear that there are no such task types, and send their tasks
// elsewhere, which is worse than a host that is away.
func firstReady(settings config.Ready, synced, late, lists bool, standings []fleet.Standing) verdict {
	var v verdict
	counted, allListed := 0, true
	for _, s := range standings {
		if s.Stand == fleet.Excused {
			continue
		}
		counted++
		allListed = allListed && s.Listed
		if s.Stand != fleet.AsConfigured {
			v.waits = append(v.waits, s)
		}
	}
	waitsForAll := settings.Plugins == config.ReadyAll && len(v.waits) > 0
	switch {
	case !synced:
	case counted == 0:
		v.ready, v.waits = true, nil
	case !lists: // and waits are why
	case !waitsForAll:
		v.ready, v.waits = true, nil
	case late:
		v.ready, v.givenUp = true, true
	}
	v.listed = v.ready || lists && (allListed || settings.Plugins != config.ReadyAll)
	return v
}

// run decides until the host is ready for the first time.
func (r *readiness) run(ctx context.Context, tell teller) {
	late := time.NewTimer(time.Until(r.began.Add(r.settings.GiveUp)))
	defer late.Stop()
	isLate, told := false, false
	synced, known := r.plugins.Synced(), r.plugins.Listed()
	for {
		changed := r.plugins.Changed()
		v := firstReady(r.settings, isClosed(r.plugins.Synced()), isLate, len(r.routes.Table().Names()) > 0, r.plugins.Standings())
		if r.atOnce && isClosed(r.plugins.Synced()) {
			v = verdict{ready: true, listed: true}
		}
		r.waits.Store(&v.waits)
		if v.listed && isClosed(r.plugins.Listed()) && !isClosed(r.listed) {
			close(r.listed)
		}
		if v.ready {
			if v.givenUp {
				r.without.Store(&v.waits)
				tell.givenUp(v.waits)
			}
			r.waits.Store(nil)
			close(r.first)
			return
		}
		if isClosed(r.plugins.Synced()) && !told {
			told = true
			tell.waiting(v.waits)
		}
		select {
		case <-changed:
		case <-synced:
			synced = nil
		case <-known:
			known = nil
		case <-late.C:
			isLate = true
		case <-ctx.Done():
			return
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// teller tells what is decided.
type teller struct {
	waiting, givenUp func([]fleet.Standing)
}

// missing are the plugins that the host was ready without and that do not run as configured still.
func (r *readiness) missing() []fleet.Standing {
	without := r.without.Load()
	if without == nil {
		return nil
	}
	var missing []fleet.Standing
	for _, s := range r.plugins.Standings() {
		of := func(w fleet.Standing) bool { return w.Plugin == s.Plugin }
		if s.Stand != fleet.AsConfigured && s.Stand != fleet.Excused && slices.ContainsFunc(*without, of) {
			missing = append(missing, s)
		}
	}
	return missing
}

// state is how ready the host is, and why no more.
func (h *host) state() admin.Readiness {
	state := admin.Readiness{Ready: h.ready.Load(), Without: h.readiness.missing()}
	if state.Ready {
		return state
	}
	waits := h.readiness.waits.Load()
	switch {
	case h.stopping.Err() != nil || h.isSucceeded():
		state.Why = "the host is stopping"
	case !isClosed(h.plugins.Synced()):
		state.Why = "the host is starting its plugins for the first time"
	case waits == nil || len(*waits) == 0:
		state.Why = "the host is starting"
	case len(h.routes.Table().Names()) == 0:
		state.Why, state.Waits = "none of its plugins runs", *waits
	default:
		state.Why = fmt.Sprintf("it waits for all of its plugins (ready: all), until %s", h.readiness.began.Add(h.readiness.settings.GiveUp).UTC().Format(time.RFC3339))
		state.Waits = *waits
	}
	return state
}

// teller is what the log and the events have of it.
func (h *host) teller() teller {
	return teller{
		waiting: func(waits []fleet.Standing) {
			h.options.Log.Warn("the host is not ready: it waits for plugins", "ready", h.readiness.settings.Plugins, "give_up", h.readiness.settings.GiveUp, "plugins", inLine(waits))
		},
		givenUp: func(without []fleet.Standing) {
			h.options.Log.Error("ready.give_up is over: the host is ready without plugins of its configuration", "plugins", inLine(without))
			h.plugins.GiveUp(without)
		},
	}
}

// inLine is how it stands with plugins, in a line.
func inLine(standings []fleet.Standing) string {
	var all []string
	for _, s := range standings {
		text := fmt.Sprintf("%s is %s", s.Plugin, s.Stand)
		if s.Problem != nil {
			text += ": " + s.Problem.Error()
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}
