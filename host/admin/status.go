package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
)

// Status is what GET /status answers and `agenthost status` shows. It holds no configuration, no environment and no
// secret.
type Status struct {
	Host    HostStatus     `json:"host"`
	Plugins []PluginStatus `json:"plugins"` // by name
}

// HostStatus is the host itself.
type HostStatus struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// UptimeSeconds is the time since Started.
	UptimeSeconds float64 `json:"uptime_seconds"`
	// GRPC and Admin are the addresses in use, host:port.
	GRPC  string `json:"grpc"`
	Admin string `json:"admin"`
	// Ready is what /readyz and grpc.health.v1 say.
	Ready bool `json:"ready"`
	// ConfigError is why the configuration's files, as they are now, are not in effect; the last sound configuration is.
	ConfigError string `json:"config_error,omitempty"`
	// ConfigWatchError is why changes of the configuration's files are seen late: the system does not notify of them, and the
	// host only looks now and then.
	ConfigWatchError string `json:"config_watch_error,omitempty"`
}

// PluginStatus is one configured plugin.
type PluginStatus struct {
	Name string `json:"name"`
	// State is one of starting, running, restarting, crash-looping, refused, draining, stopped.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Reason is why it is not running or, while it runs, why it last was not. Empty when it always was.
	Reason string `json:"reason,omitempty"`
	// SwapError is why the newest configuration does not serve, while that is so; what served before goes on.
	SwapError string `json:"swap_error,omitempty"`
	// Version and SDK are the plugin's own words.
	Version string `json:"version,omitempty"`
	SDK     string `json:"sdk,omitempty"`
	// PID, Started and UptimeSeconds are the running process's; absent where there is none.
	PID           int        `json:"pid,omitempty"`
	Started       *time.Time `json:"started,omitempty"`
	UptimeSeconds float64    `json:"uptime_seconds,omitempty"`
	// Restarts is how often a process was started after the first.
	Restarts int `json:"restarts"`
	// Categories stay listed while the plugin restarts.
	Categories  []Category `json:"categories"`
	InFlight    int        `json:"in_flight"`
	MemoryBytes uint64     `json:"memory_bytes"`
	CPUSeconds  float64    `json:"cpu_seconds"`
	// Generations are those that have processes, the newest first. What stands above is of the current one, summed up over its
	// instances.
	Generations []GenerationStatus `json:"generations,omitempty"`
}

// GenerationStatus is the instances that were started from one spec of a plugin.
type GenerationStatus struct {
	// ID is the same for equal specs, on every host.
	ID    string `json:"id"`
	State string `json:"state"`
	// Current says that calls go here unless something else is said of them.
	Current bool `json:"current"`
	// Percent is the share of new jobs that it gets.
	Percent int `json:"percent"`
	// Version is the plugin's own word.
	Version   string           `json:"version,omitempty"`
	Instances []InstanceStatus `json:"instances"`
	// Reason is why it is not running or, while it runs, why it last was not.
	Reason string `json:"reason,omitempty"`
}

// InstanceStatus is one process of a generation, or the place of one that is being started.
type InstanceStatus struct {
	State string `json:"state"`
	// PID, Started and UptimeSeconds are absent where there is no process, as with a remote agent.
	PID           int        `json:"pid,omitempty"`
	Started       *time.Time `json:"started,omitempty"`
	UptimeSeconds float64    `json:"uptime_seconds,omitempty"`
	// Restarts is how often a process was started after the first.
	Restarts    int     `json:"restarts"`
	InFlight    int     `json:"in_flight"`
	MemoryBytes uint64  `json:"memory_bytes"`
	CPUSeconds  float64 `json:"cpu_seconds"`
}

// Category is a task category that a plugin serves.
type Category struct {
	Name    string `json:"name"`
	Version int32  `json:"version"`
	Sync    bool   `json:"sync"`
}

func (s *Server) status() Status {
	status := Status{
		Host: HostStatus{
			Version: s.options.Version, PID: os.Getpid(), Started: s.started, UptimeSeconds: time.Since(s.started).Seconds(),
			GRPC: s.options.GRPC, Admin: s.options.Admin, Ready: s.options.Ready(), ConfigError: s.options.ConfigError(),
			ConfigWatchError: s.options.WatchError(),
		},
		Plugins: []PluginStatus{},
	}
	for _, p := range s.options.Plugins() {
		status.Plugins = append(status.Plugins, pluginStatus(p))
	}
	return status
}

func pluginStatus(p fleet.Status) PluginStatus {
	status := PluginStatus{
		Name: p.Name, State: string(p.State), Since: p.Since, PID: p.PID, Restarts: p.Restarts, InFlight: p.InFlight,
		MemoryBytes: p.MemoryBytes, CPUSeconds: p.CPUSeconds, Categories: []Category{}, Reason: reason(p.Reason),
	}
	if p.SwapError != nil {
		status.SwapError = p.SwapError.Error()
	}
	if p.PID != 0 {
		status.Started, status.UptimeSeconds = &p.Started, time.Since(p.Started).Seconds()
	}
	if p.Manifest != nil {
		status.Version, status.SDK = p.Manifest.Version, p.Manifest.SDK
		for _, agent := range p.Manifest.Agents {
			for _, category := range agent.Categories {
				status.Categories = append(status.Categories, Category{Name: category.Name, Version: category.Version, Sync: agent.Sync})
			}
		}
	}
	for _, g := range p.Generations {
		status.Generations = append(status.Generations, generationStatus(g))
	}
	slices.Reverse(status.Generations) // the newest first
	return status
}

func generationStatus(g fleet.GenerationStatus) GenerationStatus {
	status := GenerationStatus{ID: g.ID, State: string(g.State), Current: g.Role == fleet.RoleCurrent, Percent: g.Percent, Version: g.Version}
	for _, i := range g.Instances {
		instance := InstanceStatus{
			State: string(i.State), PID: i.PID, Restarts: i.Restarts, InFlight: i.InFlight, MemoryBytes: i.MemoryBytes, CPUSeconds: i.CPUSeconds,
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

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(s.status()) // a reader that went away needs no answer
}
