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
	"os"
	"path/filepath"
	"strings"
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
}

// Run runs a host until ctx ends, and then lets calls under way end.
func Run(ctx context.Context, options Options) error {
	settings, log := options.Config, options.Log
	runRoot, err := process.OpenRunRoot(settings.RunDir)
	if err != nil {
		return err
	}
	defer runRoot.Close()

	listener, err := listen("listen.grpc", settings.Listen.GRPC)
	if err != nil {
		return err
	}
	defer listener.Close()
	var adminListener net.Listener
	adminAddress := "off"
	if settings.Listen.Admin != "" {
		if adminListener, err = listen("listen.admin", settings.Listen.Admin); err != nil {
			return err
		}
		defer adminListener.Close()
		adminAddress = adminListener.Addr().String()
	}

	without, err := guarantee.Parse(strings.Fields(os.Getenv("AGENTHOST_INTERNAL_WITHOUT"))...)
	if err != nil {
		return fmt.Errorf("AGENTHOST_INTERNAL_WITHOUT: %w", err)
	}
	metrics := prometheus.NewRegistry()
	routes := &route.Current{}
	plugins := fleet.New(fleet.Options{
		Routes: routes, RunRoot: runRoot, DialOptions: gateway.DialOptions(), Memory: memoryOf(settings.RunDir, options.Sources), Log: log,
	})
	front := gateway.New(gateway.Options{
		Routes: routes, Settled: plugins.Settled(), MaxMessageSize: int(settings.MaxMessageSize), Log: log, Metrics: metrics,
		Without: without,
	})
	configured := &reloader{watcher: config.NewWatcher(options.Sources, settings), plugins: plugins, log: log, current: settings}

	ended := make(chan error, 2)
	var ready atomic.Bool
	var operators *admin.Server
	if adminListener != nil {
		operators = admin.New(admin.Options{
			Version: options.Version, GRPC: listener.Addr().String(), Admin: adminAddress,
			Plugins: plugins.Status, Ready: ready.Load, Metrics: metrics,
			Events: plugins.Events, Reload: configured.reload, ConfigError: configured.configError, Rollbacks: plugins.Rollbacks,
		})
		go func() { ended <- operators.Serve(adminListener) }()
	}
	go func() { ended <- front.Server().Serve(listener) }()

	log.Info("agenthost is starting", "version", options.Version, "grpc", listener.Addr().String(), "admin", adminAddress, "plugins", len(settings.Plugins))
	plugins.Apply(settings)
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	var watched sync.WaitGroup
	watched.Go(func() { configured.run(watching, options.Hangup) })
	select {
	case <-plugins.Settled():
		ready.Store(true)
		front.SetReady(true)
		log.Info("agenthost is ready", "grpc", listener.Addr().String(), "admin", adminAddress, "task_types", routes.Table().Names())
	case <-ctx.Done():
	case err = <-ended:
	}
	if err == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case err = <-ended:
		}
	}

	stopWatching()
	watched.Wait()
	log.Info("agenthost is stopping", "shutdown_timeout", settings.ShutdownTimeout)
	ready.Store(false)
	limit, cancel := context.WithTimeout(context.Background(), settings.ShutdownTimeout)
	defer cancel()
	front.Shutdown(limit)
	plugins.Stop(limit)
	if operators != nil {
		_ = operators.Shutdown(limit)
	}
	log.Info("agenthost has stopped")
	if errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
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
