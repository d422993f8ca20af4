package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// Reached is what a process's limits did to it.
type Reached struct {
	// OOMKills is how many processes the kernel has ended for want of memory: that of this cgroup, or of one around it.
	OOMKills uint64
	// Memory is the limit of which some process was killed, such as "64MiB"; empty: none was.
	Memory string
	// Pids is the limit at which a fork was refused; 0: none was.
	Pids int
}

// Reached reads what the limits did up to now.
func (g *Group) Reached() (r Reached) {
	if g == nil {
		return r
	}
	r.OOMKills = g.OOMKills()
	if r.OOMKills > 0 && g.limits.Memory > 0 {
		r.Memory = units.BytesSize(float64(g.limits.Memory))
	}
	for _, path := range g.paths() {
		if g.limits.Pids > 0 && count(path, "pids.events", "max") > 0 {
			r.Pids = g.limits.Pids
		}
	}
	return r
}

// OOMKills is how many processes in the cgroup the kernel has ended for want of memory up to now.
func (g *Group) OOMKills() (kills uint64) {
	for _, path := range g.paths() {
		kills = max(kills, oomKills(path))
	}
	return kills
}

// oomKills is what a cgroup of either version says of itself; 0 where it does not.
func oomKills(path string) uint64 {
	return max(count(path, "memory.events", "oom_kill"), count(path, "memory.oom_control", "oom_kill"))
}

// String is such as "it reached its memory limit of 64MiB (sandbox.memory)"; empty: nothing was reached.
func (r Reached) String() string {
	var parts []string
	if r.Memory != "" {
		parts = append(parts, fmt.Sprintf("it reached its memory limit of %s (sandbox.memory)", r.Memory))
	} else if r.OOMKills > 0 {
		parts = append(parts, "its container or the machine was out of memory")
	}
	if r.Pids > 0 {
		parts = append(parts, fmt.Sprintf("it reached its limit of %d processes and threads (sandbox.pids)", r.Pids))
	}
	return strings.Join(parts, ", and ")
}

// count is a number in a file of names and numbers; 0 where it is not there.
func count(path, file, name string) uint64 {
	content, _ := os.ReadFile(filepath.Join(path, file)) // see above
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			n, _ := strconv.ParseUint(fields[1], 10, 64) // the kernel writes numbers
			return n
		}
	}
	return 0
}
