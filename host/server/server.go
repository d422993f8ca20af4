// Package server puts a host together: listeners, fleet, gateway, admin API and the reloading of the configuration, and ends
// them in the order in which nothing is lost.
package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/explain"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/host/page"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/series"
	"github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/host/takeover"
	"github.com/agenthost/agenthost/host/tracing"
)

// Options are what a host is run with.
type Options struct {
	// Sources are read again when they change; Config is what they held at the start.
	Sources config.Sources
	Config  *config.Config
	// Instead is the last sound configuration, where Config is that because Sources hold none, and Mistake why they do not.
	Instead *LastSound
	Mistake error
	// Hangup receives on SIGHUP, and has Sources read again; it may be nil.
	Hangup <-chan struct{}
	// Again gives what receives when whoever ended the host's context asks for its end once more, until stop is called; it may be nil.
	Again func() (again <-chan os.Signal, stop func())
	// Version is the host's version, for log, status and metrics.
	Version string
	Log     *slog.Logger
	// Before is the host that this one takes over from; nil: none.
	Before *takeover.Predecessor
	// Program and Args are what an upgrade starts: this program, as it will be then. Empty: there are no upgrades.
	Program string
	Args    []string
	// Tracing is where traces go; nil: nowhere. Run leaves it open.
	Tracing *tracing.Tracing
	// LogLost is how many lines of the log could not be written, and why the last one could not; it may be nil.
	LogLost func() (lines int64, why string)
}

// Run runs a host until ctx ends, and then lets calls under way end.
func Run(ctx context.Context, options Options) error {
	options.tellLastSound()
	descriptors := DescriptorsOf(options.Config)
	if err := descriptors.Err(); err != nil {
		return err
	}
	descriptors.tell(options.Log)
	runRoot, err := process.OpenRunRoot(options.Config.RunDir)
	if err != nil {
		return err
	}
	defer runRoot.Close()
	groups := openGroups(runRoot, options.Log)
	defer groups.Close()
	container := openContainer(options.Config, options.Log)
	stateDir, err := state.Open(options.Config.StateDir)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	defer stateDir.Close()
	if warning := options.Config.StateWarning(); warning != "" {
		options.Log.Warn("what the host keeps may not outlive it", "problem", warning)
	}
	keeping, stopKeeping := context.WithCancel(context.Background())
	var keeper sync.WaitGroup
	keeper.Go(func() { keepFiles(keeping, runRoot, stateDir, options.Log) })
	defer keeper.Wait()
	defer stopKeeping()
	bound, err := bind(options.Config.Listen, options.Before)
	if err != nil {
		return err
	}
	defer bound.close()
	tokens, err := openAdminTokens(options.Config.Listen, bound.admin, runRoot, options.Log)
	if err != nil {
		return err
	}
	without, err := guaranteesOff(options.Log)
	if err != nil {
		return err
	}
	keys := openCreateKeys(ctx, options.Config.Create, stateDir, options.Log)
	intents, err := record.OpenIntents(stateDir, options.Log)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	defer intents.Close()
	known, err := openCallers(options.Config, options.Log)
	if err != nil {
		return err
	}
	defer known.guard.Close()
	artifacts, err := OpenArtifacts(options.Config, options.Sources, options.Log)
	if err != nil {
		return err
	}
	defer artifacts.Close() // what it leaves, the next host removes
	ResolveImages(ctx, options.Config, artifacts, options.Log)
	past := history.Open(stateDir, path.Join("history", idOf(options.Sources)), nil, options.Log)
	defer past.Close(historyLimit)
	h := newHost(ctx, options, runRoot, groups, container, stateDir, bound, tokens, without, keys, intents, known, artifacts, past)
	err = h.serve(ctx)
	h.stop(err == nil && !h.isSucceeded()) // whoever calls a host that was succeeded calls the new one
	if errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// host is the parts of a running host.
type host struct {
	options   Options
	listeners listeners
	stateDir  *state.Dir
	routes    *route.Current
	plugins   *fleet.Fleet
	readiness *readiness
	gateway   *gateway.Gateway
	admin     *admin.Server // nil where it is off
	probe     *admin.Probe  // nil where it is off
	reloader  *reloader
	series    *series.Recorder
	shown     *page.Page // nil where the admin API is off
	notify    notifier
	keys      *createKeys
	callers   *callers
	accept    accepting
	ready     atomic.Bool
	upgrading atomic.Bool
	succeeded chan struct{} // closed when a new host has taken over
	stopping  context.Context
	past      *history.History
	recorded  chan struct{} // closed when the fleet's last event is in it
}

func newHost(ctx context.Context, options Options, runRoot *process.RunRoot, groups *cgroup.Groups, container *cgroup.Container, stateDir *state.Dir, bound listeners, tokens *adminTokens, without guarantee.Set, keys *createKeys, intents *record.Intents, known *callers, artifacts *artifact.Store, past *history.History) *host {
	settings, log := options.Config, options.Log
	metrics, tails := prometheus.NewRegistry(), &logging.Tails{}
	h := &host{
		options: options, listeners: bound, stateDir: stateDir, routes: &route.Current{}, notify: notifier{log}, succeeded: make(chan struct{}), stopping: ctx, keys: keys, callers: known, past: past,
	}
	known.register(metrics)
	options.Tracing.Register(metrics)
	h.plugins = fleet.New(fleet.Options{
		Routes: h.routes, RunRoot: runRoot, Groups: groups, Container: container, Artifacts: artifacts, DialOptions: gateway.DialOptions(), State: stateDir, Tails: tails, Memory: memoryOf(options.Sources), Log: log,
		MaxTaskTypes: settings.Limits.TaskTypes,
	})
	h.keepEvents()
	h.readiness = newReadiness(settings.Ready, h.plugins, h.routes, options.Before != nil)
	h.gateway = gateway.New(known.into(gateway.Options{
		Routes: h.routes, Synced: h.readiness.first, Listed: h.readiness.listed, Whole: settings.Ready.Plugins == config.ReadyAll, MaxMessageSize: int(settings.MaxMessageSize), Log: log, Metrics: metrics,
		Creation: creationOf(settings.Create, keys), Intents: intents, Tracer: options.Tracing.Tracer(), Without: without, Limits: limitsOf(settings, log),
		AccessLog: gateway.AccessLog{Off: settings.Log.Calls == config.Off, Slow: settings.Log.SlowCall},
	}))
	h.series = series.NewRecorder(h.gateway.Tallies())
	h.reloader = newReloader(options, h.plugins, h.notify)
	h.reloader.resolve = func(ctx context.Context, settings *config.Config) { ResolveImages(ctx, settings, artifacts, log) }
	h.reloader.created = func(settings config.Create) {
		keys.apply(ctx, settings)
		h.gateway.SetCreation(creationOf(settings, keys))
	}
	h.reloader.accessed = known.apply
	h.reloader.record = past.Add
	h.accept = h.bounded(metrics)
	if bound.admin != nil {
		grpcAddress, adminAddress, probeAddress := bound.addresses()
		h.shown = page.New(page.Options{
			Status: func() admin.Status { return h.admin.Status() }, Series: h.series, Pending: h.pendingByPlugin,
			Keys:    func(plugin string) []config.ShownKey { return h.reloader.settings().Shown(plugin) },
			Explain: explain.Explainer{Gateway: h.gateway, Plugins: h.plugins.Status, Replica: replicaName(grpcAddress)},
			Lines: func(plugin string, last int) []admin.LogLine {
				return slices.Collect(tails.Lines(ctx, plugin, last, false))
			},
			Events: func(ctx context.Context) iter.Seq[history.Event] {
				return past.Events(ctx, history.Query{Since: time.Now().Add(-page.Past), Follow: true})
			},
		})
		h.admin = admin.New(admin.Options{
			Page:    h.shown,
			Version: options.Version, GRPC: grpcAddress, Admin: adminAddress, Probe: probeAddress, Configured: settings.Listen.Admin, Exemplars: options.Tracing.Tracer() != nil,
			Log: log, Tokens: tokens.all, TokenFile: tokens.file, Profiles: settings.Listen.Pprof == config.On,
			Plugins: h.plugins.Status, Ready: h.ready.Load, Readiness: h.state, Metrics: metrics, OwnMetrics: h.plugins.Metrics,
			Events: past.Events, Tails: tails, HistoryLost: past.Lost, Reload: h.reloader.reload, Upgrade: h.upgrade, Operate: h.operate, Config: h.reloader.config(), WatchError: h.reloader.watchError,
			Waiting: h.gateway.Waiting, Jobs: h.gateway.Jobs, Limits: h.gateway.Limits, Removed: h.plugins.Removed,
			Pending: h.gateway.Pending, CancelPending: h.cancelPending, CreateWarning: keys.warning,
			Explain: explain.Explainer{Gateway: h.gateway, Plugins: h.plugins.Status, Replica: replicaName(grpcAddress)},
			Series:  h.series.Last, Rollbacks: h.plugins.Rollbacks, LogLost: options.LogLost, Artifacts: artifacts.Stats, StateDir: settings.StateDir, StateWarning: settings.StateWarning(), Cgroups: groups.String(),
		})
	}
	if bound.probe != nil {
		h.probe = admin.NewProbe(admin.ProbeOptions{
			Readiness: h.state, Health: h.gateway.Health(), Config: h.reloader.config(), Metrics: metrics, Exemplars: options.Tracing.Tracer() != nil,
		})
	}
	return h
}

// replicaName names a host among its replicas: its machine, or pod, and its address for Flyte.
func replicaName(grpcAddress string) string {
	machine, err := os.Hostname()
	if err != nil {
		return grpcAddress
	}
	return machine + ", " + grpcAddress
}

// serve answers until ctx ends or one of the servers fails.
func (h *host) serve(ctx context.Context) error {
	ended := make(chan error, 3)
	answer := func() {
		if h.probe != nil {
			go func() { ended <- h.probe.Serve(h.accept.probe) }()
		}
		if h.admin != nil {
			go func() { ended <- h.admin.Serve(h.accept.admin) }()
		}
		go func() { ended <- h.gateway.Server().Serve(h.accept.grpc) }()
	}
	if h.options.Before == nil {
		answer()
	}

	grpcAddress, adminAddress, probeAddress := h.listeners.addresses()
	h.options.Log.Info("agenthost is starting", "version", h.options.Version, "grpc", grpcAddress, "admin", adminAddress, "probe", probeAddress, "plugins", len(h.options.Config.Plugins))
	h.past.Add(h.started())
	if h.options.Tracing != nil {
		h.options.Log.Info("calls are traced", "to", h.options.Tracing.String())
	}
	h.plugins.Apply(h.options.Config)
	if last := h.options.Instead; last != nil {
		h.plugins.Tell(fleet.Event{State: fleet.EventLastSound, Cause: fmt.Sprintf("the host was started with the configuration %s of %s: %v", last.Hash, last.Saved.Format(time.RFC3339), h.options.Mistake)})
	}
	watching, stopWatching := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { h.reloader.run(watching, h.options.Hangup) })
	watched.Go(func() { h.keepLastSound(watching, h.stateDir) })
	watched.Go(func() { h.readiness.run(watching, h.teller()) })
	watched.Go(func() { h.keys.run(watching) })
	if h.admin != nil { // which is who tells of them
		watched.Go(func() { h.series.Run(watching, h.gauges) })
		watched.Go(func() { h.shown.Run(watching) })
	}
	watched.Go(func() { h.callers.run(watching) })
	watched.Go(func() { h.sweepJobs(watching) })
	if h.options.Before == nil {
		watched.Go(func() { h.keepTold(watching) })
	}
	defer watched.Wait()
	defer stopWatching()
	defer h.logWaits()()

	started := h.startedAndKnown(watching, &watched)
	for {
		select {
		case <-started:
			started = nil
			if h.options.Before != nil {
				if err := h.callers.known(ctx); err != nil { // the host before this one may know them
					return err
				}
				if err := h.takeOver(ctx); err != nil {
					return err
				}
			}
			h.ready.Store(true)
			h.gateway.SetReady(true)
			if h.options.Before != nil {
				answer()
				h.options.Before.Accepts()
				h.past.Add(history.Event{State: history.TakenOver, Cause: "from the host that has started this one"})
				watched.Go(func() { h.keepTold(watching) }) // before that systemd listens to the other host
			}
			h.notify.ready(h.inWords())
			h.past.Add(history.Event{State: history.HostReady})
			h.options.Log.Info("agenthost is ready", "grpc", grpcAddress, "admin", adminAddress, "probe", probeAddress, "task_types", h.routes.Table().Names())
		case <-ctx.Done():
			return nil
		case <-h.succeeded:
			return nil
		case err := <-ended:
			return err
		}
	}
}

// sweepJobs has jobs forgotten of which nothing is heard any more, until ctx ends.
func (h *host) sweepJobs(ctx context.Context) {
	ticker := time.NewTicker(series.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			h.gateway.SweepJobs()
		case <-ctx.Done():
			return
		}
	}
}

// gauges are what the plugins have at this moment, for their series.
func (h *host) gauges() []series.Gauge {
	var all []series.Gauge
	for _, p := range h.plugins.Status() {
		all = append(all, series.Gauge{Plugin: p.Name, MemoryBytes: p.MemoryBytes, InFlight: p.InFlight})
	}
	return all
}

// pendingByPlugin is how many tasks are on record.
func (h *host) pendingByPlugin() map[string]int {
	all := map[string]int{}
	for _, p := range h.gateway.Pending() {
		all[p.Plugin]++
	}
	return all
}

// stop turns readiness off, lets calls under way end, and only then stops the plugins; operators see it to the end. Where calls
// are delayed they are taken for a while before that.
func (h *host) stop(delayed bool) {
	delay, timeout := h.options.Config.DrainDelay, h.options.Config.ShutdownTimeout
	if !h.ready.Swap(false) {
		delayed = false // nobody was sent here
	} else if !h.isSucceeded() { // one that never took over is none of systemd's
		h.notify.stopping(h.options.Config.StopsWithin() + stopReserve)
	}
	h.past.Add(history.Event{State: history.HostStopping, Cause: h.why()})
	if delayed && delay > 0 {
		h.options.Log.Info("agenthost is to stop: its health says so, and calls are still taken", "drain_delay", delay)
		h.gateway.SetReady(false)
		h.delay(delay)
	}
	if !h.isSucceeded() {
		h.listeners.leaveToNext(h.options.Log)
	}
	h.options.Log.Info("agenthost is stopping", "shutdown_timeout", timeout)
	limit, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	h.gateway.Shutdown(limit)
	h.plugins.Stop(limit)
	<-h.recorded
	h.past.Add(history.Event{State: history.HostStopped})
	h.past.Close(historyLimit) // who follows comes to the end
	if h.admin != nil {
		_ = h.admin.Shutdown(limit)
	}
	if h.probe != nil {
		_ = h.probe.Shutdown(limit)
	}
	h.options.Log.Info("agenthost has stopped")
}

// delay waits, unless the end of the host is asked for again.
func (h *host) delay(delay time.Duration) {
	var again <-chan os.Signal
	if h.options.Again != nil {
		asked, stop := h.options.Again()
		defer stop()
		again = asked
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-again:
		h.options.Log.Info("drain_delay is cut short: the end was asked for again")
	}
}

// isSucceeded says that a new host has taken over.
func (h *host) isSucceeded() bool {
	select {
	case <-h.succeeded:
		return true
	default:
		return false
	}
}

// memoryOf is the folder in the state directory for what hosts with these files remember between two starts. Others on the
// machine have theirs: a plugin of theirs may have the same name and be another.
func memoryOf(sources config.Sources) string { return path.Join("manifests", idOf(sources)) }

// idOf stands for the configuration's files, by where they are.
func idOf(sources config.Sources) string {
	id := fnv.New64a()
	for _, file := range sources.Files {
		if absolute, err := filepath.Abs(file); err == nil {
			file = absolute
		}
		fmt.Fprintf(id, "%q", file)
	}
	return hex.EncodeToString(id.Sum(nil))
}

// creationOf is what the configuration says of creations.
func creationOf(settings config.Create, keys *createKeys) gateway.Creation {
	unsigned, _ := time.Parse(time.DateOnly, settings.UnsignedPinsUntil) // the configuration lets only days pass; none is long ago
	return gateway.Creation{
		UnsignedPinsUntil: unsigned,
		OnRecord:          settings.OnRecord == config.On, Local: settings.Keys == "", Keys: keys.current.Load, Timeout: settings.Timeout, MaxWait: settings.MaxWait,
		RecordMax: int(settings.RecordMax), RecordMaxPerExecution: int(settings.RecordMaxPerExecution),
		FinalCodes: finalCodes(settings.FinalCodes), OrphanGrace: settings.OrphanGrace,
	}
}

// finalCodes are codes by their names; the configuration lets no other name pass.
func finalCodes(names []string) []codes.Code {
	all := make([]codes.Code, len(names))
	for i, name := range names {
		_ = all[i].UnmarshalJSON([]byte(strconv.Quote(name)))
	}
	return all
}
