package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/proto/nearest"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

// operationCommand is what a command says of an operation on plugins.
type operationCommand struct {
	what        fleet.Operation
	done        string // with the plugin's name before it
	short, long string
	example     string
}

var operationCommands = []operationCommand{
	{
		fleet.Restart, "restarted", "Put a new generation of a plugin in the place of the running one",
		`Has a running host start each plugin once more beside itself, from the same configuration and the files as they are now, and swap the
new processes in when they are ready: no call is lost. So a binary that was replaced at its path is taken up. Where the new ones do
not start, what runs goes on. A plugin that was stopped is started.`,
		`  install -m 0755 duckdb-1.4 /plugins/duckdb/duckdb && agenthost restart duckdb
  agenthost restart duckdb bigquery --timeout 2m
  agenthost restart duckdb -o json | jq -r '.plugins[].state'`,
	},
	{
		fleet.Stop, "stopped", "End the processes of a plugin until it is started",
		`Has a running host end the processes of each plugin, after the calls under way (up to drain_timeout). Its task types stay listed:
new tasks wait for it or go on record, and polls are answered from memory, as while it restarts. It stays so, over a restart or upgrade
of the host too, until 'agenthost start', 'agenthost restart' or another configuration of the plugin.`,
		`  agenthost stop duckdb
  agenthost stop duckdb && umount /data && mount /data && agenthost start duckdb`,
	},
	{
		fleet.Kill, "killed", "End the processes of a plugin at once, until it is started",
		`Does what 'agenthost stop' does, but cuts the calls under way off: for a plugin that is not to be trusted any more. A process that
does not end by itself within stop_timeout is killed.`,
		`  agenthost kill duckdb`,
	},
	{
		fleet.Start, "started", "Start a plugin that was stopped",
		`Has a running host start each plugin that 'agenthost stop' has stopped.`,
		`  agenthost start duckdb`,
	},
	{
		fleet.Disable, "disabled", "Take a plugin out, whatever the configuration says",
		`Has a running host take each plugin out, as if it were no longer in the configuration: it drains and stops, and its task types stay
listed for create.removed_grace only. It stays so, over reloads, restarts and upgrades of the host, until 'agenthost enable'.`,
		`  agenthost disable duckdb
  agenthost status -o json | jq -r '.plugins[] | select(.state == "disabled") | .name'`,
	},
	{
		fleet.Enable, "enabled", "Put a plugin back that was disabled",
		`Has a running host start each plugin that 'agenthost disable' has taken out.`,
		`  agenthost enable duckdb`,
	},
	{
		fleet.Rollback, "rolled back", "Bring back the generation of a plugin before the current one",
		`Has a running host swap each plugin back for what it ran before the last swap, or end its rollout. The host keeps that in memory, until
its own end. The plugin stays so until its configuration changes again; rolled back once more it is as configured.`,
		`  agenthost rollback duckdb`,
	},
	{
		fleet.Promote, "promoted", "Give the canary of a plugin all calls at once",
		`Has a running host end the rollout of each plugin: the canary becomes the current generation, whatever steps and pauses are left. What
it has done so far shows 'agenthost status'. 'agenthost rollback' ends a rollout the other way.`,
		`  agenthost status && agenthost promote duckdb`,
	},
	{
		fleet.Retry, "being tried again", "Try again what was withdrawn or rolled back",
		`Has a running host try the configuration of each plugin again that was withdrawn as a canary, failed its probation or was rolled back,
as if it were new: with rollout, from the first step on. Without that it waits for another configuration.`,
		`  agenthost retry duckdb`,
	},
}

func newOperationCommands() []*cobra.Command {
	var commands []*cobra.Command
	for _, o := range operationCommands {
		commands = append(commands, o.command())
	}
	return commands
}

func (o operationCommand) command() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:               string(o.what) + " PLUGIN…",
		Short:             o.short,
		Long:              o.long + "\n\nExits with 1 if that did not work for one of the plugins. What a name does not fit does nothing.",
		Example:           o.example,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePlugins,
		RunE: func(cmd *cobra.Command, names []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := checkNames(ctx, host, names); err != nil {
				return err
			}
			waiting := waitingLineFor(cmd, output)
			var reports operationReports
			for _, name := range names {
				report, err := host.Operate(ctx, name, string(o.what), func(line admin.OperationLine) {
					switch {
					case line.Event != nil && !isData(output):
						waiting.clear()
						fmt.Fprintln(cmd.OutOrStdout(), eventLine(*line.Event))
					case line.Waits != nil:
						waiting.show(*line.Waits)
					}
				})
				waiting.clear()
				if ctx.Err() != nil {
					return &exitError{code: exitInterrupted, err: errors.New("interrupted; what the host has begun it will end")}
				}
				if err != nil {
					return err
				}
				reports.Plugins = append(reports.Plugins, report)
				if !isData(output) {
					o.show(cmd, report)
				}
			}
			if isData(output) {
				if err := printData(cmd.OutOrStdout(), output, reports); err != nil {
					return err
				}
			}
			if reports.failed() {
				return &exitError{code: exitFailed, err: fmt.Errorf("the %s failed", o.what), shown: true}
			}
			return nil
		},
	}
	bindAdminFlags(cmd, streamTimeout)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}

// operationReports is what the commands print as data.
type operationReports struct {
	Plugins []admin.OperationReport `json:"plugins"`
}

func (r operationReports) failed() bool {
	return slices.ContainsFunc(r.Plugins, func(p admin.OperationReport) bool { return p.Error != "" })
}

func (o operationCommand) show(cmd *cobra.Command, report admin.OperationReport) {
	name := terminal.Line(report.Plugin)
	switch {
	case report.Error != "":
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: %s: the %s FAILED after %s: %s\n", name, o.what, shortly(report.Seconds), terminal.Line(report.Error))
		if report.State != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "  %s is %s\n", name, terminal.Line(report.State))
		}
	case report.Unneeded != "":
		fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing to do: %s\n", name, terminal.Line(report.Unneeded))
	default:
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s after %s%s\n", name, o.done, shortly(report.Seconds), prefixed(", now ", terminal.Line(report.State)))
	}
}

// checkNames finds names that no plugin has, before anything is done to the others.
func checkNames(ctx context.Context, host adminclient.Client, names []string) error {
	status, _, err := host.Status(ctx)
	if err != nil {
		return err
	}
	known := pluginNames(status)
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		message := fmt.Sprintf("no plugin of the host is called %s", name)
		switch near := nearest.Name(name, known); {
		case near != "":
			message += fmt.Sprintf("; did you mean %s?", terminal.Line(near))
		case len(known) > 0:
			message += "; the plugins are " + terminal.Line(strings.Join(known, ", "))
		default:
			message += "; it has none"
		}
		return errors.New(message)
	}
	return nil
}

func pluginNames(status admin.Status) []string {
	names := make([]string, 0, len(status.Plugins))
	for _, p := range status.Plugins {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// completePlugins gives the names of the host's plugins that are not there yet.
func completePlugins(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	host, err := adminClient(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	status, _, _ := quickly(host).Status(cmd.Context()) // none, where no host answers
	var left []string
	for _, p := range status.Plugins {
		if !slices.Contains(args, p.Name) && isPlainWord(p.Name) {
			left = append(left, cobra.CompletionWithDesc(p.Name, plainWords(p.State)))
		}
	}
	return left, cobra.ShellCompDirectiveNoFileComp
}
