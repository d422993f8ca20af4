package admin

import (
	"time"

	"github.com/agenthost/agenthost/host/config"
)

// ReloadLine is one line of what POST /reload answers, as newline-delimited JSON. Exactly one of its fields is set: first
// comes the plan, then the events as they happen, last the report. Without a report the host broke off. With ?dry_run=1 nothing
// is done: the report, which has the plan, comes at once.
type ReloadLine struct {
	Plan   []config.Change `json:"plan,omitempty"`
	Event  *Event          `json:"event,omitempty"`
	Report *ReloadReport   `json:"report,omitempty"`
}

// ReloadReport is what a reload came to.
type ReloadReport struct {
	// Plan is what the configuration changed: the host itself first, then the plugins by name.
	Plan []config.Change `json:"plan"`
	// Plugins is what became of each plugin, by name; empty for a dry run.
	Plugins []PluginReload `json:"plugins,omitempty"`
	// Error is why nothing was done, such as mistakes in the configuration; empty where something was.
	Error string `json:"error,omitempty"`
	// Errors are the mistakes in the configuration that Error sums up.
	Errors config.Errors `json:"errors,omitempty"`
}

// PluginReload is what a reload did to one plugin.
type PluginReload struct {
	Name string `json:"name"`
	// Action is what was done, in the fleet's words, such as started, swapped, unchanged, removed.
	Action string `json:"action"`
	// State is the plugin's state afterwards, as in PluginStatus; empty for one that was removed.
	State string `json:"state,omitempty"`
	// Error is why the new configuration does not serve; what served before goes on.
	Error string `json:"error,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
}

// Failed says whether anything went wrong.
func (r ReloadReport) Failed() bool {
	for _, p := range r.Plugins {
		if p.Error != "" {
			return true
		}
	}
	return r.Error != ""
}

// Event is one change of a plugin's state. GET /events streams them as newline-delimited JSON, in their order, until the
// reader goes away.
type Event struct {
	Time   time.Time `json:"time"`
	Plugin string    `json:"plugin"`
	// Generation is the generation that changed; empty where the plugin as a whole did.
	Generation string `json:"generation,omitempty"`
	// Instance is the number of the instance, from 0, where one of the generation's instances changed.
	Instance *int `json:"instance,omitempty"`
	// State is what it is now, Was what it was before; Was is empty for what is new.
	State string `json:"state"`
	Was   string `json:"was,omitempty"`
	// Cause is why.
	Cause string `json:"cause,omitempty"`
	// Seconds is how long it was what it was before.
	Seconds float64 `json:"seconds"`
}
