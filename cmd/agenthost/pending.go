package main

import (
	"fmt"
	"regexp"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/tools/terminal"
)

func newPendingCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "pending",
		Short: "Show the tasks that a running host has accepted and that have no job yet",
		Long: `Shows the tasks that a running host has accepted although their plugin could not make their jobs at once (create.on_record), and
what each waits for; the oldest first. Each replica shows those that it knows of: the ones that it accepted, and those that it was
polled for.

'agenthost pending cancel' gives one up: no job is made for it, at any replica, and Flyte is told that it was deleted.`,
		Example: `  agenthost pending
  agenthost pending -o json | jq '.tasks[] | select(.age_seconds > 600)'
  agenthost pending cancel 5e1ca4f0…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			tasks, raw, err := host.Pending(cmd.Context())
			if err != nil {
				return err
			}
			if isData(output) {
				return printData(cmd.OutOrStdout(), output, raw)
			}
			fmt.Fprint(cmd.OutOrStdout(), renderPending(tasks))
			return nil
		},
	}
	bindAdminFlags(cmd, answerTimeout)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	cmd.AddCommand(newCancelCommand())
	return cmd
}

// isPlainWord says that a shell takes a word as it is. Some expand what they are proposed: then a name that a stranger has chosen
// must not be more.
func isPlainWord(word string) bool { return plainWord.MatchString(word) }

var (
	plainWord = regexp.MustCompile(`^[\w.:/@%+=-]+$`)
	notPlain  = regexp.MustCompile(`[^\w.:/@%+= -]`)
)

// plainWords is text with a dot in the place of what a shell could take for more.
func plainWords(text string) string { return notPlain.ReplaceAllString(text, ".") }

func newCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Give an accepted task up",
		Long: `Gives up a task that a running host has accepted and that has no job yet. Its plugin is told to make no job for it, in none of its
processes, and Flyte is told that the task was deleted: it FAILED, and no retry is spent on it.

Exits with 1 if the task is not known at this host, or has a job, or the plugin cannot be told.`,
		Example: `  agenthost pending cancel 5e1ca4f0…
  agenthost pending -o json | jq -r '.tasks[].id' | xargs -n1 agenthost pending cancel`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			host, err := adminClient(cmd)
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			tasks, _, _ := quickly(host).Pending(cmd.Context()) // none, where no host answers
			var ids []string
			for _, task := range tasks.Tasks {
				if isPlainWord(task.ID) {
					ids = append(ids, cobra.CompletionWithDesc(task.ID, plainWords(task.Plugin+" "+task.Execution+" "+task.Node)))
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			if err := host.CancelPending(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is given up: no job is made for it\n", args[0])
			return nil
		},
	}
	bindAdminFlags(cmd, answerTimeout)
	return cmd
}

func renderPending(tasks admin.PendingTasks) string {
	if len(tasks.Tasks) == 0 {
		return "no accepted task waits for its job\n"
	}
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	w.Style().Options = table.OptionsNoBordersAndSeparators
	w.AppendHeader(table.Row{"ID", "PLUGIN", "TASK TYPE", "PROJECT", "DOMAIN", "EXECUTION", "NODE", "RETRY", "AGE", "WAITS FOR"})
	for _, t := range tasks.Tasks {
		age := time.Duration(t.AgeSeconds * float64(time.Second)).Round(time.Second)
		w.AppendRow(table.Row{
			terminal.Line(t.ID), terminal.Line(t.Plugin), terminal.Line(t.TaskType), terminal.Line(t.Project), terminal.Line(t.Domain), terminal.Line(t.Execution),
			terminal.Line(t.Node), t.Retry, age, orDash(t.Waits != "", terminal.Line(t.Waits)),
		})
	}
	return fmt.Sprintf("%s\n%d accepted, without a job\n", w.Render(), len(tasks.Tasks))
}
