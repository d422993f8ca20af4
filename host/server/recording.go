package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/history"
)

// historyLimit is how long the end of the host waits for its last events to be written.
const historyLimit = 2 * time.Second

// What reloads the configuration besides operators at the admin address.
const (
	byFile   = "a changed file"
	byHangup = "SIGHUP"
)

// keepEvents keeps what happens to the plugins, until the fleet has stopped.
func (h *host) keepEvents() {
	events := h.plugins.Events(context.Background())
	h.recorded = make(chan struct{})
	go func() {
		defer close(h.recorded)
		for e := range events {
			h.past.Add(admin.NewEvent(e))
		}
	}()
}

// started is the event of the host's start.
func (h *host) started() history.Event {
	cause := fmt.Sprintf("version %s with configuration %s", h.options.Version, h.reloader.configHash())
	if h.options.Before != nil {
		cause += ", to take over from another host"
	}
	return history.Event{State: history.HostStarted, Cause: cause}
}

// why is why the host ends.
func (h *host) why() string {
	switch {
	case h.isSucceeded():
		return "another host serves in its place"
	case h.stopping.Err() != nil:
		return context.Cause(h.stopping).Error()
	}
	return "it cannot go on: the log says why"
}

// cancelPending gives up a task that has no job yet.
func (h *host) cancelPending(ctx context.Context, id string) error {
	err := h.gateway.CancelPending(ctx, id)
	event := history.Event{State: "cancel of a task", By: admin.By(ctx), Cause: "task " + id}
	if err != nil {
		event.State, event.Cause = history.Failed(event.State), event.Cause+": "+err.Error()
	}
	h.past.Add(event)
	return err
}

// reloaded is the event of a configuration that is taken up.
func reloaded(plan []config.Change, by string) history.Event {
	e := history.Event{State: history.Reloaded, By: by}
	for _, change := range plan {
		if change.Action != config.Unchanged {
			e.Changes = append(e.Changes, change)
		}
	}
	if len(e.Changes) == 0 {
		e.Cause = "nothing has changed"
	}
	return e
}

// shownPlaces is how many of a configuration's mistakes the history keeps.
const shownPlaces = 10

// placesOf says where in the configuration the mistakes are, and nothing of what stands there.
func placesOf(err error) string {
	var wrong config.Errors
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	var places []string
	for _, mistake := range wrong[:min(len(wrong), shownPlaces)] {
		place := mistake.Source
		if mistake.Line > 0 {
			place += fmt.Sprintf(":%d", mistake.Line)
		}
		places = append(places, fmt.Sprintf("%s (%s)", place, cmp.Or(mistake.Key, "it cannot be read")))
	}
	text := "mistakes at " + strings.Join(slices.Compact(places), ", ")
	if more := len(wrong) - shownPlaces; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}
