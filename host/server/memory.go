package server

import (
	"fmt"
	"log/slog"

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
