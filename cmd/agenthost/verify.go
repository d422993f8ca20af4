package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/tools/terminal"
	"github.com/agenthost/agenthost/tools/verify"
)

const outputJUnit = "junit"

// verifyFlags are everything the flags of `verify` say.
type verifyFlags struct {
	spec, config string
	tasks        []string
	pluginEnv    pluginEnv
	startTimeout time.Duration
	taskTimeout  time.Duration
	tls          string
	pattern      string

	build, quick, keepGoing, list bool
	output, junit                 string
}

func newVerifyCommand() *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [flags] [--] CMD [ARGS...]",
		Short: "Check that a plugin in any language does what the contract asks",
		Long: `Starts a plugin the way the host does, and the ways it never would, and says of each thing that the contract asks for whether
the plugin does it: handshake, TLS, health, configuration, its list of agents, calls that make no sense, load, leaks, and how
it stops. What only a task can show is checked with sample tasks (--task); without one it is skipped.

A plugin can keep all this in a file, verify.yaml, of which --spec makes use; docs/verify.md tells its keys.

A check passes, fails, warns or is skipped with a reason. Exits with 1 if any failed.`,
		Example: `  agenthost verify ./my-plugin
  agenthost verify --task sample.yaml --config plugin.yaml -- python -m my_plugin
  agenthost verify --spec plugins/hello/verify.yaml --build
  agenthost verify --run 'handshake|tls' ./my-plugin
  agenthost verify -o json ./my-plugin | jq '.checks[] | select(.status == "fail")'
  agenthost verify --list`,
		RunE: v.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false) // what follows the command is the plugin's
	flags.StringVar(&v.spec, "spec", "", "verify.yaml `file` with the command and all that follows")
	flags.StringArrayVar(&v.tasks, "task", nil, "`file` with a sample task, or a template as `agenthost task run` takes it; may be repeated")
	flags.StringVar(&v.config, "config", "", "the plugin's config: block, one that it must accept: a `file` (YAML, JSON or TOML), or text such as {threads: 2}")
	v.pluginEnv.bind(flags)
	flags.DurationVar(&v.taskTimeout, "task-timeout", 0, "how `long` each sample task may take (default 5m0s; after a restart ten times what it takes otherwise, but 1m0s at least)")
	flags.Var(&choice{&v.tls, []string{"on", "off"}}, "tls", "`on or off`, as in the host's configuration (default on)")
	flags.DurationVar(&v.startTimeout, "start-timeout", 0, "how `long` each start may take (default 1m0s)")
	flags.StringVar(&v.pattern, "run", "", "make only the checks whose names match this regular `expression`")
	flags.BoolVar(&v.quick, "quick", false, "make a tenth of the calls in the search for leaks")
	flags.BoolVar(&v.keepGoing, "keep-going", false, "put load on the plugin also after a failure that ends its process or leaves its tasks undone")
	flags.BoolVar(&v.build, "build", false, "run the build: command of --spec first")
	flags.BoolVar(&v.list, "list", false, "list the checks and why they are made, and stop")
	bindOutput(cmd, &v.output, outputTable, outputJSON, outputYAML, outputJUnit)
	flags.StringVar(&v.junit, "junit", "", "write JUnit's XML to this `file`, too")
	for _, name := range []string{"spec", "task", "config"} {
		if err := cmd.MarkFlagFilename(name, "yaml", "yml", "json", "pb"); err != nil {
			panic(err) // the flag was added above
		}
	}
	for name, complete := range map[string]cobra.CompletionFunc{
		"tls": cobra.FixedCompletions([]string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp),
		"run": completeChecks,
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flag was added above
		}
	}
	return cmd
}

// completeChecks proposes the names of the checks, with their reasons.
func completeChecks(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, check := range verify.Checks() {
		names = append(names, check.Name+"\t"+check.Reason)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (v *verifyFlags) run(cmd *cobra.Command, command []string) error {
	if v.list {
		return v.printList(cmd.OutOrStdout())
	}
	subject, err := v.subject(command)
	if err != nil {
		return usageError(err)
	}
	options := verify.Options{Quick: v.quick, KeepGoing: v.keepGoing}
	if v.pattern != "" {
		if options.Select, err = regexp.Compile(v.pattern); err != nil {
			return usageError(fmt.Errorf("--run: %w", err))
		}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if v.build && subject.Build != "" {
		if err := buildSubject(ctx, subject, cmd.ErrOrStderr()); err != nil {
			return interruptedOr(ctx, err)
		}
	}
	var clear func()
	options.Progress, clear = checkProgress(cmd.ErrOrStderr())
	report, err := verify.Run(ctx, *subject, options)
	clear()
	if err != nil {
		return interruptedOr(ctx, err)
	}
	if err := v.print(cmd, report); err != nil {
		return err
	}
	if !report.OK() {
		return &exitError{code: exitFailed, err: errors.New("the plugin failed"), shown: true}
	}
	return nil
}

// subject puts together what is verified: the file's, with what the flags say over it.
func (v *verifyFlags) subject(command []string) (*verify.Subject, error) {
	subject := &verify.Subject{}
	switch {
	case v.spec != "" && len(command) > 0:
		return nil, errors.New("--spec names the command: give one of the two")
	case v.spec != "":
		var err error
		if subject, err = verify.ReadSpec(v.spec); err != nil {
			return nil, fmt.Errorf("--spec: %w", err)
		}
	case len(command) == 0:
		return nil, errors.New("which plugin? Give its command, or a file with --spec")
	case v.build:
		return nil, errors.New("--build runs the build: command of --spec, which is not given")
	default:
		subject.Command = command
	}
	for _, file := range v.tasks {
		task, err := verify.ReadTask(file)
		if err != nil {
			return nil, fmt.Errorf("--task: %w", err)
		}
		subject.Tasks = append(subject.Tasks, task)
	}
	if v.config != "" {
		block, err := parsePluginConfig("--config", v.config)
		if err != nil {
			return nil, err
		}
		subject.Config = block
	}
	if v.startTimeout > 0 {
		subject.StartTimeout = verify.Duration(v.startTimeout)
	}
	if v.taskTimeout > 0 {
		subject.TaskTimeout = verify.Duration(v.taskTimeout)
	}
	if v.tls != "" {
		subject.TLS = v.tls
	}
	return subject, v.pluginEnv.addTo(&subject.Secrets, &subject.Env, &subject.InheritEnv)
}

// buildSubject runs the build command in the plugin's folder.
func buildSubject(ctx context.Context, subject *verify.Subject, messages io.Writer) error {
	build := exec.CommandContext(ctx, "sh", "-c", subject.Build)
	build.Dir, build.Stdout, build.Stderr = subject.Dir, messages, messages
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %q in %s: %w", subject.Build, subject.Dir, err)
	}
	return nil
}

func (v *verifyFlags) print(cmd *cobra.Command, report *verify.Report) error {
	if v.junit != "" {
		file, err := os.Create(v.junit)
		if err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
		if err := errors.Join(report.JUnit(file), file.Close()); err != nil {
			return fmt.Errorf("--junit %s: %w", v.junit, err)
		}
	}
	switch v.output {
	case outputJSON, outputYAML:
		return printData(cmd.OutOrStdout(), v.output, report)
	case outputJUnit:
		return report.JUnit(cmd.OutOrStdout())
	}
	report.Table(cmd.OutOrStdout())
	return nil
}

func (v *verifyFlags) printList(out io.Writer) error {
	checks := verify.Checks()
	if isData(v.output) {
		type listed struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
			Advice string `json:"advice"`
		}
		list := make([]listed, len(checks))
		for i, check := range checks {
			list[i] = listed{check.Name, check.Reason, check.Advice}
		}
		return printData(out, v.output, list)
	}
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	w.AppendHeader(table.Row{"check", "why"})
	for _, check := range checks {
		w.AppendRow(table.Row{check.Name, check.Reason})
	}
	fmt.Fprintln(out, w.Render())
	return nil
}

// checkProgress shows on a terminal which check is being made, in one line that clear takes away.
func checkProgress(out io.Writer) (show func(done, of int, name string), clear func()) {
	if !isTerminal(out) {
		return nil, func() {}
	}
	show = func(done, of int, name string) {
		terminal.Control(out, fmt.Sprintf("\r%3d/%d  %s\x1b[K", done+1, of, terminal.Line(name)))
	}
	return show, func() { terminal.Control(out, "\r\x1b[K") }
}
