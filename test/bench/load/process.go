package load

import (
	"fmt"
	"slices"

	"github.com/prometheus/procfs"
)

// CPU is the processor time that processes have taken, in seconds. Unlike calls per second it hardly depends on what else the
// machine does.
func CPU(processes ...procfs.Proc) (seconds float64, err error) {
	for _, one := range processes {
		stat, err := one.Stat()
		if err != nil {
			return 0, err
		}
		seconds += stat.CPUTime()
	}
	return seconds, nil
}

// Resident is a process's memory in MiB.
func Resident(of procfs.Proc) (float64, error) {
	status, err := of.NewStatus()
	return float64(status.VmRSS) / (1 << 20), err
}

// Children are the processes that a process has started, and that run.
func Children(parent int) ([]procfs.Proc, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(one procfs.Proc) bool {
		stat, err := one.Stat()
		return err != nil || stat.PPID != parent || stat.State == "Z"
	}), nil
}

// Process finds one by its id.
func Process(pid int) (procfs.Proc, error) {
	found, err := procfs.NewProc(pid)
	if err != nil {
		return found, fmt.Errorf("process %d: %w", pid, err)
	}
	return found, nil
}

// Peak is the most memory that a process has taken, in MiB.
func Peak(of procfs.Proc) (float64, error) {
	status, err := of.NewStatus()
	return float64(status.VmHWM) / (1 << 20), err
}
