package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/takeover"
)

const (
	// syncReserve is what a new host may take beyond the longest start_timeout of a plugin.
	syncReserve = 30 * time.Second
	// acceptGrace is for connections that were accepted just before the listeners paused: a server that stops closes one that
	// it has not looked at yet.
	acceptGrace = 100 * time.Millisecond
)

// upgrade is an operator's upgrade: a new host, of the program as it is now, starts beside this one and takes its
// listeners over. Until it is ready, and where it never is, this one serves on.
func (h *host) upgrade(ctx context.Context, force bool, send func(admin.UpgradeLine)) {
	report := admin.UpgradeReport{Former: os.Getpid(), FormerVersion: h.options.Version}
	began := time.Now()
	h.past.Add(history.Event{State: history.Asked("upgrade"), By: admin.By(ctx)})
	if err := h.succeed(ctx, force, &report, send); err != nil {
		h.options.Log.Error("the upgrade failed; this host serves on", "error", err)
		report.Error = err.Error()
		h.past.Add(history.Event{State: history.Failed("upgrade"), By: admin.By(ctx), Cause: report.Error})
	} else {
		h.past.Add(history.Event{State: history.HandedOver, By: admin.By(ctx), Cause: fmt.Sprintf("%s (process %d) serves in its place", report.Version, report.PID)})
	}
	report.Seconds = time.Since(began).Seconds()
	send(admin.UpgradeLine{Report: &report})
	if report.Error == "" {
		close(h.succeeded)
	}
}

func (h *host) succeed(ctx context.Context, force bool, report *admin.UpgradeReport, send func(admin.UpgradeLine)) (err error) {
	switch {
	case h.options.Program == "":
		return errors.New("this host does not know its program")
	case os.Getpid() == 1:
		return errors.New("this host is the program of a container: replace the container by one of the new image")
	case !h.ready.Load():
		return errors.New("this host is not ready itself: it is starting or stopping")
	case !h.upgrading.CompareAndSwap(false, true):
		return errors.New("another upgrade is under way")
	}
	defer func() {
		if err != nil {
			h.upgrading.Store(false)
		}
	}()
	limit := h.syncLimit()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("its plugins have not started within %v", limit))
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()

	h.options.Log.Info("an upgrade: starting the new host", "program", h.options.Program)
	successor, err := takeover.Start(h.options.Program, h.options.Args, h.listeners.all())
	if err != nil {
		return err
	}
	report.PID = successor.PID()
	send(admin.UpgradeLine{Started: &admin.UpgradeStart{PID: successor.PID(), Program: h.options.Program}})
	began := time.Now()
	defer tellWaits(waitsEvery, func() admin.Waits {
		return admin.Waits{Seconds: time.Since(began).Seconds(), LimitSeconds: limit.Seconds()}
	}, func(waits admin.Waits) { send(admin.UpgradeLine{Waits: &waits}) })()
	if err := h.handOver(ctx, successor, force, report); err != nil {
		successor.Abandon()
		return err
	}
	h.options.Log.Info("the new host has taken over", "pid", report.PID, "version", report.Version)
	h.notify.succeeded(report.PID)
	return nil
}

// syncLimit is how long the plugins of a new host may take to start.
func (h *host) syncLimit() time.Duration {
	limit := syncReserve
	for _, p := range h.reloader.settings().Plugins {
		limit = max(limit, p.StartTimeout+syncReserve)
	}
	return limit
}

// handOver waits until the new host is ready, and gives it the listeners.
func (h *host) handOver(ctx context.Context, successor *takeover.Successor, force bool, report *admin.UpgradeReport) error {
	said, err := successor.Await(ctx)
	if err != nil {
		return err
	}
	report.Version = said.Version
	for _, p := range said.Plugins {
		if !p.Running && h.runs(p.Name) {
			report.Lost = append(report.Lost, admin.LostPlugin{Name: p.Name, Reason: p.Reason})
		}
	}
	if len(report.Lost) > 0 && !force {
		return fmt.Errorf("plugin %s runs here and does not run in the new host: %s", report.Lost[0].Name, report.Lost[0].Reason)
	}
	// From here on connections wait in the queue that both share, until the new host accepts them.
	if err := h.listeners.each((*takeover.Pausable).Pause); err != nil {
		return errors.Join(err, h.listeners.each((*takeover.Pausable).Resume))
	}
	if err := successor.Commit(ctx); err != nil {
		return errors.Join(err, h.listeners.each((*takeover.Pausable).Resume))
	}
	time.Sleep(acceptGrace)
	return h.listeners.each(func(l *takeover.Pausable) error { l.KeepPath(true); return nil })
}

func (h *host) runs(plugin string) bool {
	for _, s := range h.plugins.Status() {
		if s.Name == plugin && s.State == fleet.Running {
			return true
		}
	}
	return false
}

// takeOver says to the host before this one that it has started, and waits for the listeners.
func (h *host) takeOver(ctx context.Context) error {
	report := takeover.Report{Version: h.options.Version}
	for _, s := range h.plugins.Status() {
		plugin := takeover.Plugin{Name: s.Name, Running: s.State == fleet.Running}
		if !plugin.Running {
			plugin.Reason = string(s.State)
			if s.Reason != nil {
				plugin.Reason += ": " + s.Reason.Error()
			}
		}
		report.Plugins = append(report.Plugins, plugin)
	}
	return h.options.Before.Ready(ctx, report)
}
