package process

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what a process group takes at one moment.
type Usage struct {
	// RSS is the resident memory in bytes. Memory shared between processes of the group counts for each of them.
	RSS uint64
	// CPUSeconds is the time on a processor since the start, user and system, of the processes that there are and of
	// their children that have ended.
	CPUSeconds float64
	// Processes is the number of processes in the group.
	Processes int
}

// Usage is what the group takes, as of a second ago at most. It is an error to ask before the start or after the end.
func (p *Process) Usage() (Usage, error) {
	p.mu.Lock()
	pid, started := p.pid, p.started
	p.mu.Unlock()
	if pid == 0 || p.ended() {
		return Usage{}, fmt.Errorf("%s is not running", p.config.Name)
	}
	groups, err := everyGroup.since(started)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot read the usage of %s: %w", p.config.Name, err)
	}
	usage, ok := groups[pid]
	if !ok {
		return Usage{}, fmt.Errorf("%s is not running", p.config.Name)
	}
	return usage, nil
}

// usageFor is for how long what was read of all processes is good for whoever asks about one.
const usageFor = time.Second

// everyGroup is what all process groups of the machine take: who asks about many processes at once, as for a status of all
// plugins, has /proc read once.
var everyGroup groupUsages

type groupUsages struct {
	mu    sync.Mutex
	at    time.Time // the reading began
	known map[int]Usage
}

// since is what the groups take, by their ids, read within usageFor and after a time. The map must not be changed.
func (g *groupUsages) since(started time.Time) (map[int]Usage, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.known != nil && now.Sub(g.at) < usageFor && g.at.After(started) {
		return g.known, nil
	}
	known, err := readGroups()
	if err != nil {
		return nil, err
	}
	g.at, g.known = now, known
	return known, nil
}

func readGroups() (map[int]Usage, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	groups := make(map[int]Usage, len(all))
	for _, proc := range all {
		stat, err := proc.Stat()
		if err != nil {
			continue // gone since
		}
		usage := groups[stat.PGRP]
		usage.Processes++
		usage.RSS += uint64(max(0, stat.RSS)) * uint64(os.Getpagesize())
		usage.CPUSeconds += stat.CPUTime() + float64(stat.CUTime+stat.CSTime)/clockTicks
		groups[stat.PGRP] = usage
	}
	return groups, nil
}

// clockTicks is USER_HZ, 100 on every Linux that Go runs on.
const clockTicks = 100
