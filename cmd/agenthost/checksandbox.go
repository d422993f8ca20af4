package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/sandbox"
)

// sandboxReport is what this machine grants of a plugin's sandbox to a host that is run as who checks.
type sandboxReport struct {
	// Mode is on or off.
	Mode string `json:"mode"`
	// Landlock is the version of the kernel's Landlock, by which files, ports and signals are kept apart; 0: there is none.
	Landlock int `json:"landlock"`
	// Seccomp says that system calls are filtered.
	Seccomp bool `json:"seccomp"`
	// User is the id that the plugin's process runs as.
	User uint32 `json:"user"`
	// Missing is what the machine cannot grant.
	Missing []string `json:"missing,omitempty"`
	// Memory is how many bytes of memory the plugin may take; absent without a limit.
	Memory config.Size `json:"memory,omitempty"`
	// MemoryBy is what holds that: cgroup, or watching, by the host, which restarts it. MemoryWhy is why no cgroup can.
	MemoryBy  string `json:"memory_by,omitempty"`
	MemoryWhy string `json:"memory_why,omitempty"`
}

// sandboxOf is nil for a plugin that runs elsewhere.
func sandboxOf(name string, p config.Plugin, groups *cgroup.Groups) *sandboxReport {
	if p.Remote() {
		return nil
	}
	granted := sandbox.Machine()
	report := &sandboxReport{Mode: p.Sandbox.Mode, User: granted.UID}
	if !p.Sandbox.On() {
		return report
	}
	report.Landlock, report.Seccomp, report.Missing = granted.Landlock, granted.Seccomp, granted.Missing
	spec := plugin.SpecOf(name, p)
	report.limit(p.Sandbox, spec.Limits(), groups)
	user, err := plugin.SandboxUser(spec)
	switch {
	case err != nil:
		report.Missing = append(report.Missing, err.Error())
	case user != nil:
		report.User = user.UID
	}
	return report
}

// limit says what of its limits the plugin has. One of memory that no cgroup holds is watched, which does unless a sandbox is required.
func (r *sandboxReport) limit(wanted config.Sandbox, limits cgroup.Limits, groups *cgroup.Groups) {
	if limits.Memory > 0 {
		r.Memory, r.MemoryBy = wanted.Memory, "cgroup"
		if why := groups.Lacking(cgroup.Limits{Memory: limits.Memory}); len(why) > 0 {
			r.MemoryBy, r.MemoryWhy = "watching", strings.TrimPrefix(why[0], "sandbox.memory is not limited: ")
			if !wanted.Require {
				limits.Memory = 0
			}
		}
	}
	r.Missing = append(r.Missing, groups.Lacking(limits)...)
}

// memoryLine is such as "limit 512MiB, by cgroup"; empty without a limit.
func (r *sandboxReport) memoryLine() string {
	if r == nil || r.Memory == 0 {
		return ""
	}
	line := fmt.Sprintf("limit %s, by %s", r.Memory, r.MemoryBy)
	if r.MemoryWhy != "" {
		line += "; no cgroup can hold it: " + r.MemoryWhy
	}
	return line
}

// line is such as "Landlock 7, seccomp, user 70012".
func (r *sandboxReport) line() string {
	if r.Mode == config.Off {
		return fmt.Sprintf("OFF: it may do whatever user %d may", r.User)
	}
	text := sandbox.Granted{Landlock: r.Landlock, Seccomp: r.Seccomp, UID: r.User}.String()
	if len(r.Missing) > 0 {
		text += "; MISSING: " + strings.Join(r.Missing, "; ")
	}
	return text
}

// printSandboxes shows what the machine grants, plugin by plugin, and to all.
func printSandboxes(out io.Writer, plugins []checkedPlugin, cgroups string) {
	for _, p := range plugins {
		if p.Sandbox != nil {
			fmt.Fprintf(out, "%s: sandbox: %s\n", p.Name, p.Sandbox.line())
		}
		if line := p.Sandbox.memoryLine(); line != "" {
			fmt.Fprintf(out, "%s: memory: %s\n", p.Name, line)
		}
	}
	if cgroups != "" {
		fmt.Fprintf(out, "plugins' cgroups: %s\n", cgroups)
	}
}
