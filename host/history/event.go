package history

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agenthost/agenthost/host/config"
)

// Event is one thing that happened to a plugin or to the host. GET /events gives events as newline-delimited JSON, in their order.
type Event struct {
	// When it happened.
	Time time.Time `json:"time"`
	// The plugin's name; empty for what happened to the host.
	Plugin string `json:"plugin"`
	// The generation that changed; absent where the plugin as a whole did.
	Generation string `json:"generation,omitempty"`
	// The number of the instance, from 0, where one of the generation's instances changed.
	Instance *int `json:"instance,omitempty"`
	// What it is now: a state as in PluginStatus, or something that happens once, such as swapped or rolled back. Of the host: host started,
	// host ready, host stopping, host stopped, host lost, taken over, handed over, reloaded, reload refused. What an operator does:
	// the operation and "asked for", such as restart asked for; where it fails, then "failed", such as restart failed.
	State string `json:"state"`
	// What it was before; absent for what is new.
	Was string `json:"was,omitempty"`
	// Why.
	Cause string `json:"cause,omitempty"`
	// How long it was what it was before.
	Seconds float64 `json:"seconds"`
	// Who did it, as the log's line of the operation has it: a process and its user, an address, a token's name, SIGHUP, or a changed file;
	// absent where nobody did.
	By string `json:"by,omitempty"`
	// What a reload changed: plugins and keys, never values.
	Changes []config.Change `json:"changes,omitempty"`
	// The process of the host that it happened in.
	Host int `json:"host,omitempty"`
	// The number of the event in the life of that host, from 1.
	Seq uint64 `json:"seq,omitempty"`
}

// What happens to the host as a whole.
const (
	// HostStarted: the process is there, and starts its plugins.
	HostStarted = "host started"
	// HostReady: Flyte may send work.
	HostReady = "host ready"
	// HostStopping: it takes no more calls.
	HostStopping = "host stopping"
	// HostStopped: it has ended in order.
	HostStopped = "host stopped"
	// HostLost: it is gone, and has not said that it ends. The host after it says so.
	HostLost = "host lost"
	// TakenOver: it serves in the place of another host.
	TakenOver = "taken over"
	// HandedOver: another host serves in its place.
	HandedOver = "handed over"
	// Reloaded: the configuration was read again and is in effect.
	Reloaded = "reloaded"
	// ReloadRefused: it was read again, and what was in effect before still is.
	ReloadRefused = "reload refused"
)

// isOfHost says that an event is about the life of a host.
func isOfHost(e Event) bool {
	switch e.State {
	case HostStarted, HostReady, HostStopping, HostStopped, HostLost, TakenOver, HandedOver:
		return e.Plugin == ""
	}
	return false
}

// Asked is the state of an operation that somebody asks for.
func Asked(operation string) string { return operation + " asked for" }

// Failed is that of one that did not work.
func Failed(operation string) string { return operation + " failed" }

// What of one event is kept.
const (
	maxCause   = 1 << 10
	maxBy      = 256
	maxName    = 256
	maxChanges = 100
	maxKeys    = 40
	maxLine    = 32 << 10
)

// bounded is the event as it is kept: a plugin can have a lot of last words, and a configuration a lot of keys.
func (e Event) bounded() Event {
	e.Cause, e.By = cut(e.Cause, maxCause), cut(e.By, maxBy)
	e.Plugin, e.Generation, e.State, e.Was = cut(e.Plugin, maxName), cut(e.Generation, maxName), cut(e.State, maxName), cut(e.Was, maxName)
	if more := len(e.Changes) - maxChanges; more > 0 {
		e.Cause = cut(strings.TrimPrefix(e.Cause+fmt.Sprintf("; and %d changes more", more), "; "), maxCause)
		e.Changes = e.Changes[:maxChanges]
	}
	e.Changes = slices.Clone(e.Changes)
	for i := range e.Changes {
		change := &e.Changes[i]
		change.Plugin, change.Keys, change.Files = cut(change.Plugin, maxName), few(change.Keys), few(change.Files)
	}
	return e
}

func few(names []string) []string {
	var some []string
	for _, name := range names[:min(len(names), maxKeys)] {
		some = append(some, cut(name, maxName))
	}
	if more := len(names) - maxKeys; more > 0 {
		some = append(some, fmt.Sprintf("and %d more", more))
	}
	return some
}

// cut keeps the beginning of a text.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = "…"
	end := limit - len(more)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}
