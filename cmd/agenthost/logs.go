package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

func newLogsCommand() *cobra.Command {
	var output string
	var wanted adminclient.LogsOf
	cmd := &cobra.Command{
		Use:   "logs PLUGIN",
		Short: "Show what a plugin of a running host has printed",
		Long: fmt.Sprintf(`Shows the last lines that a plugin has printed, with time, level, process and instance, as they are in the host's log; also those of
processes that have ended, such as the last words of one that crashed. The host keeps the last %d KiB of each plugin in its memory
(less where there are more than %d), whatever log.level is. Of values that it knows to be secret it shows the name.

With --follow it goes on with what the plugin prints, until interrupted.`, logging.TailBytes>>10, logging.AllTailsBytes/logging.TailBytes),
		Example: `  agenthost logs duckdb
  agenthost logs duckdb -f --tail 0
  agenthost logs duckdb -o json | jq 'select(.level == "error")'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeOnePlugin,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wanted.Tail < 0 {
				return usageError(fmt.Errorf("--tail %d: expected a number of lines", wanted.Tail))
			}
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			out := cmd.OutOrStdout()
			err = host.Logs(ctx, args[0], wanted, func(line admin.LogLine) {
				if isData(output) {
					err = printLine(out, output, line)
				} else {
					_, err = fmt.Fprintln(out, logLine(line))
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
	cmd.Flags().IntVar(&wanted.Tail, "tail", admin.DefaultTail, "how many of the last `lines`")
	cmd.Flags().BoolVarP(&wanted.Follow, "follow", "f", false, "go on with what it prints, until interrupted")
	completeFlag(cmd, "tail", cobra.NoFileCompletions)
	return cmd
}

// completeOnePlugin gives the names of the host's plugins, for a command that takes one.
func completeOnePlugin(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completePlugins(cmd, nil, begun)
}

// logLine writes a line for people: 12:34:56.789  4242#1 warn   what it says  key=value.
func logLine(line admin.LogLine) string {
	process := fmt.Sprint(line.PID)
	if line.Instance > 0 {
		process += fmt.Sprintf("#%d", line.Instance)
	}
	text := fmt.Sprintf("%s  %s %-5s  %s", line.Time.Local().Format("15:04:05.000"), process, terminal.Line(line.Level), strings.ReplaceAll(terminal.Clean(line.Message), "\n", "\n    "))
	for _, key := range slices.Sorted(maps.Keys(line.Fields)) {
		text += "  " + terminal.Line(key+"="+fieldText(line.Fields[key]))
	}
	return text
}

// fieldText is a value as people write it: a text without its quotes.
func fieldText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}
