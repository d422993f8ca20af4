package page

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
)

const (
	// maxHappened is how many events are at hand, the newest of the last day.
	maxHappened = 2000
	// Past is how far back they go.
	Past = 24 * time.Hour
	// span is what the timeline shows, and marksIn how many places it has.
	span, marksIn = time.Hour, 120
	// eventsShown is how many events a page lists.
	eventsShown = 15
)

// happened is what has happened, the newest last.
type happened struct {
	mu     sync.Mutex
	events []history.Event
	more   chan struct{} // has an element when there is one that nobody has looked for
}

// Run takes note of what happens, until ctx ends or the host stops.
func (p *Page) Run(ctx context.Context) {
	for e := range p.options.Events(ctx) {
		p.happened.add(e)
	}
}

func (h *happened) add(e history.Event) {
	h.mu.Lock()
	if len(h.events) >= 2*maxHappened {
		h.events = slices.Clone(h.events[len(h.events)-maxHappened:])
	}
	h.events = append(h.events, e)
	h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
}

// now is what has happened so far.
func (h *happened) now() []history.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.events[max(0, len(h.events)-maxHappened):len(h.events):len(h.events)]
}

// kindOf is what an event is for the timeline; empty for what is in lists only.
func kindOf(e history.Event) string {
	switch e.State {
	case string(fleet.EventSwapped):
		return "swap"
	case string(fleet.EventCanary):
		return "canary"
	case string(fleet.EventRolledBack):
		return "rollback"
	case string(fleet.Restarting), string(fleet.CrashLooping), string(fleet.EventOverMemory):
		return "crash"
	case string(fleet.EventSwapFailed), history.ReloadRefused, history.HostLost:
		return "failure"
	case history.Reloaded, history.HostStarted, history.TakenOver:
		return "host"
	}
	if strings.HasSuffix(e.State, " asked for") {
		return "operator"
	}
	return ""
}

// kinds are the kinds of events in the timeline, in the order of its legend.
var kinds = []string{"swap", "canary", "rollback", "crash", "failure", "operator", "host"}

// timeline is the last hour at a glance.
type timeline struct {
	Label string
	Kinds []kindCount
	Marks []mark
	From  time.Time
}

type kindCount struct {
	Kind  string
	Count int
}

// mark is a place at which something has happened, of each kind once.
type mark struct {
	Kind string
	X    int // from 0 to marksIn
}

// timelineOf is the timeline of events up to now. It goes on in steps of its places.
func timelineOf(events []history.Event, now time.Time) timeline {
	const place = span / marksIn
	end := now.Truncate(place).Add(place)
	t := timeline{From: end.Add(-span)}
	counts := map[string]int{}
	seen := map[mark]bool{}
	for _, e := range events {
		kind := kindOf(e)
		if kind == "" || e.Time.Before(t.From) {
			continue
		}
		counts[kind]++
		m := mark{kind, min(int(e.Time.Sub(t.From)/place), marksIn-1)}
		if !seen[m] {
			seen[m] = true
			t.Marks = append(t.Marks, m)
		}
	}
	var words []string
	for _, kind := range kinds {
		if n := counts[kind]; n > 0 {
			t.Kinds = append(t.Kinds, kindCount{kind, n})
			words = append(words, fmt.Sprintf("%s %d", kind, n))
		}
	}
	t.Label = "last hour: " + strings.Join(words, ", ")
	if len(words) == 0 {
		t.Label = "last hour: nothing of note"
	}
	return t
}

// eventRow is something that happened.
type eventRow struct {
	Time                                                time.Time
	Plugin, Generation, State, Was, Cause, Instance, By string
	Changes                                             []string
}

func eventOf(e admin.Event) eventRow {
	row := eventRow{Time: e.Time.Round(time.Second), Plugin: e.Plugin, Generation: short(e.Generation), State: e.State, Was: e.Was, Cause: cut(600, e.Cause), By: e.By}
	if e.Instance != nil {
		row.Instance = count(*e.Instance)
	}
	for _, change := range e.Changes[:min(len(e.Changes), 10)] {
		if change.Action != config.Unchanged {
			row.Changes = append(row.Changes, cut(300, change.String()))
		}
	}
	return row
}

// happening is a timeline with the newest events.
type happening struct {
	Timeline timeline
	Rows     []eventRow
	// OfOne says that they are all of one plugin.
	OfOne bool
}

// happeningOf are the newest of the events that are wanted.
func happeningOf(s *snapshot, wanted func(history.Event) bool, listed func(history.Event) bool) happening {
	var h happening
	var all []history.Event
	for _, e := range s.events {
		if wanted(e) {
			all = append(all, e)
		}
	}
	h.Timeline = timelineOf(all, s.at)
	for _, e := range slices.Backward(all) {
		if len(h.Rows) == eventsShown {
			break
		}
		if listed(e) {
			h.Rows = append(h.Rows, eventOf(e))
		}
	}
	return h
}

// happeningPart is what has happened to the host and all plugins.
func happeningPart(s *snapshot) part {
	all := func(history.Event) bool { return true }
	return part{id: "happening", template: "part-happening", data: happeningOf(s, all, func(e history.Event) bool { return kindOf(e) != "" })}
}

// happeningTo is what has happened to a plugin.
func happeningTo(s *snapshot, plugin string) part {
	of := func(e history.Event) bool {
		return e.Plugin == plugin || slices.ContainsFunc(e.Changes, func(c config.Change) bool { return c.Plugin == plugin && c.Action != config.Unchanged })
	}
	h := happeningOf(s, of, of)
	h.OfOne = true
	for i := range h.Rows {
		h.Rows[i].Changes = slices.DeleteFunc(h.Rows[i].Changes, func(change string) bool {
			return !strings.HasPrefix(change, plugin+":") && !strings.HasPrefix(change, plugin+" ")
		})
	}
	return part{id: "happening", template: "part-happening", data: h}
}
