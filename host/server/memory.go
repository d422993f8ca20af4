package server

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
)

// hostMemory is what a host takes beside the messages under way.
const hostMemory = 64 << 20

// MemoryWarning says why the plugins' limits do not hold below the container's, of so many bytes; empty where they do. Plugins without
// a limit are watched together.
func MemoryWarning(settings *config.Config, container uint64) string {
	messages := uint64(settings.Limits.Memory)
	if messages == 0 {
		messages = max(container/memoryShare, leastMemory)
	}
	var plugins uint64
	for _, p := range settings.Plugins {
		if !p.Remote() && p.Sandbox.On() {
			plugins += uint64(p.Sandbox.Memory) * uint64(max(p.Instances, 1))
		}
	}
	host := messages + hostMemory
	if plugins == 0 || plugins+host <= container {
		return ""
	}
	return fmt.Sprintf("the plugins may take %s of memory (sandbox.memory, times instances) and the host %s (limits.memory and %s), which is more than the container's %s: raise that, or lower these",
		config.Size(plugins), config.Size(host), config.Size(hostMemory), config.Size(container))
}

// MemoryNeed is how much memory a configuration may take, in bytes.
type MemoryNeed struct {
	// Host is the host's own: messages under way (limits.memory), and what it takes beside them.
	Host uint64
	// Plugins is what the processes of all plugins may take: sandbox.memory, times instances, and as much again for a swap of the largest.
	Plugins uint64
	// Unlimited are the plugins without a limit, by name.
	Unlimited []string
}

// MemoryNeedOf is how much memory a configuration may take on this machine.
func MemoryNeedOf(settings *config.Config) MemoryNeed {
	need := MemoryNeed{Host: uint64(limitsOf(settings, slog.New(slog.DiscardHandler)).Memory) + hostMemory} //nolint:gosec // it is no less than leastMemory
	var largest uint64
	for _, name := range slices.Sorted(maps.Keys(settings.Plugins)) {
		p := settings.Plugins[name]
		switch {
		case p.Remote():
		case !p.Sandbox.On() || p.Sandbox.Memory == 0:
			need.Unlimited = append(need.Unlimited, name)
		default:
			takes := uint64(p.Sandbox.Memory) * uint64(max(p.Instances, 1)) //nolint:gosec // the configuration lets no negative ones pass
			need.Plugins += takes
			largest = max(largest, takes)
		}
	}
	need.Plugins += largest
	return need
}

// openContainer finds what bounds the memory of host and plugins together, and warns where their own bounds are more than that.
func openContainer(settings *config.Config, log *slog.Logger) *cgroup.Container {
	container, err := cgroup.FindContainer()
	switch {
	case err != nil:
		log.Warn("the memory of the host and its plugins together is not watched", "problem", err)
	case container != nil:
		if warning := MemoryWarning(settings, container.Limit); warning != "" {
			log.Warn("plugins may be killed before they reach their memory limits", "problem", warning)
		}
	}
	return container
}
