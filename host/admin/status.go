package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
)

// Status is what GET /status answers and `agenthost status` shows. It holds no configuration, no environment and no
// secret.
type Status struct {
	// The host itself.
	Host HostStatus `json:"host"`
	// The plugins, by name.
	Plugins []PluginStatus `json:"plugins"`
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
	// Why tasks whose job cannot be made at once may not be accepted as they should be; absent where they are.
	CreateWarning string `json:"create_warning,omitempty"`
}

// PluginStatus is one configured plugin.
type PluginStatus struct {
	// The name that the configuration gives it.
	Name string `json:"name"`
	// One of starting, running, restarting, crash-looping, refused, draining, stopped, disabled.
	State string `json:"state"`
	// Since when it is in this state.
	Since time.Time `json:"since"`
	// Why it is not running or, while it runs, why it last was not; absent when it always was.
	Reason string `json:"reason,omitempty"`
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
	// How many of these were because it took too much memory.
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
	// The generations that have processes, the newest first. The fields above are the current one's, summed up over its
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
	// The share of new jobs that it gets.
	Percent int `json:"percent"`
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

func rolloutStatus(p *fleet.Status) *RolloutStatus {
	r := p.Rollout
	if r == nil {
		return nil
	}
	status := &RolloutStatus{Percent: r.Percent, Since: r.Since}
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

func (s *Server) status() Status {
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
	for _, p := range s.options.Plugins() {
		status.Plugins = append(status.Plugins, pluginStatus(p))
	}
	return status
}

func pluginStatus(p fleet.Status) PluginStatus {
	status := PluginStatus{
		Name: p.Name, State: string(p.State), Since: p.Since, RolledBack: p.RolledBack, ChangedFiles: p.ChangedFiles, PID: p.PID, Restarts: p.Restarts, InFlight: p.InFlight,
		MemoryBytes: p.MemoryBytes, CPUSeconds: p.CPUSeconds, Categories: []Category{}, Reason: reason(p.Reason), Sandbox: sandboxStatus(p.Sandbox),
	}
	status.Pulling, status.MemoryRestarts = p.Pulling, p.MemoryRestarts
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
	slices.Reverse(status.Generations) // the newest first
	return status
}

func generationStatus(g fleet.GenerationStatus) GenerationStatus {
	status := GenerationStatus{ID: g.ID, State: string(g.State), Current: g.Role == fleet.RoleCurrent, Percent: g.Percent, Version: g.Version,
		Calls: callStatus(&g.Calls), CallsSince: g.Counted}
	for _, i := range g.Instances {
		instance := InstanceStatus{
			State: string(i.State), PID: i.PID, Restarts: i.Restarts, InFlight: i.InFlight, MemoryBytes: i.MemoryBytes, CPUSeconds: i.CPUSeconds,
			Sandbox: sandboxStatus(i.Sandbox),
		}
		if !i.Started.IsZero() {
			instance.Started, instance.UptimeSeconds = &i.Started, time.Since(i.Started).Seconds()
		}
		if i.Reason != nil {
			status.Reason = reason(i.Reason)
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

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.status()) }

func writeJSON(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(answer) // a reader that went away needs no answer
}
