package fleet

import (
	"time"

	"github.com/agenthost/agenthost/host/plugin"
)

// State is what a plugin is doing.
type State string

// The states of a plugin. Its task categories stay listed in all of them once they were accepted.
const (
	// Starting: its first process is on its way.
	Starting State = "starting"
	// Running: it takes calls.
	Running State = "running"
	// Restarting: it ended by itself or could not start, and the next start is on its way. Calls wait.
	Restarting State = "restarting"
	// CrashLooping is Restarting, slower, after crash_loop.failures within crash_loop.window. Calls wait.
	CrashLooping State = "crash-looping"
	// Refused: another plugin serves one of its categories. It stays so until the configuration changes.
	Refused State = "refused"
	// Draining: the host is stopping it, calls under way may end.
	Draining State = "draining"
	// Stopped: it is gone because the host is stopping.
	Stopped State = "stopped"
)

// States are all states, in the order of a life.
var States = []State{Starting, Running, Restarting, CrashLooping, Refused, Draining, Stopped}

// Status is one plugin at one moment.
type Status struct {
	Name  string
	State State
	// Since is when it came into that state.
	Since time.Time
	// Reason is why it is not running, or, while it runs, why it last was not; nil when it always was.
	Reason error
	// Restarts is how often a process was started after the first, or will be shortly.
	Restarts int
	// Manifest is the last accepted one; nil before the first.
	Manifest *plugin.Manifest

	// Of the running process; zero where there is none.
	PID         int
	Started     time.Time
	InFlight    int
	MemoryBytes uint64
	CPUSeconds  float64
}

func (o *owner) status() Status {
	now := o.now.Load()
	status := Status{
		Name: o.spec.Name, State: now.state, Since: now.since, Reason: now.reason,
		Restarts: now.restarts, Manifest: now.manifest,
	}
	if now.instance != nil {
		status.PID = now.instance.PID()
		status.Started = now.instance.Started()
		status.InFlight = now.instance.InFlight()
		// A process that is just ending has no usage any more; the next status will say so.
		if usage, err := now.instance.Usage(); err == nil {
			status.MemoryBytes, status.CPUSeconds = usage.RSS, usage.CPUSeconds
		}
	}
	return status
}
