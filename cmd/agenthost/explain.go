package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/explain"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

// explainQuestion is what the flags of explain ask.
type explainQuestion struct {
	taskType        string
	version         int32
	project, domain string
	meta            string
	task            string
	replicas        []string
	offline         bool
	output          string
}

func newExplainCommand() *cobra.Command {
	var q explainQuestion
	cmd := &cobra.Command{
		Use:   "explain {--type TYPE | --meta META | --task EXECUTION}",
		Short: "Say where a task goes, whose a resource_meta is, and what became of a task",
		Long: `Asks a running host about a task.

--type: which plugin a task of that type would go to if it began now, by which route, which of its generations, and what it would
wait for. Without --project and --domain: a task of which only the routes count that name neither.

--meta: whose a resource_meta is: plugin and generation, the task where the bytes say it, and what is remembered of its job. It is
the bytes as Flyte has them: a file, base64 (with or without padding, of either alphabet), hex, or - for the standard input. Where no
host answers, or with --offline, it is what the bytes alone say.

--task: each call about an execution's tasks that is remembered, who answered it, and which guarantees acted.
PROJECT/DOMAIN/EXECUTION[/NODE[/RETRY]], or the name of an execution alone. Polls do not name their execution: what a replica knows
of them it knows by the creation that it has seen, or by a record or seal.

An answer is one replica's. --replicas asks several at their admin addresses, which takes a listen.admin that is reached from here, and
the listen.admin_token of the configuration.

Exits with 1 where no plugin serves the type, where nothing is remembered of the task, or where a replica did not answer.`,
		Example: `  agenthost explain --type duckdb_query --project shop --domain production
  agenthost explain --meta /2FnZW50aG9zdAQIYmlncXVlcnk…
  jq -r .meta stored.json | agenthost explain --meta - --type bigquery_query_job_task
  agenthost explain --task shop/production/f5e1ca4f0/n0/0
  agenthost explain --task f5e1ca4f0 --replicas dns:///agenthost-headless:9090 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return q.answer(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&q.taskType, "type", "", "the task `type`; with --meta, for bytes that do not say it")
	flags.Int32Var(&q.version, "task-version", 0, "the `version` of the task type")
	flags.StringVar(&q.project, "project", "", "the `project` that the task runs in")
	flags.StringVar(&q.domain, "domain", "", "the `domain` that the task runs in")
	flags.StringVar(&q.meta, "meta", "", "a resource_meta: `file`, base64, hex, or - for the standard input")
	flags.StringVar(&q.task, "task", "", "an `execution`: PROJECT/DOMAIN/EXECUTION[/NODE[/RETRY]], or its name")
	flags.StringSliceVar(&q.replicas, "replicas", nil, "ask these hosts at their admin `addresses`: host:port, or dns:///name:port for all of a name")
	flags.BoolVar(&q.offline, "offline", false, "with --meta: ask no host")
	bindAdminFlags(cmd, answerTimeout)
	bindOutput(cmd, &q.output, outputText, outputJSON, outputYAML)
	if err := cmd.RegisterFlagCompletionFunc("type", completeTaskTypes); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

// completeTaskTypes gives the task types that the host serves.
func completeTaskTypes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	host, err := adminClient(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	status, _, _ := quickly(host).Status(cmd.Context()) // none, where no host answers
	var types []string
	for _, p := range status.Plugins {
		for _, c := range p.Categories {
			if isPlainWord(c.Name) {
				types = append(types, cobra.CompletionWithDesc(c.Name, plainWords(p.Name)))
			}
		}
	}
	slices.Sort(types)
	return slices.Compact(types), cobra.ShellCompDirectiveNoFileComp
}

// explained is an answer, in words and as data.
type explained struct {
	says  []string
	raw   json.RawMessage
	known bool
}

// asking puts a question to one host.
type asking func(context.Context, adminclient.Client) (explained, error)

func (q *explainQuestion) answer(cmd *cobra.Command) error {
	ask, offline, err := q.question(cmd)
	if err != nil {
		return err
	}
	switch {
	case q.offline && offline == nil:
		return usageError(errors.New("--offline is for --meta: nothing else is known without a host"))
	case q.offline:
		return q.print(cmd, *offline)
	case len(q.replicas) > 0:
		return q.askReplicas(cmd, ask)
	}
	host, err := adminClient(cmd)
	if err != nil {
		return err
	}
	said, err := ask(cmd.Context(), host)
	if err != nil && offline != nil {
		why, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: %s; by the bytes alone:\n", terminal.Line(why))
		return q.print(cmd, *offline)
	}
	if err != nil {
		return err
	}
	return q.print(cmd, said)
}

// question is what is asked of a host, and what can be said without one, if anything can.
func (q *explainQuestion) question(cmd *cobra.Command) (ask asking, offline *explained, err error) {
	given := 0
	for _, flag := range []string{"meta", "task"} {
		if cmd.Flags().Changed(flag) {
			given++
		}
	}
	switch {
	case given > 1, given == 0 && q.taskType == "", q.task != "" && q.taskType != "":
		return nil, nil, usageError(errors.New("say one of --type, --meta and --task"))
	case cmd.Flags().Changed("meta"):
		meta, err := readMeta(q.meta, cmd.InOrStdin())
		if err != nil {
			return nil, nil, usageError(fmt.Errorf("--meta: %w", err))
		}
		alone := explain.Bytes(meta, q.taskType)
		raw, err := json.Marshal(alone)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context, host adminclient.Client) (explained, error) {
			a, raw, err := host.ExplainMeta(ctx, meta, q.taskType)
			return explained{a.Says, raw, true}, err
		}, &explained{alone.Says, raw, true}, nil
	case cmd.Flags().Changed("task"):
		task, err := parseTask(q.task)
		if err != nil {
			return nil, nil, usageError(fmt.Errorf("--task %s: %w", q.task, err))
		}
		return func(ctx context.Context, host adminclient.Client) (explained, error) {
			a, raw, err := host.ExplainTasks(ctx, task)
			return explained{a.Says, raw, len(a.Tasks) > 0}, err
		}, nil, nil
	}
	return func(ctx context.Context, host adminclient.Client) (explained, error) {
		a, raw, err := host.ExplainType(ctx, q.taskType, q.version, q.project, q.domain)
		return explained{a.Says, raw, a.Served}, err
	}, nil, nil
}

func (q *explainQuestion) print(cmd *cobra.Command, said explained) error {
	if isData(q.output) {
		if err := printData(cmd.OutOrStdout(), q.output, said.raw); err != nil {
			return err
		}
	} else {
		for _, line := range said.says {
			fmt.Fprintln(cmd.OutOrStdout(), terminal.Line(line))
		}
	}
	if !said.known {
		return &exitError{code: exitFailed, err: errors.New("it is not known"), shown: true}
	}
	return nil
}

// explainedReplicas is what explain --replicas prints as data.
type explainedReplicas struct {
	// Replicas are the hosts that were asked, by address.
	Replicas []explainedReplica `json:"replicas"`
}

// explainedReplica is one of them.
type explainedReplica struct {
	// Address is where it was asked.
	Address string `json:"address"`
	// Error is why it did not answer; absent where it did.
	Error string `json:"error,omitempty"`
	// Answer is what it says.
	Answer json.RawMessage `json:"answer,omitempty"`

	said explained
}

// askReplicas asks hosts side by side.
func (q *explainQuestion) askReplicas(cmd *cobra.Command, ask asking) error {
	find, err := adminclient.Probes(q.replicas)
	if err != nil {
		return usageError(fmt.Errorf("--replicas %w", err))
	}
	own, err := adminClient(cmd) // for its token
	if err != nil {
		return err
	}
	hosts, err := find(cmd.Context())
	if err != nil {
		return err
	}
	report := explainedReplicas{Replicas: make([]explainedReplica, len(hosts))}
	var asked sync.WaitGroup
	for i, host := range hosts {
		host.Token = own.Token
		asked.Go(func() {
			replica := explainedReplica{Address: host.Address}
			said, err := ask(cmd.Context(), host)
			if replica.said, replica.Answer = said, said.raw; err != nil {
				replica.Error, _, _ = strings.Cut(err.Error(), "\n")
			}
			report.Replicas[i] = replica
		})
	}
	asked.Wait()
	if err := report.print(cmd, q.output); err != nil {
		return err
	}
	silent := slices.ContainsFunc(report.Replicas, func(r explainedReplica) bool { return r.Error != "" })
	known := slices.ContainsFunc(report.Replicas, func(r explainedReplica) bool { return r.Error == "" && r.said.known })
	if silent || !known {
		return &exitError{code: exitFailed, err: errors.New("not every replica has answered, or none knows it"), shown: true}
	}
	return nil
}

func (r explainedReplicas) print(cmd *cobra.Command, output string) error {
	if isData(output) {
		return printData(cmd.OutOrStdout(), output, r)
	}
	for _, replica := range r.Replicas {
		fmt.Fprintf(cmd.OutOrStdout(), "%s:\n", terminal.Line(replica.Address))
		if replica.Error != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "  did not answer, so what it knows is not known: %s\n", terminal.Line(replica.Error))
		}
		for _, line := range replica.said.says {
			fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", terminal.Line(line))
		}
	}
	return nil
}

// parseTask reads PROJECT/DOMAIN/EXECUTION[/NODE[/RETRY]], or a name alone.
func parseTask(text string) (explain.TaskQuestion, error) {
	parts := strings.Split(text, "/")
	if slices.Contains(parts, "") || len(parts) == 2 || len(parts) > 5 {
		return explain.TaskQuestion{}, errors.New("expected PROJECT/DOMAIN/EXECUTION[/NODE[/RETRY]], or the name of an execution")
	}
	if len(parts) == 1 {
		return explain.TaskQuestion{Execution: text}, nil
	}
	q := explain.TaskQuestion{Project: parts[0], Domain: parts[1], Execution: parts[2]}
	if len(parts) > 3 {
		q.Node = parts[3]
	}
	if len(parts) > 4 {
		retry, err := strconv.ParseUint(parts[4], 10, 32)
		if err != nil {
			return q, fmt.Errorf("%q is no number of an attempt: they are counted from 0", parts[4])
		}
		number := uint32(retry)
		q.Retry = &number
	}
	return q, nil
}

// readMeta reads a resource_meta as people have it.
func readMeta(given string, stdin io.Reader) ([]byte, error) {
	if given == "-" {
		return metaIn(stdin)
	}
	if info, err := os.Stat(given); err == nil && info.Mode().IsRegular() {
		file, err := os.Open(given)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return metaIn(file)
	}
	if decoded, ok := decodeMeta(given); ok {
		return decoded, nil
	}
	return nil, fmt.Errorf("%.64q is no file, and neither base64 nor hex", given)
}

// metaIn reads bytes that are a resource_meta, or one of a host's in base64 or hex. Other text may be a plugin's own bytes.
func metaIn(file io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(file, 2*explain.MaxMeta+1))
	if err != nil {
		return nil, err
	}
	if decoded, ok := decodeMeta(string(bytes.TrimSpace(raw))); ok && record.Envelope(decoded) {
		raw = decoded
	}
	if len(raw) > explain.MaxMeta {
		return nil, fmt.Errorf("it has more than %d bytes", explain.MaxMeta)
	}
	return raw, nil
}

// decodeMeta reads base64 or hex. What is both is taken for what makes an envelope of it, and else for base64, unless it says that it is hex.
func decodeMeta(text string) ([]byte, bool) {
	text = strings.Join(strings.Fields(text), "")
	digits, saysHex := strings.CutPrefix(text, "0x")
	if !saysHex {
		digits, saysHex = strings.CutPrefix(text, `\x`) // PostgreSQL's
	}
	fromHex, hexErr := hex.DecodeString(digits)
	unpadded := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	from64, err := base64.RawStdEncoding.DecodeString(unpadded)
	switch {
	case hexErr == nil && len(fromHex) > 0 && (saysHex || err != nil || record.Envelope(fromHex)):
		return fromHex, true
	case err == nil && text != "":
		return from64, true
	}
	return nil, false
}
