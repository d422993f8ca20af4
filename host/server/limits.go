package server

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/gateway"
)

const (
	// memoryShare is what part of the memory there is the messages under way get: each may be there twice for a moment, when it is
	// changed on its way, and what is done with needs some room until the garbage collector comes.
	memoryShare = 4
	// leastMemory is what they get at least.
	leastMemory = 16 << 20
)

// limitsOf is what callers and plugins can make the gateway spend.
func limitsOf(settings *config.Config, log *slog.Logger) gateway.Limits {
	limits := settings.Limits
	memory := int64(limits.Memory)
	if memory == 0 {
		memory = max(memoryThereIs(log)/memoryShare, leastMemory)
	}
	if half := memory / 2; int64(settings.MaxMessageSize) > half {
		log.Warn("the largest messages that max_message_size allows have no room: limits.memory leaves less to requests",
			"max_message_size", settings.MaxMessageSize.String(), "room", config.Size(half).String())
	}
	return gateway.Limits{Memory: memory, Calls: limits.Calls, CallsPerConnection: limits.CallsPerConnection, ConnectionIdle: limits.ConnectionIdle}
}

// memoryThereIs is how much memory the host has, in bytes: what its cgroup allows, else what the machine has.
func memoryThereIs(log *slog.Logger) int64 {
	var machine unix.Sysinfo_t
	have := int64(1 << 30)
	if err := unix.Sysinfo(&machine); err == nil {
		have = int64(machine.Totalram * uint64(machine.Unit)) //nolint:gosec // no machine has more
	}
	limit, limited, err := cgroup.MemoryLimit()
	if err != nil {
		log.Warn("limits.memory follows from what the machine has", "problem", err)
	}
	if limited {
		have = min(have, int64(min(limit, 1<<62)))
	}
	return have
}
