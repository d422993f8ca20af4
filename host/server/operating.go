package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
)

// operate is an operator's operation on a plugin: it waits, and sends what happens to the plugin.
func (h *host) operate(ctx context.Context, name string, what fleet.Operation, send func(admin.OperationLine)) {
	began := time.Now()
	report := admin.OperationReport{Plugin: name, Operation: string(what)}
	defer func() {
		for _, s := range h.plugins.Status() {
			if s.Name == name && (report.State == "" || s.State != fleet.Stopped && s.State != fleet.Draining) { // not what drains, where there is more
				report.State = string(s.State)
			}
		}
		if report.Error != "" {
			h.past.Add(history.Event{Plugin: name, Generation: report.Generation, State: history.Failed(string(what)), Cause: report.Error, By: admin.By(ctx)})
		}
		report.Seconds = time.Since(began).Seconds()
		send(admin.OperationLine{Report: &report})
	}()
	watching, stop := context.WithCancel(ctx)
	events := h.plugins.Events(watching)
	var told sync.WaitGroup
	told.Go(func() {
		for e := range events {
			if event := admin.NewEvent(e); event.Plugin == name {
				send(admin.OperationLine{Event: &event})
			}
		}
	})
	defer told.Wait()
	defer stop()
	defer tellWaits(waitsEvery, func() admin.Waits {
		return waitsOf(h.plugins, h.reloader.settings(), began, func(plugin string) bool { return plugin == name })
	}, func(waits admin.Waits) { send(admin.OperationLine{Waits: &waits}) })()

	round, err := h.plugins.Operate(name, what)
	if unneeded := (fleet.Done{}); errors.As(err, &unneeded) {
		report.Unneeded = unneeded.Error()
		return
	}
	if err == nil {
		h.past.Add(history.Event{Time: began, Plugin: name, State: history.Asked(string(what)), By: admin.By(ctx)})
		err = round.Wait(ctx, func(o fleet.Outcome) {
			report.Action, report.Generation = string(o.Action), o.Generation
			if o.Err != nil {
				report.Error = o.Err.Error()
			}
		})
		if err != nil {
			err = errors.New("it goes on, but nobody waited for its end: " + err.Error())
		}
	}
	if err != nil {
		report.Error = err.Error()
	}
}
