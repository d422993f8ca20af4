package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/tools/flyteconfig"
	"github.com/agenthost/agenthost/tools/terminal"
)

// flyteConfig is what the command was asked for.
type flyteConfig struct {
	flyte, form, endpoint, output string
	types, syncTypes, files       []string
	tls, beside, start, check     bool
}

// defaultEndpoint is the host's Service where it is installed as the documents say.
const defaultEndpoint = "dns:///agenthost.flyte.svc.cluster.local:"

func newFlyteConfigCommand() *cobra.Command {
	var asked flyteConfig
	cmd := &cobra.Command{
		Use:   "flyte-config [FILE…]",
		Short: "Print what Flyte is to be told of a host, or check what it is told",
		Long: `Prints the part of Flyte's configuration that has it use a host, for the task types that the host serves, with the reason of each
line: for Flyte 1 up to 1.15.0 (agent-service), from 1.15.1 on (connector-service) and for Flyte 2; as a file of Flyte's own
configuration or as values of its charts. The types are those of a running host, at its admin address; else of the plugins of the
configuration, which --start starts, asks and stops; or --task-types names them.

With --check it says what existing files lack or have wrong: files of Flyte's own, which are merged in the order given as Flyte does (of a
directory, all *.yaml by name), ConfigMaps as kubectl prints them, or values of flyte-binary and flyte-core; - is stdin. Where no
host answers and no types are given, types are not compared.

An error keeps tasks from the host or Flyte from starting, a warning costs tasks when something is away, a note may stay. Exits with 1
if there is an error or a warning.`,
		Example: `  agenthost flyte-config > flyte-agenthost.yaml
  agenthost flyte-config --form flyte-binary --endpoint k8s:///agenthost.flyte:8000 > values-agenthost.yaml
  agenthost flyte-config --flyte 2 --config agenthost.yaml --start
  agenthost flyte-config --task-types duckdb_query,bigquery_query_job_task -o json | jq '.settings[].key'
  agenthost flyte-config --check values.yaml values-agenthost.yaml
  kubectl -n flyte get configmap flyte-propeller-config -o yaml | agenthost flyte-config --check -`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			asked.files = append(asked.files, args...)
			asked.check = cmd.Flags().Changed("check")
			if !asked.check && len(args) > 0 {
				return usageError(fmt.Errorf("%s: files are for --check", args[0]))
			}
			if asked.check && !cmd.Flags().Changed("output") {
				asked.output = outputText
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if asked.check {
				return asked.runCheck(ctx, cmd)
			}
			return asked.print(ctx, cmd)
		},
	}
	bindAdminFlags(cmd, answerTimeout)
	bindOutput(cmd, &asked.output, outputYAML, outputJSON, outputText)
	flags := cmd.Flags()
	flags.Lookup("output").Usage = "`form` of the result: yaml, json or text; with --check text"
	flags.StringVar(&asked.flyte, "flyte", "", "`version` of Flyte, such as 1.14, 1.16.8 or 2 (default 1.16; with --check what the files look like)")
	flags.Var(&choice{&asked.form, forms()}, "form", "`form` of Flyte's configuration: "+oneOf(forms())+" (default config; with --check what the files look like)")
	flags.StringVar(&asked.endpoint, "endpoint", "", "gRPC `target` by which Flyte reaches the host (default "+defaultEndpoint+"8000; with --check it is not compared)")
	flags.BoolVar(&asked.tls, "tls", false, "the host is spoken to over TLS (default: what listen.tls of the configuration says)")
	flags.BoolVar(&asked.beside, "beside", false, "another connector stays Flyte's default, and the host gets its own types only")
	flags.StringSliceVar(&asked.types, "task-types", nil, "`types` of async agents, instead of a host's; joined by commas")
	flags.StringSliceVar(&asked.syncTypes, "sync-task-types", nil, "`types` of sync agents, likewise")
	flags.BoolVar(&asked.start, "start", false, "start each plugin of the configuration to ask for its types, and stop it")
	flags.StringArrayVar(&asked.files, "check", nil, "`file` or directory to check; more may follow")
	fixed := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	for name, complete := range map[string]cobra.CompletionFunc{
		"flyte": fixed("1.14", "1.16", "2"),
		"form":  fixed(forms()...),
		"check": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		"endpoint":        fixed(defaultEndpoint+"8000", "k8s:///agenthost.flyte:8000"),
		"task-types":      fixed(),
		"sync-task-types": fixed(),
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flag was added above
		}
	}
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return cmd
}

func forms() []string {
	var names []string
	for _, form := range flyteconfig.Forms {
		names = append(names, string(form))
	}
	return names
}

// target is the Flyte that was named. Of what was not, nothing is said.
func (f flyteConfig) target() (flyteconfig.Target, error) {
	target := flyteconfig.Target{Form: flyteconfig.Form(f.form), Endpoint: f.endpoint, Beside: f.beside}
	if f.flyte == "" {
		return target, nil
	}
	var err error
	if target.Flyte, err = flyteconfig.ParseFlyte(f.flyte); err != nil {
		return target, usageError(fmt.Errorf("--flyte: %w", err))
	}
	return target, nil
}

// printedConfig is what is printed as data.
type printedConfig struct {
	Flyte    string                 `json:"flyte"`
	Form     flyteconfig.Form       `json:"form"`
	Types    []flyteconfig.TaskType `json:"task_types"`
	Settings []flyteconfig.Setting  `json:"settings"`
	Warnings []string               `json:"warnings,omitempty"`
}

func (f flyteConfig) print(ctx context.Context, cmd *cobra.Command) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	if f.flyte == "" {
		target.Flyte = flyteconfig.FlyteConnectors
	}
	if f.form == "" {
		target.Form = flyteconfig.FormConfig
	}
	host, err := f.host(ctx, cmd)
	if err != nil {
		return err
	}
	host.describe(&target)
	if target.Endpoint == "" {
		target.Endpoint = defaultEndpoint + host.port
	}
	if err := target.Validate(); err != nil {
		return usageError(err)
	}
	if len(target.Types) == 0 {
		return errors.New(strings.Join(append(host.warnings, "the host serves no task types; see 'agenthost status', or name them by --task-types"), "\n"))
	}
	if target.Flyte.Two() && !slices.ContainsFunc(target.Types, func(t flyteconfig.TaskType) bool { return !t.Sync }) {
		return errors.New("all of the host's task types are of sync agents, for which Flyte 2 has no calls")
	}
	if f.output == outputJSON {
		return printJSON(cmd.OutOrStdout(), printedConfig{target.Flyte.String(), target.Form, target.Types, target.Settings(), host.warnings})
	}
	text, err := target.Print()
	if err != nil {
		return err
	}
	for _, warning := range host.warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: warning: %s\n", terminal.Line(warning))
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

func (f flyteConfig) runCheck(ctx context.Context, cmd *cobra.Command) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	sources, err := readSources(f.files, cmd.InOrStdin())
	if err != nil {
		return err
	}
	host, err := f.host(ctx, cmd)
	switch {
	case err == nil:
		host.describe(&target)
	case ctx.Err() != nil || f.start || errors.As(err, new(*exitError)):
		return err
	case !isData(f.output):
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: task types are not compared: %s\n", firstLine(err.Error()))
	}
	report := flyteconfig.Check(target, sources)
	if isData(f.output) {
		err = printData(cmd.OutOrStdout(), f.output, report)
	} else {
		err = showFindings(cmd.OutOrStdout(), report)
	}
	if err != nil {
		return err
	}
	if !report.OK {
		return &exitError{code: exitFailed, err: errors.New("the check failed"), shown: true}
	}
	return nil
}

func showFindings(out io.Writer, report flyteconfig.Report) error {
	var b strings.Builder
	counts := map[flyteconfig.Severity]int{}
	for _, f := range report.Findings {
		counts[f.Severity]++
		place := terminal.Line(f.File)
		if f.Line > 0 {
			place += fmt.Sprintf(":%d", f.Line)
		}
		if f.Key == "" { // of the file as a whole
			fmt.Fprintf(&b, "%s: %s: %s\n", place, f.Severity, terminal.Line(f.Why))
			continue
		}
		found := "absent"
		if f.Found != "" {
			found = terminal.Line(f.Found)
		}
		fmt.Fprintf(&b, "%s: %s: %s: %s%s\n  %s\n", place, f.Severity, terminal.Line(f.Key), found, prefixed("; write ", terminal.Line(f.Want)), terminal.Line(f.Why))
	}
	switch {
	case report.Plugin == "":
	case len(report.Findings) == 0:
		fmt.Fprintf(&b, "read for Flyte %s (%s, %s): ok\n", report.Flyte, report.Plugin, report.Form)
	default:
		fmt.Fprintf(&b, "read for Flyte %s (%s, %s): %s, %s, %s\n", report.Flyte, report.Plugin, report.Form,
			countOf(counts[flyteconfig.SeverityError], "error"), countOf(counts[flyteconfig.SeverityWarning], "warning"), countOf(counts[flyteconfig.SeverityNote], "note"))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// maxSource is how much of a file is read: Kubernetes has no larger objects.
const maxSource = 4 << 20

// readSources reads what is to be checked; of a directory all that Flyte would read.
func readSources(files []string, stdin io.Reader) ([]flyteconfig.Source, error) {
	var sources []flyteconfig.Source
	read := func(name string, in io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(in, maxSource+1))
		if err == nil && len(text) > maxSource {
			err = fmt.Errorf("it has more than %d MiB, and no configuration of Flyte's has", maxSource>>20)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		sources = append(sources, flyteconfig.Source{Name: name, Text: text})
		return nil
	}
	for _, name := range files {
		if name == "-" {
			if err := read("stdin", stdin); err != nil {
				return nil, err
			}
			continue
		}
		paths := []string{name}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			paths, _ = filepath.Glob(filepath.Join(escapeGlob(name), "*.yaml")) // which is sorted, and the pattern is sound
			if len(paths) == 0 {
				return nil, fmt.Errorf("%s has no *.yaml, which is what Flyte reads of a directory", name)
			}
		}
		for _, path := range paths {
			file, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			err = read(path, file)
			file.Close()
			if err != nil {
				return nil, err
			}
		}
	}
	return sources, nil
}

// escapeGlob makes a pattern that only a path itself matches.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// describedHost is what is known of a host.
type describedHost struct {
	types    []flyteconfig.TaskType
	port     string
	tls      flyteconfig.Transport
	warnings []string
}

func (h describedHost) describe(target *flyteconfig.Target) {
	target.Types, target.Transport = h.types, h.tls
}

// host finds out what the host serves and how it listens.
func (f flyteConfig) host(ctx context.Context, cmd *cobra.Command) (describedHost, error) {
	host := describedHost{port: "8000"}
	settings, configError := loadConfig(cmd)
	if configError == nil {
		host.listens(settings)
	}
	if !f.check && host.tls == flyteconfig.TransportUnknown {
		host.tls = flyteconfig.TransportPlain
	}
	if cmd.Flags().Changed("tls") {
		host.tls = map[bool]flyteconfig.Transport{true: flyteconfig.TransportTLS, false: flyteconfig.TransportPlain}[f.tls]
	}
	switch {
	case len(f.types)+len(f.syncTypes) > 0:
		host.add(f.types, false)
		host.add(f.syncTypes, true)
		return host, nil
	case f.start:
		if configError != nil {
			return host, configError
		}
		return host, host.startAll(ctx, cmd, settings, progressTo(cmd, outputText))
	}
	return host, host.ask(ctx, cmd)
}

func (h *describedHost) add(names []string, sync bool) {
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" {
			h.types = append(h.types, flyteconfig.TaskType{Name: name, Sync: sync})
		}
	}
}

// listens takes up what the configuration says of who may call and how.
func (h *describedHost) listens(settings *config.Config) {
	h.tls = flyteconfig.TransportPlain
	if settings.Listen.TLS.Cert != "" {
		h.tls = flyteconfig.TransportTLS
	}
	if _, port, err := net.SplitHostPort(settings.Listen.GRPC); err == nil && port != "0" {
		h.port = port
	}
	if settings.Listen.TLS.ClientCA != "" && settings.Listen.TLS.ClientCertificates != "optional" {
		h.warnings = append(h.warnings, "the host asks every caller for a certificate, and Flyte can show none: set listen.tls.client_certificates to optional, or put a proxy before it that has one")
	}
	if rules := settings.Access.Rules; len(rules) > 0 && !slices.ContainsFunc(rules, func(r config.AccessRule) bool { return r.Anyone }) {
		h.warnings = append(h.warnings, "no rule of access.rules is for anyone, and Flyte can show neither a certificate nor a token: the host refuses its calls")
	}
}

// ask takes the types of a running host.
func (h *describedHost) ask(ctx context.Context, cmd *cobra.Command) error {
	client, err := adminClient(cmd)
	if err != nil {
		return err
	}
	status, _, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("%w\n--start starts the plugins of the configuration and asks them; --task-types names the types", err)
	}
	if _, port, err := net.SplitHostPort(status.Host.GRPC); err == nil {
		h.port = port
	}
	if !status.Host.Ready {
		h.warnings = append(h.warnings, "the host is not ready; plugins that are starting have no task types yet")
	}
	for _, p := range status.Plugins {
		if len(p.Categories) == 0 {
			h.warnings = append(h.warnings, fmt.Sprintf("%s is %s and serves no task types now; what it will serve is not here", p.Name, p.State))
		}
		for _, c := range p.Categories {
			h.types = append(h.types, flyteconfig.TaskType{Name: c.Name, Sync: c.Sync})
		}
	}
	h.tidy()
	return nil
}

// startAll asks the plugins of a configuration themselves.
func (h *describedHost) startAll(ctx context.Context, cmd *cobra.Command, settings *config.Config, progress io.Writer) error {
	sources, err := configSources(cmd)
	if err != nil {
		return err
	}
	groups := cgroup.Open(fmt.Sprintf("flyte-config-%d", os.Getpid()))
	defer groups.Close()
	var started []checkedPlugin
	for _, name := range slices.Sorted(maps.Keys(settings.Plugins)) {
		started = append(started, checkedPlugin{Name: name})
	}
	table, err := startEach(ctx, settings, sources, groups, started, progress)
	if err != nil {
		return err
	}
	for _, p := range started {
		if p.Error != "" {
			return fmt.Errorf("%s cannot be asked for its task types: %s", p.Name, p.Error)
		}
	}
	for _, agent := range table.Agents() {
		for _, c := range agent.Categories {
			h.types = append(h.types, flyteconfig.TaskType{Name: c.Name, Sync: agent.Sync})
		}
	}
	h.tidy()
	return nil
}

// tidy has each type once. One with a sync agent is that for Flyte, whatever others are.
func (h *describedHost) tidy() {
	sync := map[string]bool{}
	for _, t := range h.types {
		sync[t.Name] = sync[t.Name] || t.Sync
	}
	h.types = nil
	for _, name := range slices.Sorted(maps.Keys(sync)) {
		h.types = append(h.types, flyteconfig.TaskType{Name: name, Sync: sync[name]})
	}
}
