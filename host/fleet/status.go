package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
)

// State is what a plugin, a generation or an instance is doing.
type State string

// The states of an instance. A plugin is in the best state of its current generation's instances; its task categories
// stay listed in all of them once they were accepted.
const (
	// Starting: the first process is on its way.
	Starting State = "starting"
	// Running: it takes calls, and answers.
	Running State = "running"
	// Unresponsive: it takes calls, and does not answer: health checks, or calls, or none of its servers can be reached.
	Unresponsive State = "unresponsive"
	// Restarting: it ended by itself or could not start, and the next start is on its way. Calls wait.
	Restarting State = "restarting"
	// CrashLooping is Restarting, slower, after crash_loop.failures within crash_loop.window. Calls wait.
	CrashLooping State = "crash-looping"
	// Refused: nothing is left of what it lists, because it belongs to other plugins or may not be served. It stays so until that
	// changes.
	Refused State = "refused"
	// Draining: it is to go, calls under way may end.
	Draining State = "draining"
	// Stopped: it is gone, or an operator stopped it.
	Stopped State = "stopped"
	// StateDisabled: an operator disabled it.
	StateDisabled State = "disabled"
)

// The states of a swap. Only events have them.
const (
	// EventSwapping: a new generation is starting beside the current one.
	EventSwapping State = "swapping"
	// EventSwapped: calls go to it, and the old one drains.
	EventSwapped State = "swapped"
	// EventCanary: the new generation gets a share of new jobs.
	EventCanary State = "canary"
	// EventPulling: the image of an instance is on its way.
	EventPulling State = "pulling"
	// EventSwapFailed: the new generation is not ready, or all that it lists belongs to other plugins; the old one serves on.
	EventSwapFailed State = "swap failed"
	// EventFileChanged: a file that it was started from is another one by now.
	EventFileChanged State = "file changed"
	// EventSecretRenewed: a process was given another value of a secret.
	EventSecretRenewed State = "secret renewed"
	// EventSecretUnread: a secret cannot be read again from its store.
	EventSecretUnread State = "secret unread"
	// EventOverMemory: an instance takes more memory than it may, and is restarted.
	EventOverMemory State = "over memory"
	// EventOOMKilled: the kernel has ended a process that an instance had started, for want of memory.
	EventOOMKilled State = "oom killed"
	// EventGivenUp: the host is ready without it, after ready.give_up.
	EventGivenUp State = "given up"
	// EventLastSound: the host has been started with the last sound configuration, because the files hold none.
	EventLastSound State = "last sound configuration"
	// EventCutShort: the host ended in the middle of a rollout, or after one was withdrawn, and the next one has the new generation alone.
	EventCutShort State = "rollout cut short"
	// EventRolledBack: the new generation failed its probation, and the one before it comes back.
	EventRolledBack State = "rolled back"
)

// States are the states of a plugin, in the order of a life.
var States = []State{Starting, Running, Unresponsive, Restarting, CrashLooping, Refused, Draining, Stopped, StateDisabled}

// Status is one plugin at one moment.
type Status struct {
	Name  string
	State State
	// Since is when it came into that state.
	Since time.Time
	// Reason is why it is not running, or, while it runs, why it last was not; nil when it always was. ReasonAt is when that was so.
	Reason   error
	ReasonAt time.Time
	// Removed says that it was taken out of the configuration, and only goes on until its processes are gone.
	Removed bool
	// RolledBack says that an operator rolled it back: what runs is not what the configuration says.
	RolledBack bool
	// ChangedFiles are files that its processes were started from and that are others by now.
	ChangedFiles []string
	// SwapError is why the last swap failed, while that matters.
	SwapError error
	// Pulling is how much of an image has come that is on its way; empty while none is.
	Pulling string
	// Restarts is how often processes of the current generation were started after the first.
	Restarts int
	// OOMKills is how many of its processes the kernel has ended for want of memory, in all its generations, those that a process of its own had
	// started among them.
	OOMKills int64
	// MemoryRestarts is how many of these were because it took too much memory.
	MemoryRestarts int
	// SecretsRead is when each of its secrets in stores had last been read: the oldest of these times; zero where it has none.
	SecretsRead time.Time
	// SecretErrors are why some of them could not be read when that was last tried.
	SecretErrors []string
	// SecretReads is how often they were read again.
	SecretReads SecretReads
	// Manifest is the last accepted one; nil before the first.
	Manifest *plugin.Manifest
	// Unserved is what the plugin lists and does not serve.
	Unserved []route.Unserved
	// Generations are the current one, then the canary and the candidate, then those that drain, the newest first.
	Generations []GenerationStatus
	// Rollout is what the canary has done beside the current generation; nil where there is none.
	Rollout *RolloutStatus
	// Aborts is how often a canary was withdrawn because of what was measured.
	Aborts int64

	// Of the current generation's running processes: sums, and the pid, start and sandbox of the first.
	Sandbox     *sandbox.Granted // nil: there is none
	PID         int
	Started     time.Time
	InFlight    int
	MemoryBytes uint64
	CPUSeconds  float64
	// MemoryLimit is what each of them may take; 0: no limit. MemoryWatched says that the host watches, because no cgroup holds it.
	MemoryLimit   uint64
	MemoryWatched bool
}

// GenerationStatus is one generation at one moment.
type GenerationStatus struct {
	ID      string
	Role    Role
	State   State // the best of its instances'
	Percent int   // of new jobs
	Version string
	Calls   route.Counts // since it was started, or restarted
	Counted time.Time    // since when
	// InFlight is how many calls its instances are answering.
	InFlight  int
	Instances []InstanceStatus
}

// Role is what a generation is for.
type Role string

// The roles.
const (
	RoleCurrent   Role = "current"   // it takes the calls
	RoleCanary    Role = "canary"    // it takes a share of new jobs
	RoleCandidate Role = "candidate" // it is on its way and takes none yet
	RoleDraining  Role = "draining"  // it takes none any more
)

// InstanceStatus is one instance at one moment. What the process is doing is zero where there is none.
type InstanceStatus struct {
	Pulling string // how much of its image has come
	State   State
	Since   time.Time
	// Reason is why it is not running, or was last not, and ReasonAt when that was so.
	Reason   error
	ReasonAt time.Time
	Restarts int
	// NextStart is when its next process is started; zero: none is waited for.
	NextStart time.Time
	// Health is what it last said when it was asked for its health, at HealthAt; zero: it was not.
	Health      string
	HealthAt    time.Time
	PID         int
	Started     time.Time
	Sandbox     *sandbox.Granted // nil: there is none
	InFlight    int
	MemoryBytes uint64
	CPUSeconds  float64

	leaving        bool // another is in its place, or none is needed
	memoryRestarts int
	memoryLimit    uint64
	memoryWatched  bool
}

func (s *supervisor) status() Status {
	v := s.view.Load()
	status := Status{Name: s.name, State: Starting, Since: v.state.born, Manifest: v.state.manifest, Unserved: v.state.unserved, SwapError: v.state.swapError}
	if d := s.desired.Load(); d != nil {
		status.RolledBack, status.Removed = d.rolledBack, d.removed && !d.hostStops
	}
	status.OOMKills = s.oomKills.Load()
	status.SecretsRead, status.SecretErrors, status.SecretReads = s.rotation.status()
	retiring := s.retiring.list()
	canary := 0
	if v.canary != nil {
		canary = v.state.share()
	}
	if v.current != nil {
		role, percent := RoleCurrent, 100-canary
		if slices.Contains(retiring, v.current) {
			role, percent = RoleDraining, 0
		}
		current := v.current.status(role, percent)
		status.Generations = append(status.Generations, current)
		status.sum(current)
		status.ChangedFiles = v.current.changedFiles()
	}
	if v.canary != nil && !slices.Contains(retiring, v.canary) {
		status.Generations = append(status.Generations, v.canary.status(RoleCanary, canary))
	}
	if v.candidate != nil && !slices.Contains(retiring, v.candidate) {
		status.Generations = append(status.Generations, v.candidate.status(RoleCandidate, 0))
	}
	status.Rollout, status.Aborts = v.rollout(), s.aborts.Load()
	for _, g := range slices.Backward(retiring) {
		if g != v.current { // which is told of already
			status.Generations = append(status.Generations, g.status(RoleDraining, 0))
		}
	}
	for _, g := range status.Generations {
		for _, instance := range g.Instances {
			status.Pulling = cmp.Or(status.Pulling, instance.Pulling)
		}
	}
	switch {
	case v.state.stopped:
		status.State, status.Since = Stopped, v.state.since
	case v.state.stopping:
		status.State, status.Since = Draining, v.state.since
	case v.state.halted:
		status.State, status.Since, status.Reason, status.ReasonAt, status.Manifest = Stopped, v.state.haltedAt, errHalted, v.state.haltedAt, v.state.recalled
		if len(retiring) > 0 {
			status.State = Draining
		}
	case v.state.refused != nil:
		status.State, status.Since, status.Reason, status.ReasonAt = Refused, v.state.since, v.state.refused, v.state.since
	}
	return status
}

// changedFiles are the files that the generation's running processes were started from and that have changed since.
func (g *generation) changedFiles() []string {
	var changed []string
	for _, s := range *g.visible.Load() {
		s.mu.Lock()
		files, running := s.files, s.instance != nil
		s.mu.Unlock()
		if running {
			changed = append(changed, files.changed()...)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

// sum makes the plugin's figures from those of its current generation. Its reason is that of an instance in the plugin's own state: why one
// of several does not run says nothing of a plugin that does.
func (s *Status) sum(g GenerationStatus) {
	s.State = g.State
	for i, instance := range g.Instances {
		if instance.State == s.State && (s.Since.IsZero() || i == 0 || instance.Since.Before(s.Since)) {
			s.Since = instance.Since
		}
		if instance.Reason != nil && (s.Reason == nil || instance.ReasonAt.After(s.ReasonAt)) && (instance.State == s.State || s.State == Running) {
			s.Reason, s.ReasonAt = instance.Reason, instance.ReasonAt
		}
		s.Restarts += instance.Restarts
		s.MemoryRestarts += instance.memoryRestarts
		s.InFlight += instance.InFlight
		s.MemoryBytes += instance.MemoryBytes
		s.CPUSeconds += instance.CPUSeconds
		if s.PID == 0 && !instance.leaving {
			s.PID, s.Started, s.Sandbox = instance.PID, instance.Started, instance.Sandbox
			s.MemoryLimit, s.MemoryWatched = instance.memoryLimit, instance.memoryWatched
		}
	}
}

// rank orders states from the best.
func rank(state State) int {
	for i, s := range []State{Running, Unresponsive, Starting, Restarting, CrashLooping, Draining, Stopped} {
		if s == state {
			return i
		}
	}
	return len(States)
}

func (g *generation) status(role Role, percent int) GenerationStatus {
	status := GenerationStatus{ID: g.id, Role: role, Percent: percent, Calls: g.tally.Counts(), Counted: g.tally.since}
	for _, s := range slices.Concat(*g.visible.Load(), g.departing()) {
		instances, version := s.status()
		status.Instances = append(status.Instances, instances...)
		if version != "" {
			status.Version = version
		}
	}
	for i, instance := range status.Instances {
		if i == 0 || rank(instance.State) < rank(status.State) {
			status.State = instance.State
		}
		status.InFlight += instance.InFlight
	}
	return status
}

// status is that of the slot's instance, or of what is in its place, and of instances that are to go.
func (s *instanceSlot) status() (all []InstanceStatus, version string) {
	s.mu.Lock()
	own := InstanceStatus{
		State: s.state, Since: s.since, Reason: s.reason, ReasonAt: s.reasonAt, Restarts: s.restarts, NextStart: s.next, Pulling: s.pulling,
		Health: s.health.said, HealthAt: s.health.at, memoryRestarts: s.eating.restarts,
	}
	running, leaving := s.instance, slices.Clone(s.eating.departing)
	s.mu.Unlock()
	if n := len(leaving) - 1; own.State == Draining && n >= 0 { // the last is what the slot's state tells of
		running, leaving = leaving[n].instance, leaving[:n]
	}
	if running != nil {
		own.look(running)
		version = running.Manifest().Version
	}
	all = append(all, own)
	for _, d := range leaving {
		other := InstanceStatus{State: Draining, Since: d.since, leaving: true}
		other.look(d.instance)
		all = append(all, other)
	}
	return all, version
}

// look adds what the process is doing.
func (status *InstanceStatus) look(running instance) {
	status.PID, status.Started, status.InFlight, status.Sandbox = running.PID(), running.Started(), running.InFlight(), running.Sandbox()
	status.memoryLimit, status.memoryWatched = running.MemoryLimit()
	// A process that is just ending has no usage any more; the next status will say so.
	if usage, err := running.Usage(); err == nil {
		status.MemoryBytes, status.CPUSeconds = usage.RSS, usage.CPUSeconds
	}
}
