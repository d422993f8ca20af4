package server

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/config"
)

const (
	// ownDescriptors are what a host has open of its own, with a reserve: listeners, logs, watched files, the state directory,
	// connections that are being refused, what an upgrade hands over.
	ownDescriptors = 40
	// pluginDescriptors are what one process of a plugin takes: its output, its connections, the files that keep its directory,
	// and, while it starts, both ends of its pipes.
	pluginDescriptors = 12
	// remoteDescriptors are what the servers of one plugin elsewhere take.
	remoteDescriptors = 4
	// leastConnections is how many connections a host must be able to take from Flyte: fewer are none to work with.
	leastConnections = 16
)

// Descriptors is what a host needs of open files.
type Descriptors struct {
	// Limit is how many this process may have (the hard limit of RLIMIT_NOFILE, to which a Go program raises its own).
	Limit int
	// Plugins is what the configured plugins take, with a second generation of each during a swap; Own what the host and its
	// operators do.
	Plugins, Own int
	// Connections is how many connections from Flyte there is room for, Wanted how many limits.connections asks for.
	Connections, Wanted int
}

// DescriptorsOf says what a configuration needs on this machine.
func DescriptorsOf(settings *config.Config) Descriptors {
	d := Descriptors{Own: ownDescriptors + adminConnections + probeConnections, Wanted: settings.Limits.Connections}
	for _, p := range settings.Plugins {
		if p.Remote() {
			d.Plugins += 2 * remoteDescriptors * len(p.Address)
		} else {
			d.Plugins += 2 * pluginDescriptors * p.Instances
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Max = 1024
	}
	d.Limit = int(min(limit.Max, 1<<30))
	d.Connections = min(d.Wanted, d.Limit-d.Own-d.Plugins)
	return d
}

// Need is how many open files would do for everything.
func (d Descriptors) Need() int { return d.Own + d.Plugins + d.Wanted }

// Err says that there are too few to serve at all.
func (d Descriptors) Err() error {
	if d.Connections >= min(leastConnections, d.Wanted) {
		return nil
	}
	return fmt.Errorf("the limit of open files (ulimit -n) is %d, which is too few: the plugins take up to %d, the host and its operators %d, "+
		"and limits.connections asks for %d more; raise it to %d (LimitNOFILE= in a systemd unit, ulimits of a container)", d.Limit, d.Plugins, d.Own, d.Wanted, d.Need())
}

// Warning says that there are too few for all connections; empty where there are enough.
func (d Descriptors) Warning() string {
	if d.Connections >= d.Wanted || d.Err() != nil {
		return ""
	}
	return fmt.Sprintf("the limit of open files (ulimit -n) is %d: beside what the plugins (%d) and the host (%d) take it leaves %d connections of limits.connections' %d; %d would do",
		d.Limit, d.Plugins, d.Own, d.Connections, d.Wanted, d.Need())
}

// tell says at the start, and after a reload, how much is there.
func (d Descriptors) tell(log *slog.Logger) {
	if warning := d.Warning(); warning != "" {
		log.Warn("there are few descriptors", "problem", warning)
	}
}
