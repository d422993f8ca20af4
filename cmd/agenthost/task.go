package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/proto/agentclient"
	"github.com/agenthost/agenthost/tools/taskrun"
)

// defaultAddress is where `agenthost task run` looks for a host: on this machine, at the port that Flyte's chart uses.
const defaultAddress = "127.0.0.1:8000"

func newTaskCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "task", Short: "Run tasks by hand"}
	cmd.AddCommand(newTaskRunCommand())
	return cmd
}

// taskRun is everything the flags of `task run` say.
type taskRun struct {
	task    taskrun.TaskOptions
	sqlFile string

	address      string
	credentials  hostCredentials
	flyte        int
	pluginConfig string
	pluginEnv    pluginEnv
	outputPrefix string
	timeout      time.Duration
	beginTimeout time.Duration

	output   string
	former   []string // flags given by the names that they had
	showRows int
	logs     bool
	quiet    bool
}

func newTaskRunCommand() *cobra.Command {
	var r taskRun
	cmd := &cobra.Command{
		Use:   "run [flags] [-- PLUGIN ARGS...]",
		Short: "Run one task against a host, or against a plugin directly",
		Long: `Runs one task as FlytePropeller would: asks which agent serves its type, creates the job, polls it and shows how it goes,
and prints the outputs. Ctrl-C deletes the job. Against a plugin command (after --) it starts the plugin as the host
would, shows what it prints, runs the task and stops the plugin again.

The task is a template that flytekit made (--template), or is put together from flags: a type, and what that type wants
(--sql, --custom, --task-config), inputs and wanted outputs.

` + taskrun.InputHelp + `

Exits with 1 if the task did not succeed, 130 if it was interrupted.`,
		Example: `  agenthost task run -t duckdb_query --sql "select 42 as answer" --want answer:int
  agenthost task run -t duckdb_query --sql-file top.sql --input flights:dataset=./flights.parquet --input n=10 --want rows:dataset
  agenthost task run --template task.pb --input n=3 --address 10.0.0.7:8000
  agenthost task run --template task.pb --address agents.example.com:8000 --ca ca.crt --token-file token
  agenthost task run -t duckdb_query --sql "select 1" --plugin-config '{threads: 2}' -- ./bin/plugins/duckdb/duckdb
  agenthost task run -t warehouse_query --sql "select 1" --secret token=env:TOKEN --env HTTPS_PROXY -- ./my-plugin`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash > 0 || dash < 0 && len(args) > 0 {
				return fmt.Errorf("unexpected argument %q; a plugin command comes after --", args[0])
			}
			return nil
		},
		RunE: r.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false

	flags.StringVarP(&r.task.Type, "type", "t", "", "task `type`, such as duckdb_query")
	flags.Int32Var(&r.task.Version, "task-version", 0, "`version` of the task type")
	flags.StringVar(&r.task.Template, "template", "", "`file` with a TaskTemplate or TaskSpec: protobuf (.pb), or its JSON form as .json or .yaml")
	flags.StringVar(&r.task.SQL, "sql", "", "the `statement` of an SQL task")
	flags.StringVar(&r.sqlFile, "sql-file", "", "`file` with the statement; - for standard input")
	flags.StringArrayVar(&r.task.Custom, "custom", nil, "`key=value` or @file.json for the template's custom field; may be repeated")
	flags.StringArrayVar(&r.task.Config, "task-config", nil, "`key=value` for the template's config field; may be repeated")
	flags.StringArrayVarP(&r.task.Inputs, "input", "i", nil, "`name[:type]=value`, see above; may be repeated")
	flags.StringVar(&r.task.InputsFile, "inputs-file", "", "`file` with inputs: a JSON object, or a protobuf LiteralMap")
	flags.StringArrayVar(&r.task.Outputs, "want", nil, "wanted output `name:type`; may be repeated")
	flags.StringVar(&r.task.Name, "name", "", "`name` of the task (default: its type)")
	flags.StringVar(&r.task.Project, "project", "", "`project` of the execution (default: the template's, else flytesnacks)")
	flags.StringVar(&r.task.Domain, "domain", "", "`domain` of the execution (default: the template's, else development)")

	flags.StringVarP(&r.address, "address", "a", "", "`host:port` of the host (default: $AGENTHOST_ADDRESS, else "+defaultAddress+")")
	r.credentials.bind(flags)
	flags.IntVar(&r.flyte, "flyte", 1, "which Flyte's services to call: `1 or 2`")
	flags.StringVar(&r.pluginConfig, "plugin-config", "", "configuration of a plugin run with --: a `file` (YAML, JSON or TOML), or text such as {threads: 2}")
	r.pluginEnv.bind(flags)
	flags.StringVar(&r.outputPrefix, "output-prefix", "", "`URI` under which the agent writes outputs (default: a fresh temporary folder)")
	flags.DurationVar(&r.timeout, "timeout", 0, "delete the job if it takes longer than `this`; 0: wait for ever")
	flags.DurationVar(&r.beginTimeout, "begin-timeout", 0, "how `long` the call that begins the task may take; 0: 10m, and 1h for a sync agent")

	bindOutput(cmd, &r.output, outputText, outputJSON, outputYAML)
	r.bindFormerFlags(cmd)
	flags.IntVar(&r.showRows, "show-rows", 10, "how `many` rows of a dataset to show, if its files are on this machine")
	flags.BoolVar(&r.logs, "logs", false, "show the job's log lines")
	flags.BoolVarP(&r.quiet, "quiet", "q", false, "show no progress, and nothing of what a plugin run with -- prints")
	bindTaskCompletions(cmd, &r)
	return cmd
}

func (r *taskRun) run(cmd *cobra.Command, plugin []string) error {
	for _, warning := range r.former {
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: warning: %s\n", warning)
	}
	if r.flyte != 1 && r.flyte != 2 {
		return usageError(fmt.Errorf("--flyte %d: expected 1 or 2", r.flyte))
	}
	if len(plugin) > 0 && (r.flyte == 2 || r.address != "") {
		return usageError(errors.New("a plugin command is called directly, by Flyte 1's services: --address and --flyte 2 are for a running host"))
	}
	if len(plugin) > 0 && r.credentials.given() {
		return usageError(errors.New("a plugin command is called directly: --tls, --ca, --cert, --key, --server-name and --token-file are for a running host"))
	}
	if len(plugin) == 0 && (r.pluginConfig != "" || r.pluginEnv.given()) {
		return usageError(errors.New("--plugin-config, --secret and --env are for a plugin command after --; a running host has its own configuration"))
	}
	if r.sqlFile != "" && r.task.SQL != "" {
		return usageError(errors.New("--sql and --sql-file: only one of them can be given"))
	}
	if r.sqlFile != "" {
		statement, err := readStatement(r.sqlFile, cmd.InOrStdin())
		if err != nil {
			return err
		}
		r.task.SQL = statement
	}
	task, err := taskrun.NewTask(r.task)
	if err != nil {
		return usageError(err)
	}

	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait for the job to be deleted
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}

	lines := newProgressLines(cmd.ErrOrStderr(), r.quiet)
	defer lines.end()
	conn, closeConn, err := r.connect(ctx, plugin, lines, cmd.ErrOrStderr())
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer closeConn()
	if r.outputPrefix == "" {
		if r.outputPrefix, err = os.MkdirTemp("", "agenthost-task-"); err != nil {
			return err
		}
		defer os.Remove(r.outputPrefix) // which fails, rightly, if the agent wrote anything there
	} else if !strings.Contains(r.outputPrefix, "://") {
		if r.outputPrefix, err = filepath.Abs(r.outputPrefix); err != nil {
			return err
		}
	}

	options := taskrun.Options{
		Flyte: agentclient.Flyte(r.flyte), OutputPrefix: r.outputPrefix, Project: r.task.Project, Domain: r.task.Domain, BeginTimeout: r.beginTimeout, Watch: lines.show,
	}
	if r.logs {
		options.Log = lines.log
	}
	result, err := taskrun.Run(ctx, conn, task, options)
	lines.end()
	if err != nil {
		return interruptedOr(ctx, r.explain(err, plugin))
	}
	return r.report(cmd, result)
}

func (r *taskRun) report(cmd *cobra.Command, result *taskrun.Result) error {
	if isData(r.output) {
		if err := printData(cmd.OutOrStdout(), r.output, result.Report(r.showRows)); err != nil {
			return err
		}
	} else if result.Succeeded() {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s after %s", result.PhaseName(), taskrun.Seconds(result.Elapsed))
		if !isEmptyFolder(result.OutputPrefix) {
			fmt.Fprintf(cmd.ErrOrStderr(), ", files at %s", result.OutputPrefix)
		}
		fmt.Fprintln(cmd.ErrOrStderr())
		result.Print(cmd.OutOrStdout(), r.showRows)
	}
	if !result.Succeeded() {
		return errors.New(result.Failure())
	}
	return nil
}

// isEmptyFolder says that an output prefix is a folder into which the agent wrote nothing.
func isEmptyFolder(prefix string) bool {
	entries, err := os.ReadDir(prefix)
	return err == nil && len(entries) == 0
}

// interruptedOr gives an interruption its exit code, and a deadline its name.
func interruptedOr(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("--timeout is over: %w", err)
	}
	if ctx.Err() != nil {
		return &exitError{code: exitInterrupted, err: err}
	}
	return err
}

// connect opens a connection to the host, or starts the plugin and gives the one to it.
func (r *taskRun) connect(ctx context.Context, command []string, lines *progressLines, messages io.Writer) (grpc.ClientConnInterface, func(), error) {
	if len(command) > 0 {
		if !r.quiet {
			fmt.Fprintf(messages, "starting %s …\n", command[0])
		}
		return r.startPlugin(ctx, command, lines, messages)
	}
	options, err := r.credentials.options()
	if err != nil {
		return nil, nil, usageError(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+r.target(), append(options, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))...)
	if err != nil {
		return nil, nil, fmt.Errorf("--address %s: %w", r.target(), err)
	}
	return conn, func() { _ = conn.Close() }, nil
}

// target is the address to call: the flag's, the environment's or the usual one.
func (r *taskRun) target() string {
	for _, address := range []string{r.address, os.Getenv("AGENTHOST_ADDRESS")} {
		if address != "" {
			return address
		}
	}
	return defaultAddress
}

// explain says what to do about a host that does not answer.
func (r *taskRun) explain(err error, plugin []string) error {
	if _, cause, refused := strings.Cut(err.Error(), "Error while dialing: "); refused && len(plugin) == 0 {
		return fmt.Errorf("no host answers at %s: %s\nIs one running ('agenthost serve')? Another is named with --address; a plugin can be run directly, after --",
			r.target(), strings.TrimSuffix(cause, `"`))
	}
	switch said := err.Error(); {
	case len(plugin) > 0:
	case strings.Contains(said, "while waiting for connections to become ready"):
		return fmt.Errorf("what listens at %s does not answer: no host says anything there\nIs it the listen.grpc of an agenthost? Another is named with --address", r.target())
	case !r.credentials.overTLS() && strings.Contains(said, "error reading server preface"):
		return fmt.Errorf("%w\nDoes the host at %s speak TLS? Then give --tls, or --ca with the file of its authority", err, r.target())
	case strings.Contains(said, "first record does not look like a TLS handshake"):
		return fmt.Errorf("%w\nThe host at %s speaks plain gRPC: leave out --tls and what goes with it", err, r.target())
	case strings.Contains(said, "certificate required"):
		return fmt.Errorf("%w\nThe host at %s asks for a certificate: give --cert and --key", err, r.target())
	}
	return err
}

func readStatement(path string, stdin io.Reader) (string, error) {
	var content []byte
	var err error
	if path == "-" {
		content, err = io.ReadAll(stdin)
	} else {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("--sql-file: %w", err)
	}
	return string(content), nil
}

// parsePluginConfig reads a plugin's configuration as a host's file would have it under `config:`, from a file or a text.
func parsePluginConfig(flag, text string) (map[string]any, error) {
	switch {
	case text == "":
		return map[string]any{}, nil
	case strings.HasPrefix(strings.TrimSpace(text), "{"):
		return config.ParsePluginConfig(flag, text)
	}
	block, err := config.ReadPluginConfig(text)
	if _, missing := os.Stat(text); errors.Is(missing, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no file %s; text is in braces, such as '{threads: 2}'", flag, text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return block, nil
}
