package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/tools/adminclient"
)

func newReloadCommand() *cobra.Command {
	var output string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running host take up its changed configuration",
		Long: `Asks a running host, at its admin address, to read its configuration again, and waits until that is done. Shows what has
changed, what happens meanwhile, and what became of each plugin. The host reads its own files, variables and flags, not
those of this command; the flags here only say where it is.

A host takes up a change of its files by itself, too. This command waits for it and tells the outcome. What fails to
start leaves what ran before in its place. With --dry-run the host only says what it would do.

Exits with 1 if the configuration is not sound or a plugin does not run as configured.`,
		Example: `  agenthost reload
  agenthost reload --dry-run
  agenthost reload --admin 10.0.0.7:9090 -o json | jq '.plugins[] | select(.error)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			shown := io.Discard
			if !isData(output) {
				shown = cmd.OutOrStdout()
			}
			report, err := reload(ctx, host, dryRun, shown, waitingLineFor(cmd, output))
			if ctx.Err() != nil {
				return &exitError{code: exitInterrupted, err: errors.New("interrupted; what the host has begun it will end")}
			}
			if err != nil {
				return err
			}
			if isData(output) {
				if err := printData(cmd.OutOrStdout(), output, report); err != nil {
					return err
				}
			} else {
				printOutcome(cmd.OutOrStdout(), cmd.ErrOrStderr(), report, dryRun)
			}
			if report.Failed() {
				return &exitError{code: exitFailed, err: errors.New("the reload failed"), shown: true}
			}
			return nil
		},
	}
	bindAdminFlags(cmd, streamTimeout)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would change")
	return cmd
}

// reload asks the host, and shows the plan and the events as they come.
func reload(ctx context.Context, host adminclient.Client, dryRun bool, shown io.Writer, waiting *waitingLine) (admin.ReloadReport, error) {
	planned := false
	report, err := host.Reload(ctx, dryRun, func(line admin.ReloadLine) {
		if line.Waits == nil {
			waiting.clear()
		}
		switch {
		case line.Waits != nil:
			waiting.show(*line.Waits)
		case line.Plan != nil:
			planned = true
			printPlan(shown, line.Plan)
		case line.Canaries != nil:
			printCanaries(shown, line.Canaries)
		case line.Event != nil:
			fmt.Fprintln(shown, eventLine(*line.Event))
		}
	})
	waiting.clear()
	if err == nil && !planned && report.Error == "" {
		printPlan(shown, report.Plan)
		printCanaries(shown, report.Canaries)
	}
	return report, err
}

// printCanaries shows what the canaries have done whose rollout changes.
func printCanaries(out io.Writer, canaries []admin.Canary) {
	for _, c := range canaries {
		fmt.Fprint(out, canaryLines(c.Plugin, &c.Rollout))
	}
}

// printPlan shows what changes. What does not is only counted.
func printPlan(out io.Writer, plan []config.Change) {
	unchanged := 0
	for _, change := range plan {
		if change.Action == config.Unchanged {
			unchanged++
			continue
		}
		fmt.Fprintln(out, change)
	}
	if unchanged > 0 {
		fmt.Fprintf(out, "%s unchanged\n", countPlugins(unchanged))
	}
}

func printOutcome(out, problems io.Writer, report admin.ReloadReport, dryRun bool) {
	if report.Error != "" {
		fmt.Fprintf(problems, "agenthost: the host changed nothing: %s\n", report.Error)
		return
	}
	if dryRun {
		if !hasChanges(report.Plan) {
			fmt.Fprintln(out, "nothing would change")
		}
		return
	}
	counts := map[string]int{}
	var actions []string // in the order in which they come
	failed := 0
	for _, p := range report.Plugins {
		if p.Error != "" {
			failed++
			fmt.Fprintf(problems, "agenthost: %s: FAILED after %s: %s\n", p.Name, shortly(p.Seconds), p.Error)
			if p.State != "" {
				fmt.Fprintf(problems, "  %s is %s\n", p.Name, p.State)
			}
			continue
		}
		if counts[p.Action] == 0 {
			actions = append(actions, p.Action)
		}
		counts[p.Action]++
		if p.Action != string(config.Unchanged) {
			fmt.Fprintf(out, "%s: %s after %s%s\n", p.Name, p.Action, shortly(p.Seconds), prefixed(", now ", p.State))
		}
	}
	for i, action := range actions {
		actions[i] = fmt.Sprintf("%d %s", counts[action], action)
	}
	if failed > 0 {
		actions = append(actions, fmt.Sprintf("%d FAILED", failed))
	}
	fmt.Fprintf(out, "reloaded: %s\n", orDash(len(actions) > 0, strings.Join(actions, ", ")))
}

func hasChanges(plan []config.Change) bool {
	for _, change := range plan {
		if change.Action != config.Unchanged {
			return true
		}
	}
	return false
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
