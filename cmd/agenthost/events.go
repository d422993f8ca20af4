package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

func newEventsCommand() *cobra.Command {
	var output string
	var wanted adminclient.EventsOf
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what has happened to a running host and its plugins, and who did it",
		Long: fmt.Sprintf(`Shows what has happened: each change of a plugin's state with its cause, swaps, canaries and rollbacks, reloads with the keys that changed
(never values), what operators asked for, starts, stops and upgrades of the host; and who did it. The host keeps that in state_dir, so
that it survives the host's end: the newest %d MiB, of which the newest %d events are shown.

With --follow it goes on with what happens then, until interrupted.`, history.MaxBytes>>20, history.MaxEvents),
		Example: `  agenthost events
  agenthost events --since 7d --plugin duckdb
  agenthost events --since 2026-11-28T22:00:00Z -o json | jq 'select(.by)'
  agenthost events -f`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			out, now := cmd.OutOrStdout(), time.Now()
			err = host.Events(ctx, wanted, func(e admin.Event) {
				if isData(output) {
					err = printLine(out, output, e)
				} else {
					_, err = fmt.Fprintln(out, eventLineAt(e, now))
				}
				if err != nil { // nobody reads on
					stop()
				}
			})
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
	bindAdminFlags(cmd, answerTimeout)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	cmd.Flags().StringVar(&wanted.Since, "since", "1h", "begin so `long` ago, such as 90m or 7d, or at a time such as 2026-11-28T22:00:00Z")
	cmd.Flags().StringVar(&wanted.Plugin, "plugin", "", "only what happens to this `plugin`")
	cmd.Flags().BoolVarP(&wanted.Follow, "follow", "f", false, "go on with what happens, until interrupted")
	completeFlag(cmd, "since", cobra.FixedCompletions([]string{"15m", "1h", "24h", "7d"}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder))
	completeFlag(cmd, "plugin", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return completeOnePlugin(cmd, nil, begun)
	})
	return cmd
}

// completeFlag has the values of a flag proposed.
func completeFlag(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // there is no such flag
	}
}

// printLine prints one of many results: as a line of JSON, or a document of YAML.
func printLine(out io.Writer, output string, value any) error {
	if output == outputYAML {
		if _, err := io.WriteString(out, "---\n"); err != nil {
			return err
		}
		return printData(out, output, value)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// followEvents gives the host's events to send until ctx ends, and connects again after each retry interval while there is no
// stream: the host may be restarting, or be too old to have one.
func followEvents(ctx context.Context, host adminclient.Client, retry time.Duration, send func(admin.Event)) {
	for {
		_ = host.Events(ctx, adminclient.EventsOf{}, send) // whether a host answers shows in its status
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
	}
}

// eventLineAt is eventLine, with the date where that is not today.
func eventLineAt(e admin.Event, now time.Time) string {
	at := e.Time.Local()
	if now = now.Local(); at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return eventLine(e)
	}
	return at.Format("2006-01-02 ") + eventLine(e)
}

// eventLine writes an event for people: 12:34:56.789  duckdb 3fa1b2c4d5e6  running, was starting for 1.2s: cause. What somebody did ends with
// who it was.
func eventLine(e admin.Event) string {
	line := fmt.Sprintf("%s  %s", e.Time.Local().Format("15:04:05.000"), terminal.Line(cmp.Or(e.Plugin, "host")))
	if e.Generation != "" {
		line += " " + terminal.Line(e.Generation)
	}
	if e.Instance != nil && *e.Instance > 0 {
		line += fmt.Sprintf(" #%d", *e.Instance)
	}
	line += "  " + terminal.Line(e.State)
	if e.Was != "" {
		line += ", was " + terminal.Line(e.Was)
	}
	if e.Was != "" && e.Seconds > 0 { // not everything has a beginning
		line += " for " + shortly(e.Seconds)
	}
	if e.By != "" {
		line += " by " + terminal.Line(e.By)
	}
	details := []string{}
	if e.Cause != "" {
		details = append(details, e.Cause) // a cause can have the plugin's last lines in it
	}
	for _, change := range e.Changes {
		details = append(details, change.String())
	}
	if len(details) > 0 {
		line += ": " + terminal.Line(strings.Join(details, "; "))
	}
	return line
}

// shortly writes a time span: to the millisecond where it is short, in its two largest units where it is long.
func shortly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return uptime(seconds)
}
