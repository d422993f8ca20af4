package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agenthost/agenthost/test/published"
)

func TestThePublishedCommandLineIsUpToDate(t *testing.T) {
	published.Check(t, "docs/reference/cli.md", commandReference(newRootCommand()))
}

// commandReference describes every command, from what its --help is made of.
func commandReference(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Command line

<!-- Generated from cmd/agenthost: go test ./cmd/agenthost -run TestThePublishedCommandLineIsUpToDate -update -->

Results go to stdout, errors and progress to stderr. With `+"`-o json` or `-o yaml`"+` stdout is the result and nothing else.

| exit code | |
|---|---|
| 0 | it worked |
| %d | it did not |
| %d | the command line makes no sense |
| %d | it was interrupted |

| variable | |
|---|---|
| `+"`AGENTHOST_CONFIG`"+` | the configuration files, joined by `+"`:`"+`, where `+"`--config`"+` names none |
| `+"`AGENTHOST_ADDRESS`"+` | the host that `+"`task run`"+` calls, where `+"`--address`"+` names none |
| `+"`%s`"+` | the checkout that `+"`new`"+` takes the SDK from, where `+"`--sdk`"+` names none |
| `+"`AGENTHOST_…`"+` | any key of the configuration: see [configuration.md](configuration.md) |

`, exitFailed, exitUsage, exitInterrupted, sdkVariable)
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		describeCommand(&b, cmd)
		for _, child := range cmd.Commands() {
			if child.IsAvailableCommand() && child.Name() != "help" && child.Name() != "completion" {
				visit(child)
			}
		}
	}
	visit(root)
	b.WriteString("## agenthost completion\n\nWrites the script by which a shell completes agenthost's commands, flags and task types; each shell's --help says how to load it.\n\n" +
		"```text\nagenthost completion bash|fish|powershell|zsh\n```\n")
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func describeCommand(b *strings.Builder, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	fmt.Fprintf(b, "## %s\n\n", cmd.CommandPath())
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	b.WriteString(strings.TrimRight(withCode(about), "\n") + "\n\n")
	if cmd.Runnable() && !cmd.HasSubCommands() {
		fmt.Fprintf(b, "```text\n%s\n```\n\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "```console\n%s\n```\n\n", unindented(cmd.Example))
	}
	var rows, deprecated []string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Hidden:
			deprecated = append(deprecated, "Deprecated: "+f.Usage+"\n\n")
		case f.Name != "help":
			rows = append(rows, flagRow(f))
		}
	})
	if len(rows) > 0 {
		fmt.Fprintf(b, "| flag | value | default | |\n|---|---|---|---|\n%s\n", strings.Join(rows, ""))
	}
	b.WriteString(strings.Join(deprecated, ""))
}

func flagRow(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	switch f.Value.Type() { // the word in the sentence says less
	case "duration":
		value = "duration"
	case "int", "int32":
		value = "number"
	}
	name := "`--" + f.Name + "`"
	if f.Shorthand != "" {
		name = "`-" + f.Shorthand + "`, " + name
	}
	initial := ""
	switch f.DefValue {
	case "", "[]", "false", "0", "0s":
	default:
		initial = "`" + f.DefValue + "`"
	}
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace
	return fmt.Sprintf("| %s | %s | %s | %s |\n", name, cell(value), initial, cell(usage))
}

// withCode puts what is indented in a help text into blocks of code.
func withCode(text string) string {
	var out, code []string
	endCode := func() {
		if block := strings.TrimRight(strings.Join(code, "\n"), "\n"); block != "" {
			out = append(out, "", "```", block, "```", "")
		}
		code = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if indented := strings.HasPrefix(line, "  "); indented || code != nil && line == "" {
			code = append(code, strings.TrimPrefix(line, "  "))
			continue
		}
		endCode()
		out = append(out, line)
	}
	endCode()
	return strings.ReplaceAll(strings.Join(out, "\n"), "\n\n\n", "\n\n")
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}
