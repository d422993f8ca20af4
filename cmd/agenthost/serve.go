package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/host/server"
	"github.com/agenthost/agenthost/host/takeover"
	"github.com/agenthost/agenthost/host/tracing"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the host: start the plugins and answer FlytePropeller",
		Long: `Starts every configured plugin and serves Flyte's agent protocol (Flyte 1 and Flyte 2) in front of them until SIGTERM or
SIGINT. A changed configuration is taken up while calls go on: when a file changes, on SIGHUP, and on 'agenthost reload'.

Where the configuration is broken (a file does not parse, has mistakes, or is missing) the host starts with the one that a host with
these files last ran soundly, which it keeps in state_dir, says so loudly, and takes up the files as soon as they are mended. Not with
--no-fallback, and not in an upgrade.

At the end readiness turns off, calls are still taken for drain_delay, calls under way end (up to shutdown_timeout), and the
plugins are stopped. A second signal cuts drain_delay short, and after it ends the host at once; no plugin outlives it.

Listens on the sockets of systemd's socket activation, where there are any, and tells systemd when it is ready, reloads and
stops. 'agenthost upgrade' has a new binary take over while calls go on.`,
		Example: `  agenthost serve --config configs/local.yaml
  agenthost serve -c base.yaml -c production.yaml --log-format json
  AGENTHOST_LISTEN__GRPC=127.0.0.1:9000 agenthost serve -c configs/local.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			before, err := takeover.Inherit()
			if err != nil {
				return err
			}
			defer func() { before.Fail(err) }()
			program := ownProgram()
			sources, err := configSources(cmd)
			if err != nil {
				return err
			}
			start, err := startWith(cmd, sources, before != nil)
			if err != nil {
				return err
			}
			settings := start.Config
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			boundGarbage(ctx)
			context.AfterFunc(ctx, stop) // the second signal finds its default effect, but while a delay waits for it
			outliveReaders()
			log := logging.New(settings.Log, cmd.ErrOrStderr())
			defer log.Close(logLimit)
			traces, err := tracing.Open(ctx, tracing.FromEnvironment(os.Environ()), version(), log.Logger)
			if err != nil {
				return err
			}
			defer traces.Close(tracesLimit)
			log.Logger = slog.New(traces.Handler(log.Handler()))
			return server.Run(ctx, server.Options{
				Sources: sources, Config: settings, Instead: start.Instead, Mistake: start.Err, Hangup: hangups(ctx), Again: askedAgain, Version: version(), Log: log.Logger, Tracing: traces, LogLost: log.Lost,
				Before: before, Program: program, Args: os.Args[1:],
			})
		},
	}
	cmd.Flags().Bool(noFallback, false, "do not start with the last sound configuration where the files are broken")
	return cmd
}

// startWith is what the host starts with: what its files, variables and flags say; or, where that is broken, what it was when a host
// last ran soundly with it. An upgrade has nothing of that: the host that runs serves on.
func startWith(cmd *cobra.Command, sources config.Sources, upgrades bool) (server.Start, error) {
	settings, err := loadConfig(cmd)
	if none, _ := cmd.Flags().GetBool(noFallback); none || upgrades || errors.Is(err, errNoConfig) {
		return server.Start{Config: settings}, err
	}
	return server.StartWith(sources, settings, err)
}

// noFallback is a flag.
const noFallback = "no-fallback"

// logLimit is how long the end of the host waits for whoever reads its log.
const logLimit = 2 * time.Second

// tracesLimit is how long the end of the host waits for a collector to take the last spans.
const tracesLimit = 3 * time.Second

// outliveReaders lets the process live when whoever reads its stdout or stderr goes away. Go ends a program at a write to either that nobody reads, even where SIGPIPE was ignored when it started; a program that takes
// the signal gets an error from the write instead. Taken, not ignored: a plugin would inherit that.
func outliveReaders() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody looks
}

// askedAgain receives when SIGTERM or SIGINT arrives, until stop is called: then they have their default effect again.
func askedAgain() (again <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return signals, func() { signal.Stop(signals) }
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
