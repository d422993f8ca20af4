package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
)

// Status is what GET /status answers and `agenthost status` shows. It holds no configuration, no environment and no
// secret.
type Status struct {
	// The host itself.
	Host HostStatus `json:"host"`
	// The plugins, by name. One that was taken out of the configuration stays until its processes are gone; where it is wanted again
	// meanwhile, it stands there twice.
	Plugins []PluginStatus `json:"plugins"`
	// The plugins that were taken out of the configuration, or disabled, a short while ago: calls of their task types wait for them.
	Removed []RemovedStatus `json:"removed,omitempty"`
}

// RemovedStatus is a plugin that was taken out of the configuration, or disabled, a short while ago.
type RemovedStatus struct {
	// The name that the configuration gave it.
	Plugin string `json:"plugin"`
	// When it was taken out.
	At time.Time `json:"at"`
	// Until when calls that begin a task of its types wait for it: create.removed_grace after that.
	Until time.Time `json:"until"`
	// The names of these task types.
	TaskTypes []string `json:"task_types"`
}

// HostStatus is the host itself.
type HostStatus struct {
	// The host's version.
	Version string `json:"version"`
	// Its process.
	PID int `json:"pid"`
	// When it was started.
	Started time.Time `json:"started"`
	// How long ago that is.
	UptimeSeconds float64 `json:"uptime_seconds"`
	// The address for Flyte that is in use, host:port.
	GRPC string `json:"grpc"`
	// The address for operators that is in use, host:port or unix:path.
	Admin string `json:"admin"`
	// Whether Flyte may send work, as /readyz and grpc.health.v1 say.
	Ready bool `json:"ready"`
	// Why it is not ready, and which plugins it waits for; absent where it is ready.
	NotReady string `json:"not_ready,omitempty"`
	// The plugins that it waits for before it is ready for the first time.
	WaitsFor []string `json:"waits_for,omitempty"`
	// The plugins that it is ready without, after ready.give_up, while they do not run as configured.
	ReadyWithout []string `json:"ready_without,omitempty"`
	// The address for probes that is in use, host:port, or off.
	Probe string `json:"probe"`
	// Stands for the configuration that is in effect: the same on every host that has the same.
	ConfigHash string `json:"config_hash"`
	// Why the configuration's files, as they are now, are not in effect; the last sound configuration is.
	ConfigError string `json:"config_error,omitempty"`
	// Stands for what those files hold, as check gives it as files_hash; absent where they are in effect.
	ConfigRefused string `json:"config_refused,omitempty"`
	// When the configuration in effect was kept, where the host was started with it because the files hold none; absent otherwise.
	ConfigLastSound *time.Time `json:"config_last_sound,omitempty"`
	// Why changes of the configuration's files are seen late: the system does not notify of them, and the host only looks now
	// and then.
	ConfigWatchError string `json:"config_watch_error,omitempty"`
	// How many lines of the log could not be written.
	LogLinesLost int64 `json:"log_lines_lost"`
	// Why the last of them could not; absent while lines can be written.
	LogError string `json:"log_error,omitempty"`
	// How many events could not be kept for after the host's end.
	EventsLost int64 `json:"events_lost"`
	// Why the last of them could not; absent while events are kept.
	HistoryError string `json:"history_error,omitempty"`
	// The directory for what must outlive the host: state_dir.
	StateDir string `json:"state_dir"`
	// Why what is kept there may not outlive the host; absent where it does.
	StateWarning string `json:"state_warning,omitempty"`
	// Which limits of cgroups plugins can have here, and why not the others.
	Cgroups string `json:"cgroups"`
	// The calls that wait and of which it is not known yet which plugin they are for; absent where none does.
	Waiting []Waiting `json:"waiting,omitempty"`
	// The jobs that run of task types that no plugin serves; absent where none does.
	Jobs []JobsStatus `json:"jobs,omitempty"`
	// Whether more jobs run than are counted, which is a million; absent where all are.
	JobsUncounted bool `json:"jobs_uncounted,omitempty"`
	// Why tasks whose job cannot be made at once may not be accepted as they should be; absent where they are.
	CreateWarning string `json:"create_warning,omitempty"`
}

// PluginStatus is one configured plugin.
type PluginStatus struct {
	// The name that the configuration gives it.
	Name string `json:"name"`
	// One of starting, running, unresponsive, restarting, crash-looping, refused, draining, stopped, disabled.
	State string `json:"state"`
	// Since when it is in this state.
	Since time.Time `json:"since"`
	// Why it is not running or, while it runs, why it last was not; absent when it always was.
	Reason string `json:"reason,omitempty"`
	// When that was so.
	ReasonAt *time.Time `json:"reason_at,omitempty"`
	// Whether it was taken out of the configuration, and only goes on until its processes are gone.
	Removed bool `json:"removed,omitempty"`
	// When the next of its processes is started; absent where none is waited for.
	NextStart *time.Time `json:"next_start,omitempty"`
	// The calls that wait, by what they wait for; absent where none does.
	Waiting []Waiting `json:"waiting,omitempty"`
	// The jobs that run, by the generation that was asked about each last: the generations with the most first. Those count that this host has made
	// or was asked about, within the last 15 to 20 minutes. Several jobs with one task type and resource_meta are one.
	Jobs []JobsStatus `json:"jobs,omitempty"`
	// What holds calls to it back; absent where nothing does.
	Limits *LimitsStatus `json:"limits,omitempty"`
	// Why the newest configuration does not serve, while that is so; what served before goes on.
	SwapError string `json:"swap_error,omitempty"`
	// Whether an operator rolled it back: it does not run as configured.
	RolledBack bool `json:"rolled_back,omitempty"`
	// The files that its processes were started from and that are others by now; a restart takes them up.
	ChangedFiles []string `json:"changed_files,omitempty"`
	// How much of an image has come that is on its way, such as "12.0 MiB of 300.0 MiB"; absent while none is.
	Pulling string `json:"pulling,omitempty"`
	// The plugin's version, in its own words.
	Version string `json:"version,omitempty"`
	// The SDK that it is written with, in its own words.
	SDK string `json:"sdk,omitempty"`
	// The running process; absent where there is none.
	PID int `json:"pid,omitempty"`
	// When that process was started.
	Started *time.Time `json:"started,omitempty"`
	// How long ago that is.
	UptimeSeconds float64 `json:"uptime_seconds,omitempty"`
	// What keeps that process to what it may do; absent where there is none, or sandbox is off.
	Sandbox *SandboxStatus `json:"sandbox,omitempty"`
	// How often a process was started after the first.
	Restarts int `json:"restarts"`
	// How many processes of it, or started by one, the kernel has ended for want of memory (OOM).
	OOMKills int64 `json:"oom_kills,omitempty"`
	// How many of these restarts were because it took too much memory.
	MemoryRestarts int `json:"memory_restarts,omitempty"`
	// When each of its secrets in stores had last been read: the oldest of these times; absent where it has none.
	SecretsRead *time.Time `json:"secrets_read,omitempty"`
	// Why some of them could not be read when that was last tried: its processes keep the values that they have.
	SecretErrors []string `json:"secret_errors,omitempty"`
	// The task categories that it serves. They stay listed while it restarts.
	Categories []Category `json:"categories"`
	// The task categories that it lists and does not serve.
	NotServed []NotServed `json:"not_served,omitempty"`
	// How many calls it is answering.
	InFlight int `json:"in_flight"`
	// Resident memory of its processes and of what they have started.
	MemoryBytes uint64 `json:"memory_bytes"`
	// How much memory each of its processes may take with what it has started: sandbox.memory; absent where there is no limit.
	MemoryLimit uint64 `json:"memory_limit,omitempty"`
	// What holds that limit: cgroup, or watching, where the host looks and restarts it.
	MemoryLimitBy string `json:"memory_limit_by,omitempty"`
	// Processor time of its running processes and of what they have started.
	CPUSeconds float64 `json:"cpu_seconds"`
	// The generations that have processes: the newest first, then those that drain. The fields above are the current one's, summed up over its
	// instances.
	Generations []GenerationStatus `json:"generations,omitempty"`
	// How the canary does beside the current generation; absent where there is none.
	Rollout *RolloutStatus `json:"rollout,omitempty"`
}

// GenerationStatus is the instances that were started from one spec of a plugin.
type GenerationStatus struct {
	// The same for equal specs, on every host.
	ID string `json:"id"`
	// A state, as the plugin's.
	State string `json:"state"`
	// Whether calls go here unless something else is said of them.
	Current bool `json:"current"`
	// What it is for: current, canary, candidate (it is on its way), draining (it goes when its calls under way have ended).
	Role string `json:"role"`
	// The share of new jobs that it gets.
	Percent int `json:"percent"`
	// How many calls its instances are answering.
	InFlight int `json:"in_flight"`
	// The plugin's version, in its own words.
	Version string `json:"version,omitempty"`
	// What its calls came to.
	Calls CallStatus `json:"calls"`
	// Since when they are counted: its start, or that of the host.
	CallsSince time.Time `json:"calls_since"`
	// The processes, in the order of their numbers.
	Instances []InstanceStatus `json:"instances"`
	// Why it is not running or, while it runs, why it last was not.
	Reason string `json:"reason,omitempty"`
	// When that was so.
	ReasonAt *time.Time `json:"reason_at,omitempty"`
}

// CallStatus is what calls on a generation came to, each try counted for itself, whatever Flyte heard: a poll that is answered from
// memory because the plugin failed is an error.
type CallStatus struct {
	// How many calls there were whose outcome says something of the plugin: those that their callers gave up are not among them.
	Calls uint64 `json:"calls"`
	// How many of them failed by the plugin's fault.
	Errors uint64 `json:"errors"`
	// How many of them it rejected as a sound agent may, such as with INVALID_ARGUMENT.
	Rejected uint64 `json:"rejected"`
	// What part of the calls are errors; 0 where there are none.
	ErrorRate float64 `json:"error_rate"`
	// The time within which half of the calls ended, to a quarter; 0 where there are none.
	P50Seconds float64 `json:"p50_seconds"`
	// The time within which 99 of 100 calls ended, to a quarter; 0 where there are none.
	P99Seconds float64 `json:"p99_seconds"`
}

// RolloutStatus is how a canary does beside the current generation.
type RolloutStatus struct {
	// The canary's share of new jobs.
	Percent int `json:"percent"`
	// Since when calls of both are counted here: when the canary got the first.
	Since time.Time `json:"since"`
	// The canary.
	Canary RolloutSide `json:"canary"`
	// The current generation.
	Current RolloutSide `json:"current"`
	// Where it stands; absent where rollout has no steps.
	Step *RolloutStep `json:"step,omitempty"`
}

// RolloutStep is the step that a rollout is in.
type RolloutStep struct {
	// Its number, from 1.
	Number int `json:"number"`
	// How many there are.
	Of int `json:"of"`
	// When it began.
	Began time.Time `json:"began"`
	// How much of its pause is left.
	LeftSeconds float64 `json:"left_seconds"`
	// How many calls the canary has to have had in it: rollout.abort_if.min_calls.
	MinCalls int `json:"min_calls"`
	// What the canary's calls in it came to.
	Canary CallStatus `json:"canary"`
	// What those of the current generation came to meanwhile.
	Current CallStatus `json:"current"`
	// What it waits for, in words.
	WaitsFor string `json:"waits_for"`
}

// RolloutSide is one of the two generations of a rollout.
type RolloutSide struct {
	// The generation.
	Generation string `json:"generation"`
	// The plugin's version, in its own words.
	Version string `json:"version,omitempty"`
	// What its calls came to since the rollout began.
	Calls CallStatus `json:"calls"`
}

func callStatus(c *route.Counts) CallStatus {
	return CallStatus{
		Calls: c.Calls(), Errors: c.Errors(), Rejected: c.With(route.OutcomeRejected), ErrorRate: c.ErrorRate(),
		P50Seconds: c.Quantile(0.5).Seconds(), P99Seconds: c.Quantile(0.99).Seconds(),
	}
}

// waitsFor is what a step waits for.
func waitsFor(step *fleet.StepStatus, left time.Duration) string {
	calls := fmt.Sprintf("%d of %d calls", step.Canary.Calls(), step.MinCalls)
	few := step.Canary.Calls() < uint64(step.MinCalls)
	switch {
	case step.Promoted:
		return "the swap"
	case left > 0 && few:
		return fmt.Sprintf("%s, and %s", left.Round(time.Second), calls)
	case left > 0:
		return left.Round(time.Second).String()
	case few:
		return calls
	}
	return "the next look"
}

func rolloutStatus(p *fleet.Status) *RolloutStatus {
	r := p.Rollout
	if r == nil {
		return nil
	}
	status := &RolloutStatus{Percent: r.Percent, Since: r.Since}
	if step := r.Step; step != nil {
		left := max(step.Pause-time.Since(step.Began), 0)
		status.Step = &RolloutStep{
			Number: step.Number, Of: step.Steps, Began: step.Began, LeftSeconds: left.Seconds(), MinCalls: step.MinCalls,
			Canary: callStatus(&step.Canary), Current: callStatus(&step.Current), WaitsFor: waitsFor(step, left),
		}
	}
	for _, g := range p.Generations {
		switch g.Role {
		case fleet.RoleCanary:
			status.Canary = RolloutSide{g.ID, g.Version, callStatus(&r.Canary)}
		case fleet.RoleCurrent:
			status.Current = RolloutSide{g.ID, g.Version, callStatus(&r.Current)}
		}
	}
	return status
}

// InstanceStatus is one process of a generation, or the place of one that is being started.
type InstanceStatus struct {
	// A state, as the plugin's.
	State string `json:"state"`
	// Since when it is in this state.
	Since time.Time `json:"since"`
	// Why it is not running or, while it runs, why it last was not; absent when it always was.
	Reason string `json:"reason,omitempty"`
	// When that was so.
	ReasonAt *time.Time `json:"reason_at,omitempty"`
	// When its next process is started, at the latest; absent where none is waited for.
	NextStart *time.Time `json:"next_start,omitempty"`
	// The last answer to a health check; absent with an agent that runs elsewhere.
	LastHealth *HealthStatus `json:"last_health,omitempty"`
	// The process; absent where there is none, as with an agent that runs elsewhere.
	PID int `json:"pid,omitempty"`
	// When it was started.
	Started *time.Time `json:"started,omitempty"`
	// How long ago that is.
	UptimeSeconds float64 `json:"uptime_seconds,omitempty"`
	// What keeps it to what it may do; absent where sandbox is off.
	Sandbox *SandboxStatus `json:"sandbox,omitempty"`
	// How often a process was started after the first.
	Restarts int `json:"restarts"`
	// How many calls it is answering.
	InFlight int `json:"in_flight"`
	// Resident memory of it and of what it has started.
	MemoryBytes uint64 `json:"memory_bytes"`
	// Processor time of it and of what it has started.
	CPUSeconds float64 `json:"cpu_seconds"`
}

// HealthStatus is an answer to a health check. A plugin is asked every 2 seconds.
type HealthStatus struct {
	// When it came.
	At time.Time `json:"at"`
	// What it said, such as SERVING or NOT_SERVING, or the code of an error, such as Unimplemented.
	Status string `json:"status"`
}

// Waiting is calls that wait for one thing.
type Waiting struct {
	// What they wait for: concurrency or rate (limits of the plugin), plugin (an instance that takes calls), removed (a plugin for their task
	// type), start (the host does not know yet what its plugins serve), gate (creations that may have ended the plugin are made one by one), job
	// (their task's job is being made), retry (the pause before it is tried again), memory (room within limits.memory).
	On string `json:"on"`
	// How many.
	Calls int `json:"calls"`
	// For how long the one has waited that has for longest.
	OldestSeconds float64 `json:"oldest_seconds"`
}

// JobsStatus is the jobs of one generation of a plugin, as far as this host has heard of them.
type JobsStatus struct {
	// The generation that was asked about them last; absent for those of which none was yet, and for what further generations have together.
	Generation string `json:"generation,omitempty"`
	// How many run.
	Running int `json:"running"`
	// When this host first heard of the one that it has known longest, to the minute; absent where none runs.
	Oldest *time.Time `json:"oldest,omitempty"`
	// How many jobs each guarantee has acted on, such as "G5": 3, those included that have ended; absent where none has.
	Saved map[string]int `json:"saved,omitempty"`
}

// LimitsStatus is what holds calls to a plugin back.
type LimitsStatus struct {
	// How many calls of CreateTask and ExecuteTaskSync may be under way; absent: any number.
	Concurrency int `json:"concurrency,omitempty"`
	// How many are.
	UnderWay int `json:"under_way"`
	// For how long such a call waits for its place.
	WaitSeconds float64 `json:"wait_seconds,omitempty"`
	// How many calls of any kind it gets in a second; absent: any number.
	Rate float64 `json:"rate,omitempty"`
	// How many of them may come at once.
	Burst int `json:"burst,omitempty"`
}

// SandboxStatus is what this machine grants of a process's sandbox.
type SandboxStatus struct {
	// The version of the kernel's Landlock, by which files, ports and signals are kept apart; 0: there is none.
	Landlock int `json:"landlock"`
	// Whether system calls are filtered.
	Seccomp bool `json:"seccomp"`
	// The id of the user that the process runs as.
	UID uint32 `json:"uid"`
	// What the machine cannot grant; absent where it grants everything.
	Missing []string `json:"missing,omitempty"`
}

func sandboxStatus(granted *sandbox.Granted) *SandboxStatus {
	if granted == nil {
		return nil
	}
	return &SandboxStatus{Landlock: granted.Landlock, Seccomp: granted.Seccomp, UID: granted.UID, Missing: granted.Missing}
}

// Category is a task category that a plugin serves.
type Category struct {
	// The name of the task type.
	Name string `json:"name"`
	// The version of the task type; 0 for one without.
	Version int32 `json:"version"`
	// Whether its agent is a sync one.
	Sync bool `json:"sync"`
}

// NotServed is a task category that a plugin lists and does not serve.
type NotServed struct {
	// The name of the task type.
	Name string `json:"name"`
	// The version of the task type; 0 for one without.
	Version int32 `json:"version"`
	// The plugin that the task type belongs to; absent where it is nobody's, or its own.
	Owner string `json:"owner,omitempty"`
	// Why.
	Reason string `json:"reason"`
}

// Status is what GET /status answers.
func (s *Server) Status() Status {
	status := Status{
		Host: HostStatus{
			Version: s.options.Version, PID: os.Getpid(), Started: s.started, UptimeSeconds: time.Since(s.started).Seconds(),
			GRPC: s.options.GRPC, Admin: s.options.Admin, Probe: s.options.Probe, ConfigHash: s.options.Config.hash(), Ready: s.options.Ready(), ConfigError: s.options.Config.problem(),
			ConfigWatchError: s.options.WatchError(), StateDir: s.options.StateDir, StateWarning: s.options.StateWarning, Cgroups: s.options.Cgroups, CreateWarning: s.options.CreateWarning(),
		},
		Plugins: []PluginStatus{},
	}
	status.Host.ConfigLastSound = s.options.Config.lastSound()
	readiness := s.options.readiness()
	status.Host.NotReady, status.Host.WaitsFor, status.Host.ReadyWithout = readiness.Why, names(readiness.Waits), names(readiness.Without)
	if refused := s.options.Config.refused(); refused != nil {
		status.Host.ConfigRefused = refused.FilesHash
	}
	status.Host.LogLinesLost, status.Host.LogError = s.options.LogLost()
	status.Host.EventsLost, status.Host.HistoryError = s.options.HistoryLost()
	waiting := waitingByPlugin(s.options.Waiting())
	status.Host.Waiting = waiting[""]
	counts, full := s.options.Jobs()
	jobsOf := jobsByPlugin(counts)
	status.Host.Jobs, status.Host.JobsUncounted = jobsOf[""], full
	limits := limitsByPlugin(s.options.Limits())
	for _, p := range s.options.Plugins() {
		of := pluginStatus(p)
		if !p.Removed || !slices.ContainsFunc(status.Plugins, func(other PluginStatus) bool { return other.Name == p.Name }) {
			of.Waiting, of.Limits, of.Jobs = waiting[p.Name], limits[p.Name], jobsOf[p.Name]
		}
		status.Plugins = append(status.Plugins, of)
	}
	for _, r := range s.options.Removed() {
		status.Removed = append(status.Removed, removedStatus(r))
	}
	return status
}

func removedStatus(r route.Removed) RemovedStatus {
	removed := RemovedStatus{Plugin: r.Plugin, At: r.At, Until: r.Until, TaskTypes: []string{}}
	for _, agent := range r.Manifest.Agents {
		for _, category := range agent.Categories {
			removed.TaskTypes = append(removed.TaskTypes, category.Name)
		}
	}
	slices.Sort(removed.TaskTypes)
	removed.TaskTypes = slices.Compact(removed.TaskTypes)
	return removed
}

func waitingByPlugin(all []gateway.Waiting) map[string][]Waiting {
	by := map[string][]Waiting{}
	for _, w := range all {
		by[w.Plugin] = append(by[w.Plugin], Waiting{On: string(w.On), Calls: w.Calls, OldestSeconds: time.Since(w.Oldest).Seconds()})
	}
	return by
}

// maxJobsStatus is how many generations of a plugin are told of by themselves.
const maxJobsStatus = 10

// jobsByPlugin has the jobs of each plugin, the generations with the most first.
func jobsByPlugin(counts []jobs.Count) map[string][]JobsStatus {
	by := map[string][]JobsStatus{}
	for _, c := range counts {
		status := JobsStatus{Generation: c.Generation, Running: c.Running, Oldest: timeOf(c.Oldest), Saved: map[string]int{}}
		for _, g := range guarantee.All() {
			if n := c.Saved[g.ID]; n > 0 {
				status.Saved[g.ID.String()] = n
			}
		}
		if status.Running == 0 && len(status.Saved) == 0 {
			continue
		}
		all := by[c.Plugin]
		if len(all) < maxJobsStatus {
			by[c.Plugin] = append(all, status)
			continue
		}
		rest := &all[maxJobsStatus-1]
		rest.Generation = ""
		if rest.Running += status.Running; status.Oldest != nil && (rest.Oldest == nil || status.Oldest.Before(*rest.Oldest)) {
			rest.Oldest = status.Oldest
		}
		for id, n := range status.Saved {
			rest.Saved[id] += n
		}
	}
	return by
}

func limitsByPlugin(all []gateway.InEffect) map[string]*LimitsStatus {
	by := map[string]*LimitsStatus{}
	for _, l := range all {
		by[l.Plugin] = &LimitsStatus{Concurrency: l.Concurrency, UnderWay: l.UnderWay, WaitSeconds: l.Wait.Seconds(), Rate: l.Rate, Burst: l.Burst}
	}
	return by
}

func pluginStatus(p fleet.Status) PluginStatus {
	status := PluginStatus{
		Name: p.Name, State: string(p.State), Since: p.Since, RolledBack: p.RolledBack, ChangedFiles: p.ChangedFiles, PID: p.PID, Restarts: p.Restarts, InFlight: p.InFlight,
		MemoryBytes: p.MemoryBytes, CPUSeconds: p.CPUSeconds, Categories: []Category{}, Reason: reason(p.Reason), Sandbox: sandboxStatus(p.Sandbox),
	}
	status.Pulling, status.MemoryRestarts, status.OOMKills, status.Removed = p.Pulling, p.MemoryRestarts, p.OOMKills, p.Removed
	status.ReasonAt = timeOf(p.ReasonAt)
	if status.SecretErrors = p.SecretErrors; !p.SecretsRead.IsZero() {
		status.SecretsRead = &p.SecretsRead
	}
	if p.MemoryLimit > 0 {
		status.MemoryLimit, status.MemoryLimitBy = p.MemoryLimit, "cgroup"
		if p.MemoryWatched {
			status.MemoryLimitBy = "watching"
		}
	}
	if p.SwapError != nil {
		status.SwapError = p.SwapError.Error()
	}
	if p.PID != 0 {
		status.Started, status.UptimeSeconds = &p.Started, time.Since(p.Started).Seconds()
	}
	unserved := map[plugin.Category]bool{}
	for _, u := range p.Unserved {
		unserved[u.Category] = true
		status.NotServed = append(status.NotServed, NotServed{Name: u.Category.Name, Version: u.Category.Version, Owner: u.Owner, Reason: u.Error()})
	}
	if p.Manifest != nil {
		status.Version, status.SDK = p.Manifest.Version, p.Manifest.SDK
		for _, agent := range p.Manifest.Agents {
			for _, category := range agent.Categories {
				if unserved[category] {
					continue
				}
				status.Categories = append(status.Categories, Category{Name: category.Name, Version: category.Version, Sync: agent.Sync})
			}
		}
	}
	status.Rollout = rolloutStatus(&p)
	for _, g := range p.Generations {
		status.Generations = append(status.Generations, generationStatus(g))
	}
	slices.SortStableFunc(status.Generations, func(a, b GenerationStatus) int { return cmp.Compare(order(a), order(b)) })
	for _, g := range status.Generations {
		for _, i := range g.Instances {
			if i.NextStart != nil && (status.NextStart == nil || i.NextStart.Before(*status.NextStart)) {
				status.NextStart = i.NextStart
			}
		}
	}
	return status
}

// order has the newest generations first, and those that drain last.
func order(g GenerationStatus) int {
	return slices.Index([]string{string(fleet.RoleCandidate), string(fleet.RoleCanary), string(fleet.RoleCurrent), string(fleet.RoleDraining)}, g.Role)
}

// timeOf is nil for no time.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func generationStatus(g fleet.GenerationStatus) GenerationStatus {
	status := GenerationStatus{
		ID: g.ID, State: string(g.State), Current: g.Role == fleet.RoleCurrent, Role: string(g.Role), Percent: g.Percent, Version: g.Version, InFlight: g.InFlight,
		Calls: callStatus(&g.Calls), CallsSince: g.Counted, Instances: []InstanceStatus{},
	}
	var reasonAt time.Time
	for _, i := range g.Instances {
		instance := InstanceStatus{
			State: string(i.State), PID: i.PID, Restarts: i.Restarts, InFlight: i.InFlight, MemoryBytes: i.MemoryBytes, CPUSeconds: i.CPUSeconds,
			Sandbox: sandboxStatus(i.Sandbox), Since: i.Since, Reason: reason(i.Reason), ReasonAt: timeOf(i.ReasonAt), NextStart: timeOf(i.NextStart),
		}
		if !i.HealthAt.IsZero() {
			instance.LastHealth = &HealthStatus{At: i.HealthAt, Status: i.Health}
		}
		if !i.Started.IsZero() {
			instance.Started, instance.UptimeSeconds = &i.Started, time.Since(i.Started).Seconds()
		}
		if i.Reason != nil && !i.ReasonAt.Before(reasonAt) {
			status.Reason, status.ReasonAt, reasonAt = reason(i.Reason), timeOf(i.ReasonAt), i.ReasonAt
		}
		status.Instances = append(status.Instances, instance)
	}
	return status
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Status()) }

func writeJSON(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(answer) // a reader that went away needs no answer
}
