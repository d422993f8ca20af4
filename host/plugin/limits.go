package plugin

import (
	"errors"
	"strings"

	"github.com/agenthost/agenthost/host/cgroup"
)

// DefaultPids is how many processes and threads a plugin may have where its sandbox says nothing else.
const DefaultPids = 1024

// Limits are those that the spec asks for.
func (s Spec) Limits() cgroup.Limits {
	if !s.Sandbox.On() {
		return cgroup.Limits{}
	}
	return cgroup.Limits{Memory: uint64(s.Sandbox.Memory), Pids: s.Sandbox.Pids, CPU: s.Sandbox.CPU}
}

// group makes the process's cgroup, which without limits is for its end alone; nil: there are none. A limit of memory that no cgroup
// holds is for the host to watch (MemoryLimit), and is missing only where that does not do.
func (s *start) group() (*cgroup.Group, error) {
	limits := s.spec.Limits()
	s.lacking = s.env.Groups.Lacking(limits)
	s.watched = len(s.env.Groups.Lacking(cgroup.Limits{Memory: limits.Memory})) > 0
	if s.watched && !s.spec.Sandbox.Require {
		s.lacking = s.env.Groups.Lacking(cgroup.Limits{Pids: limits.Pids, CPU: limits.CPU})
	}
	if s.spec.Sandbox.On() && limits.Pids == 0 {
		limits.Pids = DefaultPids
	}
	group, err := s.env.Groups.Make(s.spec.Name, limits)
	if err != nil {
		s.log.Warn("it gets no cgroup, and no limits", "error", err)
		s.lacking = append(s.lacking, err.Error())
		s.watched = limits.Memory > 0
	}
	if s.spec.Sandbox.Require && len(s.lacking) > 0 {
		group.Remove()
		return nil, advise(errors.New("this machine does not limit it as sandbox.require asks: "+strings.Join(s.lacking, "; ")),
			"delegate cgroups to the host (systemd: Delegate=yes), or leave sandbox.require or the limits out")
	}
	return group, nil
}

// MemoryLimit is how much memory the process and what it starts may take; 0: no limit. Where it is watched no cgroup holds it: the
// host has to look, and restart the plugin.
func (i *Instance) MemoryLimit() (bytes uint64, watched bool) {
	return i.spec.Limits().Memory, i.running.watched
}

// Memory is process.Process's.
func (i *Instance) Memory(from uint64) (uint64, error) {
	return i.running.proc.Memory(from)
}

// MemoryLimit is none: what runs elsewhere is not this host's to limit.
func (r *Remote) MemoryLimit() (bytes uint64, watched bool) { return 0, false }

// Memory is nothing of this machine's.
func (r *Remote) Memory(uint64) (uint64, error) { return 0, nil }
