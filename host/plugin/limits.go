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

// group makes the process's cgroup, which without limits is for its end alone; nil: there are none.
func (s *start) group() (*cgroup.Group, error) {
	limits := s.spec.Limits()
	s.lacking = s.env.Groups.Lacking(limits)
	if s.spec.Sandbox.On() && limits.Pids == 0 {
		limits.Pids = DefaultPids
	}
	group, err := s.env.Groups.Make(s.spec.Name, limits)
	if err != nil {
		s.log.Warn("it gets no cgroup, and no limits", "error", err)
		s.lacking = append(s.lacking, err.Error())
	}
	if s.spec.Sandbox.Require && len(s.lacking) > 0 {
		group.Remove()
		return nil, advise(errors.New("this machine does not limit it as sandbox.require asks: "+strings.Join(s.lacking, "; ")),
			"delegate cgroups to the host (systemd: Delegate=yes), or leave sandbox.require or the limits out")
	}
	return group, nil
}
