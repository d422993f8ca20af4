package process

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what a process and all that it has started take at one moment: its group, what descends from it, and orphans of these
// that name its run directory or are in its cgroup.
type Usage struct {
	// RSS is the resident memory in bytes. Memory shared between these processes counts for each of them.
	RSS uint64
	// CPUSeconds is the time on a processor since the start, user and system, of the processes that there are and of
	// their children that have ended.
	CPUSeconds float64
	// Processes is their number.
	Processes int
}

// groupUsage is the same with who they are.
type groupUsage struct {
	Usage
	pids []int
}

// Usage is what the process and what it has started take, as of a second ago at most. It is an error to ask before the start or
// after the end.
func (p *Process) Usage() (Usage, error) {
	usage, err := p.usage(func() time.Duration { return usageFor })
	return usage.Usage, err
}

// Memory is how many bytes the process and what it has started take now that the kernel cannot give to others: what they have of
// their own, and their part of what they share, but no files. To find that out takes a while; where all that is resident is less
// than from, that is told instead. What was started less than a second ago may be missing.
func (p *Process) Memory(from uint64) (uint64, error) {
	usage, err := p.usage(func() time.Duration { return max(usageFor, costOfReading*everyGroup.took) })
	if err != nil {
		return 0, err
	}
	var resident uint64
	for _, pid := range usage.pids {
		resident += residentOf(pid)
	}
	if resident < from {
		return resident, nil
	}
	var bytes uint64
	for _, pid := range usage.pids {
		bytes += unreclaimable(pid)
	}
	return bytes, nil
}

// residentOf is 0 for a process that has ended.
func residentOf(pid int) uint64 {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64) // the kernel writes numbers
	return pages * uint64(os.Getpagesize())
}

// unreclaimable is 0 for a process that has ended. The proportional share of a process of another user may be for nobody to read;
// then memory that it shares with others counts for each.
func unreclaimable(pid int) uint64 {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	if bytes, ok := proportional(pid); ok {
		return bytes
	}
	status, err := proc.NewStatus()
	if err != nil {
		return 0
	}
	return status.RssAnon + status.RssShmem
}

// proportional reads what the library does not: of all pages in memory, those without a file.
func proportional(pid int) (bytes uint64, ok bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	found := 0
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && (fields[0] == "Pss_Anon:" || fields[0] == "Pss_Shmem:") {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return 0, false
			}
			bytes += kib << 10
			found++
		}
	}
	return bytes, found == 2
}

func (p *Process) usage(maxAge func() time.Duration) (groupUsage, error) {
	p.mu.Lock()
	pid, started := p.pid, p.started
	p.mu.Unlock()
	if pid == 0 || p.ended() {
		return groupUsage{}, fmt.Errorf("%s is not running", p.config.Name)
	}
	groups, err := everyGroup.since(started, maxAge)
	if err != nil {
		return groupUsage{}, fmt.Errorf("cannot read the usage of %s: %w", p.config.Name, err)
	}
	usage, ok := groups[pid]
	if !ok {
		return groupUsage{}, fmt.Errorf("%s is not running", p.config.Name)
	}
	return usage, nil
}

const (
	// usageFor is for how long what was read of all processes is good for whoever asks about one.
	usageFor = time.Second
	// costOfReading makes it good for longer for who asks all the time, where there are so many processes that reading takes a while.
	costOfReading = 50
)

// everyGroup is what all processes of this one take, and all process groups of the machine: who asks about many processes at once,
// as for a status of all plugins, has /proc read once.
var everyGroup groupUsages

type groupUsages struct {
	mu    sync.Mutex
	at    time.Time // the reading began
	took  time.Duration
	known map[int]groupUsage
}

// since is what they take, by the ids of the groups, read within maxAge (which is called with mu held) and after a time. The map must
// not be changed.
func (g *groupUsages) since(started time.Time, maxAge func() time.Duration) (map[int]groupUsage, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.known != nil && now.Sub(g.at) < maxAge() && g.at.After(started) {
		return g.known, nil
	}
	known, err := readGroups()
	if err != nil {
		return nil, err
	}
	g.at, g.took, g.known = now, time.Since(now), known
	return known, nil
}

// leaders are the processes that run, by pid.
var leaders sync.Map

func readGroups() (map[int]groupUsage, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	stats := make(map[int]procfs.ProcStat, len(all))
	for _, proc := range all {
		if stat, err := proc.Stat(); err == nil { // else it is gone since
			stats[stat.PID] = stat
		}
	}
	groups := make(map[int]groupUsage, len(stats))
	for pid, stat := range stats {
		owner := ownerOf(pid, stats)
		usage := groups[owner]
		usage.Processes++
		usage.RSS += uint64(max(0, stat.RSS)) * uint64(os.Getpagesize())
		usage.CPUSeconds += stat.CPUTime() + float64(stat.CUTime+stat.CSTime)/clockTicks
		usage.pids = append(usage.pids, pid)
		groups[owner] = usage
	}
	return groups, nil
}

// ownerOf is the leader that a process belongs to, or else the process's own group.
func ownerOf(pid int, stats map[int]procfs.ProcStat) int {
	self := os.Getpid()
	own := stats[pid].PGRP
	for range len(stats) { // who is read while it changes its parent may seem to descend from itself
		stat, ok := stats[pid]
		if !ok || pid == self {
			return own
		}
		if _, leads := leaders.Load(stat.PGRP); leads {
			return stat.PGRP
		}
		if stat.PPID == self {
			return cmp.Or(adopter(pid), own)
		}
		pid = stat.PPID
	}
	return own
}

// adopter is the leader that an orphan belongs to by what else it says of itself; 0: none.
func adopter(pid int) (owner int) {
	leaders.Range(func(leader, process any) bool {
		if p, ok := process.(*Process); ok && (p.config.Group.Has(pid) || p.config.RunDir != "" && names(pid, p.config.RunDir)) {
			owner, _ = leader.(int)
		}
		return owner == 0
	})
	return owner
}

// clockTicks is USER_HZ, 100 on every Linux that Go runs on.
const clockTicks = 100
