package server

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifier tells systemd (NOTIFY_SOCKET) what the host does. Without systemd it does nothing.
type notifier struct{ log *slog.Logger }

func (n notifier) tell(assignments ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(assignments, "\n")); err != nil {
		n.log.Warn("systemd cannot be told what the host does", "error", err)
	}
}

func (n notifier) ready()    { n.tell(daemon.SdNotifyReady) }
func (n notifier) stopping() { n.tell(daemon.SdNotifyStopping) }

// reloading comes before a ready, for systemd to know which one ends the reload.
func (n notifier) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.log.Warn("systemd cannot be told that the host reloads", "error", err)
		return
	}
	n.tell(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// succeeded says that another process is the service now.
func (n notifier) succeeded(pid int) { n.tell(fmt.Sprintf("MAINPID=%d", pid), daemon.SdNotifyReady) }
