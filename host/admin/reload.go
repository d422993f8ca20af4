package admin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
)

// ReloadLine is one line of what POST /reload answers, as newline-delimited JSON. Exactly one of its fields is set: first
// comes the plan, then canaries, then the events as they happen, last the report. Without a report the host broke off. With ?dry_run=1 nothing
// is done: the report, which has the plan, comes at once.
type ReloadLine struct {
	// What the configuration changed, which comes first.
	Plan []config.Change `json:"plan,omitempty"`
	// What the canaries whose rollout it changes have done so far, which comes next, if there are any.
	Canaries []Canary `json:"canaries,omitempty"`
	// What happens meanwhile.
	Event *Event `json:"event,omitempty"`
	// What is waited for, every second.
	Waits *Waits `json:"waits,omitempty"`
	// What came of it, which comes last.
	Report *ReloadReport `json:"report,omitempty"`
}

// ReloadReport is what a reload came to.
type ReloadReport struct {
	// What the configuration changed: the host itself first, then the plugins by name.
	Plan []config.Change `json:"plan"`
	// What the canaries whose rollout it changes have done so far.
	Canaries []Canary `json:"canaries,omitempty"`
	// What became of each plugin, by name; empty for a dry run.
	Plugins []PluginReload `json:"plugins,omitempty"`
	// Why nothing was done, such as mistakes in the configuration; absent where something was.
	Error string `json:"error,omitempty"`
	// The mistakes in the configuration that error sums up.
	Errors config.Errors `json:"errors,omitempty"`
}

// Canary is the rollout of one plugin.
type Canary struct {
	// The plugin's name.
	Plugin string `json:"plugin"`
	// How its canary does.
	Rollout RolloutStatus `json:"rollout"`
}

// Canaries are those of the plugins that a plan changes.
func Canaries(plan []config.Change, plugins []fleet.Status) []Canary {
	changes := map[string]bool{}
	for _, change := range plan {
		changes[change.Plugin] = change.Action != config.Unchanged
	}
	var all []Canary
	for i := range plugins {
		if rollout := rolloutStatus(&plugins[i]); rollout != nil && changes[plugins[i].Name] {
			all = append(all, Canary{plugins[i].Name, *rollout})
		}
	}
	return all
}

// PluginReload is what a reload did to one plugin.
type PluginReload struct {
	// The plugin's name.
	Name string `json:"name"`
	// What was done: such as started, swapped, unchanged, removed.
	Action string `json:"action"`
	// The plugin's state afterwards, as in PluginStatus; absent for one that was removed.
	State string `json:"state,omitempty"`
	// Why the new configuration does not serve; what served before goes on.
	Error string `json:"error,omitempty"`
	// How long it took.
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

// failure is what went wrong, if anything did.
func (r ReloadReport) failure() error {
	var all []error
	if r.Error != "" {
		all = append(all, errors.New(r.Error))
	}
	for _, p := range r.Plugins {
		if p.Error != "" {
			all = append(all, fmt.Errorf("%s: %s", p.Name, p.Error))
		}
	}
	return errors.Join(all...)
}

// Changes are the changes of a plan in few words.
func Changes(plan []config.Change) string {
	var all []string
	for _, change := range plan {
		if change.Action != config.Unchanged {
			all = append(all, change.String())
		}
	}
	return strings.Join(all, "; ")
}

// Event is one thing that happened, as the history keeps it.
type Event = history.Event
