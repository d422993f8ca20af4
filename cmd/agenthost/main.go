// Command agenthost puts one gRPC endpoint in front of many Flyte agents, each of which runs as a plugin: a subprocess of
// its own, in any language.
//
//	agenthost check --config agenthost.yaml --start    would it run?
//	agenthost serve --config agenthost.yaml            run it
//	agenthost status --watch                           what is it doing?
//	agenthost events --since 24h                       what has happened, and who did it?
//	agenthost reload --dry-run                         what would a changed configuration do?
//	agenthost restart duckdb                           take up its new binary
//	agenthost task run --type duckdb_query --sql "select 42"
//	agenthost verify -- ./my-plugin                    does a plugin do what the contract asks?
//	agenthost flyte-config                             what is Flyte to be told?
//
// Results go to stdout, errors and progress to stderr. The exit code is 0 when it worked, 1 when it did not, 2 when the
// command line makes no sense, and 130 when it was interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/guard"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/takeover"
	"github.com/agenthost/agenthost/proto/nearest"
	"github.com/agenthost/agenthost/tools/terminal"
)

// The exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// The first thread is for orphans: see process.AdoptOrphans.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) > 1 && os.Args[1] == guard.Command && !takeover.BringsEnvironment() {
		if err := guard.HideEnvironment(); err != nil {
			fmt.Fprintf(os.Stderr, "agenthost: plugins that run as this user may read the host's environment and what is secret in it: %v\n", err)
		}
	}
	do := func() int { return run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }
	code, err := process.AdoptOrphans(do)
	if err != nil {
		fmt.Fprintf(os.Stderr, "agenthost: what plugins leave behind may live on: %v\n", err)
		code = do()
	}
	os.Exit(code)
}

// run is the whole program but for the process around it; the tests call it too.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// Much of what is printed was said by plugins, hosts and Flyte.
	cleanOut, cleanErr := terminal.NewWriter(stdout), terminal.NewWriter(stderr)
	defer cleanErr.Close()
	defer cleanOut.Close()
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(cleanOut)
	root.SetErr(cleanErr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	code := exitFailed
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	if exit == nil || !exit.shown {
		fmt.Fprintf(cleanErr, "agenthost: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintf(cleanErr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
	// shown says that the user has been told already.
	shown bool
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is a command line that makes no sense.
func usageError(err error) error { return &exitError{code: exitUsage, err: err} }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "agenthost",
		Short: "One endpoint for every Flyte agent",
		Long: `agenthost serves Flyte's agent protocol (Flyte 1 and Flyte 2) on one port. Each agent behind it is a plugin: a subprocess
in any language, started, watched, restarted and stopped by the host.`,
		Example: `  agenthost check --config agenthost.yaml --start    # would it run?
  agenthost serve --config agenthost.yaml            # run it
  agenthost status --watch                           # what is it doing?
  agenthost events --since 24h                       # what has happened, and who did it?
  agenthost reload --dry-run                         # what would a changed configuration do?
  agenthost restart duckdb                           # take up its new binary
  agenthost task run --type duckdb_query --sql "select 42 as answer"`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	root.SetVersionTemplate("agenthost {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })

	serve := newServeCommand()
	bindConfigFlags(serve)
	root.AddCommand(
		serve,
		newCheckCommand(),
		newStatusCommand(),
		newEventsCommand(),
		newLogsCommand(),
		newTopCommand(),
		newReloadCommand(),
		newUpgradeCommand(),
	)
	root.AddCommand(newOperationCommands()...)
	root.AddCommand(
		newPendingCommand(),
		newExplainCommand(),
		newNewCommand(),
		newContractCommand(),
		newTaskCommand(),
		newPluginCommand(),
		newVerifyCommand(),
		newFlyteConfigCommand(),
		newSchemaCommand(),
		newVersionCommand(),
	)
	orderly(root)
	return root
}

// orderly makes a wrong number of arguments a usage error everywhere, and a command that only groups others refuse what
// it does not know: cobra would show its help and report success.
func orderly(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(err)
			}
			return nil
		}
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			message := fmt.Sprintf("unknown command %q", args[0])
			if meant := nearest.Name(args[0], commandNames(cmd)); meant != "" {
				message += fmt.Sprintf("; did you mean %s?", meant)
			}
			return usageError(errors.New(message))
		}
	}
	for _, child := range cmd.Commands() {
		orderly(child)
	}
}

func commandNames(parent *cobra.Command) []string {
	var names []string
	for _, child := range parent.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	return names
}
