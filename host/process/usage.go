package process

import (
	"fmt"
	"os"

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

// Usage reads what the group takes now. It is an error to ask before the start or after the end.
func (p *Process) Usage() (Usage, error) {
	pid := p.PID()
	if pid == 0 || p.ended() {
		return Usage{}, fmt.Errorf("%s is not running", p.config.Name)
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return Usage{}, fmt.Errorf("cannot read the usage of %s: %w", p.config.Name, err)
	}
	var usage Usage
	for _, proc := range all {
		stat, err := proc.Stat()
		if err != nil || stat.PGRP != pid {
			continue // gone since, or somebody else's
		}
		usage.Processes++
		usage.RSS += uint64(max(0, stat.RSS)) * uint64(os.Getpagesize())
		usage.CPUSeconds += stat.CPUTime() + float64(stat.CUTime+stat.CSTime)/clockTicks
	}
	if usage.Processes == 0 {
		return Usage{}, fmt.Errorf("%s is not running", p.config.Name)
	}
	return usage, nil
}

// clockTicks is USER_HZ, 100 on every Linux that Go runs on.
const clockTicks = 100
