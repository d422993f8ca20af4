package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/fleet"
)

const (
	// toldEvery is how often systemd hears of a host at the least, where its watchdog does not ask for more.
	toldEvery = 10 * time.Second
	// tellsInTime is how often it hears of one within its watchdog's time, and within one extension of the time to start.
	tellsInTime = 3
	// stopReserve is what a stop may take beyond what the configuration lets calls and plugins take.
	stopReserve = 10 * time.Second
)

// notifier tells systemd (NOTIFY_SOCKET) what the host does. Without systemd it does nothing.
type notifier struct{ log *slog.Logger }

func (n notifier) tell(assignments ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(assignments, "\n")); err != nil {
		n.log.Warn("systemd cannot be told what the host does", "error", err)
	}
}

// heard says that there is somebody to tell.
func (n notifier) heard() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

func (n notifier) ready(text string) { n.tell(daemon.SdNotifyReady, statusLine(text)) }

// stopping asks for the time that a stop may take, so that no limit of the unit's cuts it off.
func (n notifier) stopping(within time.Duration) {
	n.tell(daemon.SdNotifyStopping, statusLine("stopping: calls under way end, then the plugins"), extension(within))
}

// reloading comes before a read, for systemd to know which one ends the reload.
func (n notifier) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.log.Warn("systemd cannot be told that the host reloads", "error", err)
		return
	}
	n.tell(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

func (n notifier) reloaded() { n.tell(daemon.SdNotifyReady) }

// succeeded says that another process is the service now.
func (n notifier) succeeded(pid int) { n.tell(fmt.Sprintf("MAINPID=%d", pid), daemon.SdNotifyReady) }

func statusLine(text string) string { return "STATUS=" + text }

func extension(by time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", by.Microseconds())
}

// keepTold tells systemd, until ctx ends, how the host is: in words, whenever they change; as long as it starts, that this takes
// longer; and that it lives, where the unit has a WatchdogSec=. A host that does not live is not told of, so that systemd
// ends and restarts it.
func (h *host) keepTold(ctx context.Context) {
	if !h.notify.heard() {
		return
	}
	watchdog := watchdogTime(h.options.Before != nil, h.options.Log)
	every := toldEvery
	if watchdog > 0 {
		every = min(every, watchdog/tellsInTime)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	events := h.plugins.Events(ctx)
	told := ""
	for alive := true; ; {
		if alive {
			if text := h.inWords(); text != told {
				h.notify.tell(statusLine(text))
				told = text
			}
		}
		select {
		case _, open := <-events:
			if !open { // the fleet has stopped
				events = nil
			}
			continue
		case <-h.reloader.judged:
			continue
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		if err := h.lives(every); err != nil {
			if alive = false; ctx.Err() == nil {
				h.options.Log.Error("the host does not answer itself; systemd hears no sign of life from it meanwhile", "error", err, "waited", time.Since(began).Round(time.Millisecond))
			}
			continue
		}
		alive = true
		if !h.ready.Load() {
			h.notify.tell(extension(tellsInTime * every))
		}
		if watchdog > 0 {
			h.notify.tell(daemon.SdNotifyWatchdog)
		}
	}
}

// watchdogTime is how long systemd waits for a sign of life before it ends the host; 0 where it does not. A host that has taken
// over has the variables of the one before it, which name that one.
func watchdogTime(tookOver bool, log *slog.Logger) time.Duration {
	if tookOver {
		_ = os.Unsetenv("WATCHDOG_PID") // a constant name, which cannot fail
	}
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not told that the host lives", "error", err)
	}
	return within
}

// lives asks the host what it must be able to answer, and says what it did not answer in time: a new connection at the port
// for Flyte, and what its plugins and its configuration are. Whatever comes back from the port will do: a host with as many connections as it may have
// turns this one away, and one with TLS does not take to it.
func (h *host) lives(within time.Duration) error {
	inside := make(chan struct{})
	go func() {
		defer close(inside)
		h.plugins.Status()
		h.reloader.settings()
	}()
	deadline := time.Now().Add(within)
	conn, err := net.DialTimeout("tcp", h.listeners.grpc.Addr().String(), within)
	if err != nil {
		return fmt.Errorf("listen.grpc takes no connection: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	_, _ = io.WriteString(conn, http2.ClientPreface) // the read says what became of it
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("listen.grpc does not answer: %w", err)
	}
	select {
	case <-inside:
		return nil
	case <-time.After(time.Until(deadline)):
		return errors.New("nothing is heard of the plugins and the configuration")
	}
}

// inWords is what the host is doing, for `systemctl status`.
func (h *host) inWords() string {
	var amiss []string
	running, all := 0, 0
	for _, p := range h.plugins.Status() {
		all++
		if p.State == fleet.Running {
			running++
		} else {
			amiss = append(amiss, fmt.Sprintf("%s is %s", p.Name, p.State))
		}
	}
	text := "starting"
	if h.ready.Load() {
		text = "ready"
	}
	text = fmt.Sprintf("%s: %d of %d plugins run", text, running, all)
	if len(amiss) > 0 {
		text += "; " + strings.Join(amiss, ", ")
	}
	if h.reloader.refused.Load() != nil {
		text += "; the configuration has mistakes, the last sound one is in effect"
	}
	return text
}
