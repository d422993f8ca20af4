// Package server puts a host together: listeners, fleet, gateway, admin API and the reloading of the configuration, and ends
// them in the order in which nothing is lost.
package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/state"
)

// Options are what a host is run with.
type Options struct {
	// Sources are read again when they change; Config is what they held at the start.
	Sources config.Sources
	Config  *config.Config
	// Hangup receives on SIGHUP, and has Sources read again; it may be nil.
	Hangup <-chan struct{}
	// Version is the host's version, for log, status and metrics.
	Version string
	Log     *slog.Logger
	// LogLost is how many lines of the log could not be written, and why the last one could not; it may be nil.
	LogLost func() (lines int64, why string)
}

// Run runs a host until ctx ends, and then lets calls under way end.
func Run(ctx context.Context, options Options) error {
	runRoot, err := process.OpenRunRoot(options.Config.RunDir)
	if err != nil {
		return err
	}
	defer runRoot.Close()
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
	bound, err := bind(options.Config.Listen)
	if err != nil {
		return err
	}
	defer bound.close()
	without, err := guaranteesOff(options.Log)
	if err != nil {
		return err
	}
	h := newHost(options, runRoot, bound, without)
	err = h.serve(ctx)
	h.stop()
	if errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// listeners are where a host listens.
type listeners struct {
	grpc, admin net.Listener // admin is nil where it is off
}

func bind(addresses config.Listen) (listeners, error) {
	var l listeners
	var err error
	if l.grpc, err = listen("listen.grpc", addresses.GRPC); err != nil {
		return listeners{}, err
	}
	if addresses.Admin == "" {
		return l, nil
	}
	if l.admin, err = listen("listen.admin", addresses.Admin); err != nil {
		l.close()
		return listeners{}, err
	}
	return l, nil
}

// addresses are those in use, for people.
func (l listeners) addresses() (grpc, admin string) {
	if l.admin == nil {
		return l.grpc.Addr().String(), "off"
	}
	return l.grpc.Addr().String(), l.admin.Addr().String()
}

func (l listeners) close() {
	_ = l.grpc.Close() // whoever serves has closed it already
	if l.admin != nil {
		_ = l.admin.Close()
	}
}

// host is the parts of a running host.
type host struct {
	options   Options
	listeners listeners
	routes    *route.Current
	plugins   *fleet.Fleet
	gateway   *gateway.Gateway
	admin     *admin.Server // nil where it is off
	reloader  *reloader
	ready     atomic.Bool
}

func newHost(options Options, runRoot *process.RunRoot, bound listeners, without guarantee.Set) *host {
	settings, log := options.Config, options.Log
	metrics := prometheus.NewRegistry()
	h := &host{options: options, listeners: bound, routes: &route.Current{}}
	h.plugins = fleet.New(fleet.Options{
		Routes: h.routes, RunRoot: runRoot, DialOptions: gateway.DialOptions(), Memory: memoryOf(settings.RunDir, options.Sources), Log: log,
	})
	h.gateway = gateway.New(gateway.Options{
		Routes: h.routes, Synced: h.plugins.Synced(), MaxMessageSize: int(settings.MaxMessageSize), Log: log, Metrics: metrics,
		Without: without,
	})
	h.reloader = newReloader(options, h.plugins)
	if bound.admin != nil {
		grpcAddress, adminAddress := bound.addresses()
		h.admin = admin.New(admin.Options{
			Version: options.Version, GRPC: grpcAddress, Admin: adminAddress,
			Plugins: h.plugins.Status, Ready: h.ready.Load, Metrics: metrics,
			Events: h.plugins.Events, Reload: h.reloader.reload, ConfigError: h.reloader.configError, WatchError: h.reloader.watchError,
			Rollbacks: h.plugins.Rollbacks, LogLost: options.LogLost, StateDir: settings.StateDir, StateWarning: settings.StateWarning(),
		})
	}
	return h
}

// serve answers until ctx ends or one of the servers fails.
func (h *host) serve(ctx context.Context) error {
	ended := make(chan error, 2)
	if h.admin != nil {
		go func() { ended <- h.admin.Serve(h.listeners.admin) }()
	}
	go func() { ended <- h.gateway.Server().Serve(h.listeners.grpc) }()

	grpcAddress, adminAddress := h.listeners.addresses()
	h.options.Log.Info("agenthost is starting", "version", h.options.Version, "grpc", grpcAddress, "admin", adminAddress, "plugins", len(h.options.Config.Plugins))
	h.plugins.Apply(h.options.Config)
	watching, stopWatching := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { h.reloader.run(watching, h.options.Hangup) })
	defer watched.Wait()
	defer stopWatching()

	started := h.plugins.Synced()
	for {
		select {
		case <-started:
			started = nil
			h.ready.Store(true)
			h.gateway.SetReady(true)
			h.options.Log.Info("agenthost is ready", "grpc", grpcAddress, "admin", adminAddress, "task_types", h.routes.Table().Names())
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		}
	}
}

// stop turns readiness off, lets calls under way end, and only then stops the plugins; operators see it to the end.
func (h *host) stop() {
	timeout := h.options.Config.ShutdownTimeout
	h.options.Log.Info("agenthost is stopping", "shutdown_timeout", timeout)
	h.ready.Store(false)
	limit, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	h.gateway.Shutdown(limit)
	h.plugins.Stop(limit)
	if h.admin != nil {
		_ = h.admin.Shutdown(limit)
	}
	h.options.Log.Info("agenthost has stopped")
}

// memoryOf is the folder for what hosts with these files remember between two starts. Others on the machine have theirs: a
// plugin of theirs may have the same name and be another.
func memoryOf(runDir string, sources config.Sources) string {
	id := fnv.New64a()
	for _, file := range sources.Files {
		if absolute, err := filepath.Abs(file); err == nil {
			file = absolute
		}
		fmt.Fprintf(id, "%q", file)
	}
	return filepath.Join(runDir, "manifests", hex.EncodeToString(id.Sum(nil)))
}

// listen opens a listener, and on failure says which key to change.
func listen(key, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use by another process: stop that, or choose another port (%s in the configuration)", key, address, key)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
	}
	return listener, nil
}
