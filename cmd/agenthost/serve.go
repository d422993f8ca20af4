package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
)

func newServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the host: start the plugins and answer FlytePropeller",
		Long: `Starts every configured plugin and serves Flyte's agent protocol (Flyte 1 and Flyte 2) in front of them until SIGTERM or
SIGINT. A changed configuration is taken up while calls go on: when a file changes, on SIGHUP, and on 'agenthost reload'.

At the end readiness turns off, calls under way end (up to shutdown_timeout), and the plugins are stopped. A second
signal ends the host at once; no plugin outlives it.`,
		Example: `  agenthost serve --config configs/local.yaml
  agenthost serve -c base.yaml -c production.yaml --log-format json
  AGENTHOST_LISTEN__GRPC=127.0.0.1:9000 agenthost serve -c configs/local.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, err := configSources(cmd)
			if err != nil {
				return err
			}
			settings, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(gcPercent)
			}
			context.AfterFunc(ctx, stop) // the second signal finds its default effect
			return serve(ctx, sources, settings, newLogger(settings.Log, cmd.ErrOrStderr()))
		},
	}
}

// gcPercent lets the heap grow to five times what lives in it, which is a few MiB: with Go's default of two a busy host
// spends a seventh of its time on collecting garbage. GOGC overrides it.
const gcPercent = 400

// serve runs the host until ctx ends.
func serve(ctx context.Context, sources config.Sources, settings *config.Config, log *slog.Logger) error {
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
		Routes: routes, RunRoot: runRoot, DialOptions: gateway.DialOptions(), Memory: memoryOf(settings.RunDir, sources), Log: log,
	})
	front := gateway.New(gateway.Options{
		Routes: routes, Settled: plugins.Settled(), MaxMessageSize: int(settings.MaxMessageSize), Log: log, Metrics: metrics,
		Without: without,
	})
	configured := &reloader{watcher: config.NewWatcher(sources, settings), plugins: plugins, log: log, current: settings}

	ended := make(chan error, 2)
	var ready atomic.Bool
	var operators *admin.Server
	if adminListener != nil {
		operators = admin.New(admin.Options{
			Version: version(), GRPC: listener.Addr().String(), Admin: adminAddress,
			Plugins: plugins.Status, Ready: ready.Load, Metrics: metrics,
			Events: plugins.Events, Reload: configured.reload, ConfigError: configured.configError, Rollbacks: plugins.Rollbacks,
		})
		go func() { ended <- operators.Serve(adminListener) }()
	}
	go func() { ended <- front.Server().Serve(listener) }()

	log.Info("agenthost is starting", "version", version(), "grpc", listener.Addr().String(), "admin", adminAddress, "plugins", len(settings.Plugins))
	plugins.Apply(settings)
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	var watched sync.WaitGroup
	watched.Go(func() { configured.run(watching, hangups(watching)) })
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

// hangups sends whenever SIGHUP arrives, until ctx ends.
func hangups(ctx context.Context) <-chan struct{} {
	signals, hangups := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-signals:
				select {
				case hangups <- struct{}{}:
				default: // one is waiting already
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return hangups
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

// newLogger is the host's log, into which the plugins' lines are merged.
func newLogger(settings config.Log, out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(settings.Level)) // config has checked it
	options := &slog.HandlerOptions{Level: level}
	if settings.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
