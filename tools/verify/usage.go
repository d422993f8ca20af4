package verify

import (
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/procfs"
)

// usage is what a plugin's process group takes at one moment.
type usage struct {
	rss   int64
	files int
}

func (i *instance) usage() (usage, error) {
	var sum usage
	group, err := groupOf(i.proc.PID())
	if err != nil {
		return sum, err
	}
	for _, member := range group {
		stat, err := member.Stat()
		if err != nil {
			continue // it has just ended
		}
		sum.rss += int64(stat.RSS) * int64(os.Getpagesize())
		if files, err := member.FileDescriptorsLen(); err == nil {
			sum.files += files
		}
	}
	if sum.rss == 0 {
		return sum, failed("the plugin's process is not there: it %s", i.obituary())
	}
	return sum, nil
}

// groupOf are the processes of a process group that run.
func groupOf(pgid int) ([]procfs.Proc, error) {
	return processesThat(func(_ procfs.Proc, stat procfs.ProcStat) bool { return stat.PGRP == pgid })
}

// relatives are the processes of an instance: its group, and whoever has its private directory in the environment.
func (i *instance) relatives() ([]procfs.Proc, error) {
	dir := i.dir.Path()
	return processesThat(func(proc procfs.Proc, stat procfs.ProcStat) bool {
		if stat.PGRP == i.proc.PID() {
			return true
		}
		environ, err := proc.Environ()
		if err != nil {
			return false // somebody else's
		}
		for _, variable := range environ {
			if _, value, _ := strings.Cut(variable, "="); value == dir || strings.HasPrefix(value, dir+"/") {
				return true
			}
		}
		return false
	})
}

func processesThat(match func(procfs.Proc, procfs.ProcStat) bool) ([]procfs.Proc, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var matching []procfs.Proc
	for _, proc := range all {
		stat, err := proc.Stat()
		if err != nil || stat.State == "Z" || stat.State == "X" {
			continue // gone, or as good as gone
		}
		if match(proc, stat) {
			matching = append(matching, proc)
		}
	}
	return matching, nil
}
