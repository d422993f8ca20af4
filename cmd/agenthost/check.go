package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/secret"
	"github.com/agenthost/agenthost/host/server"
)

// checkReport is what `agenthost check -o json` prints.
type checkReport struct {
	OK    bool     `json:"ok"`
	Files []string `json:"files"`
	// ConfigHash is what a host gives that has this configuration in effect; absent where it is not sound.
	ConfigHash string `json:"config_hash,omitempty"`
	// FilesHash stands for what the files hold, sound or not; absent where there are none, or they cannot be read.
	FilesHash string `json:"files_hash,omitempty"`
	// OpenFiles is what a host with this configuration needs of open files, and may have on this machine.
	OpenFiles *openFiles `json:"open_files,omitempty"`
	// Memory is how much memory it may take.
	Memory  *memoryNeed     `json:"memory,omitempty"`
	Errors  config.Errors   `json:"errors,omitempty"`
	Plugins []checkedPlugin `json:"plugins"` // by name
	// Away is what services say, or that they say nothing, that the host starts without; those of plugins are with them.
	Away config.Errors `json:"away,omitempty"`
	// Cgroups is which limits plugins can have of a host that is started from here, and why not the others; absent without plugins.
	Cgroups string `json:"cgroups,omitempty"`
	// Warnings are what is allowed, and may be meant otherwise.
	Warnings []string `json:"warnings,omitempty"`
}

func newCheckCommand() *cobra.Command {
	var output string
	var start, strict bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration, and with --start each plugin",
		Long: `Reads the configuration as 'agenthost serve' would and reports everything that is wrong with it. With --start it also starts
each plugin as the host would (checksums, handshake, readiness, its own configuration), or reaches it where it runs
elsewhere, shows what the plugin said of itself, and stops it again; nothing listens and no task runs.

That fails for what is wrong here: a program that is missing, that dies or does not do what the contract asks, a plugin that does
not accept its configuration, a file that cannot be read, an agent at the wrong address. It does not fail, and says AWAY, for a
service that does not answer or that refuses a credential only it can judge: a registry, a store of secrets, an issuer, an agent
elsewhere, or what a plugin says it waits for (its health is NOT_SERVING, a call of its start fails with UNAVAILABLE, UNAUTHENTICATED or
PERMISSION_DENIED or is not answered, it exits with 69, 75 or 77). With --strict that fails too. A host starts all the same:
a pod's initContainer is not to keep every plugin out because of one that waits.

Of each plugin's sandbox it says what this machine grants, and what is missing; of each limit of memory, what holds it. It warns
where the host may be killed before it has stopped: after --grace, which is Kubernetes' 30s where drain_delay is set.

Exits with 1 if anything is wrong, and with 3 if nothing is, but something is away and --strict is given.`,
		Example: `  agenthost check --config agenthost.yaml
  agenthost check -c base.yaml -c production.yaml --start
  agenthost check -c agenthost.yaml -o json | jq '.errors[].key'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, err := configSources(cmd)
			if err != nil {
				return err
			}
			report := checkReport{Files: sources.Files, Plugins: []checkedPlugin{}}
			if isData(output) && len(sources.Files) > 0 {
				report.FilesHash = config.FilesHash(sources.Files)
			}
			settings, err := loadConfig(cmd)
			switch {
			case errors.As(err, &report.Errors): // shown below
			case err != nil:
				return err
			default:
				report.ConfigHash = settings.Hash()
				report.Errors = server.CheckListenTLS(settings)
				groups := cgroup.Open(fmt.Sprintf("check-%d", os.Getpid()))
				defer groups.Close()
				report.checkDescriptors(settings)
				for _, name := range slices.Sorted(maps.Keys(settings.Plugins)) {
					report.Plugins = append(report.Plugins, checkedPlugin{Name: name, Sandbox: sandboxOf(name, settings.Plugins[name], groups)})
					if !settings.Plugins[name].Remote() {
						report.Cgroups = groups.String()
					}
				}
				report.checkGrace(settings, grace, cmd.Flags().Changed("grace"))
				report.checkMemory(settings)
				for _, name := range settings.MovingImages() {
					report.Warnings = append(report.Warnings, fmt.Sprintf("plugins.%s.image: %s has no digest: what runs is what the tag leads to whenever the configuration is read; `agenthost plugin verify` prints the reference with its digest",
						name, settings.Plugins[name].Image))
				}
				if start {
					ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
					defer stop()
					if _, err := startEach(ctx, settings, sources, groups, report.Plugins, progressTo(cmd, output)); err != nil {
						return err
					}
					for _, p := range report.Plugins {
						if p.killed != nil {
							report.Warnings = append(report.Warnings, p.killed.Error())
						}
					}
					report.checkSecret("create.keys", checkCreateKeys(ctx, settings.Create))
					report.checkSecret("listen.admin_token", checkAdminTokens(ctx, settings.Listen))
					report.Away = append(report.Away, server.CheckIssuers(ctx, settings)...) // a host starts without them, too
				}
			}
			report.OK = len(report.Errors) == 0 && !slices.ContainsFunc(report.Plugins, func(p checkedPlugin) bool { return p.Error != "" })
			if isData(output) {
				if err := printData(cmd.OutOrStdout(), output, report); err != nil {
					return err
				}
			} else {
				report.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), start)
			}
			switch {
			case !report.OK:
				return &exitError{code: exitFailed, err: errors.New("the check failed"), shown: true}
			case strict && report.away() > 0:
				return &exitError{code: exitAway, err: errors.New("something is away"), shown: true}
			}
			return nil
		},
	}
	bindConfigFlags(cmd)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	cmd.Flags().BoolVar(&start, "start", false, "start each plugin, show its manifest, stop it")
	cmd.Flags().BoolVar(&strict, "strict", false, "with --start: fail, with 3, where nothing is wrong but a service is away")
	cmd.Flags().DurationVar(&grace, "grace", kubernetesGrace, "how `long` whoever stops the host lets it, such as terminationGracePeriodSeconds: warn where that is not enough")
	return cmd
}

// kubernetesGrace is terminationGracePeriodSeconds where a pod does not say it.
const kubernetesGrace = 30 * time.Second

// checkGrace warns of a host that is killed before it has stopped. Unless the grace is given that is only looked at where drain_delay
// is: others wait longer than Kubernetes.
func (r *checkReport) checkGrace(settings *config.Config, grace time.Duration, given bool) {
	if within := settings.StopsWithin(); within >= grace && (given || settings.DrainDelay > 0) {
		r.Warnings = append(r.Warnings, fmt.Sprintf("drain_delay (%v), shutdown_timeout (%v) and the longest stop_timeout together are %v, and the host may be killed after %v: "+
			"give it longer (terminationGracePeriodSeconds), and say so with --grace", settings.DrainDelay, settings.ShutdownTimeout, within, grace))
	}
}

// exitAway is the exit code of check --strict where nothing is wrong but a service is away.
const exitAway = 3

// checkSecret takes note of why a secret of the host's own cannot be used.
func (r *checkReport) checkSecret(key string, err error) {
	if err == nil {
		return
	}
	wrong := config.KeyError{Key: key, Message: strings.TrimPrefix(err.Error(), key+": ")}
	if secret.OfStore(err) {
		r.Away = append(r.Away, wrong)
	} else {
		r.Errors = append(r.Errors, wrong)
	}
}

// checkCreateKeys reads the keys of accepted tasks, where there are any to read.
func checkCreateKeys(ctx context.Context, settings config.Create) error {
	if settings.Keys == "" {
		return nil
	}
	_, err := server.ReadCreateKeys(ctx, settings.Keys)
	return err
}

// checkAdminTokens reads the tokens for operators, where there are any to read.
func checkAdminTokens(ctx context.Context, settings config.Listen) error {
	if settings.AdminToken == "" {
		return nil
	}
	_, err := server.ReadAdminTokens(ctx, settings.AdminToken)
	return err
}

// away is how much is away.
func (r *checkReport) away() int {
	count := len(r.Away)
	for _, p := range r.Plugins {
		if p.Away != "" {
			count++
		}
	}
	return count
}

// progressTo is where a command tells what it is busy with: nowhere when a program reads its result.
func progressTo(cmd *cobra.Command, output string) io.Writer {
	if isData(output) {
		return io.Discard
	}
	return cmd.ErrOrStderr()
}

func (r checkReport) print(out, problems io.Writer, started bool) {
	if len(r.Errors) > 0 {
		fmt.Fprintf(problems, "agenthost: %v\n", r.Errors)
		return
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(problems, "agenthost: warning: %s\n", warning)
	}
	for _, away := range r.Away {
		fmt.Fprintf(problems, "agenthost: AWAY: %v\n", away)
	}
	failed := 0
	for _, p := range r.Plugins {
		if p.Error != "" {
			failed++
		}
		if p.Away != "" {
			fmt.Fprintf(problems, "agenthost: AWAY: %s\n", p.Away)
		}
		if started {
			p.print(out)
		}
	}
	from := strings.Join(r.Files, ", ")
	if from == "" {
		from = "environment and flags"
	}
	switch {
	case failed > 0:
		fmt.Fprintf(problems, "agenthost: %s: %d of %s did not start\n", from, failed, countPlugins(len(r.Plugins)))
	case len(r.Plugins) == 0:
		fmt.Fprintf(out, "%s: ok, but no plugins are configured\n", from)
	case started:
		outcome := countPlugins(len(r.Plugins)) + " started and stopped"
		if away := r.away(); away > 0 {
			started := len(slices.DeleteFunc(slices.Clone(r.Plugins), func(p checkedPlugin) bool { return p.Away != "" }))
			outcome = fmt.Sprintf("%s started and stopped; what is away is not to be judged here (%d)", countPlugins(started), away)
		}
		fmt.Fprintf(out, "%s: ok, %s\n", from, outcome)
	default:
		names := make([]string, len(r.Plugins))
		for i, p := range r.Plugins {
			names[i] = p.Name
		}
		fmt.Fprintf(out, "%s: ok, %s: %s\n", from, countPlugins(len(r.Plugins)), strings.Join(names, ", "))
		printSandboxes(out, r.Plugins, r.Cgroups)
	}
	if m := r.Memory; m != nil {
		fmt.Fprintf(out, "memory: the host up to %s, plugins up to %s (sandbox.memory, times instances, and the largest once more in a swap)", config.Size(m.Host), config.Size(m.Plugins))
		if len(m.Unlimited) > 0 {
			fmt.Fprintf(out, "; without a limit: %s", strings.Join(m.Unlimited, ", "))
		}
		fmt.Fprintln(out)
	}
	if files := r.OpenFiles; files != nil {
		fmt.Fprintf(out, "open files: %d of the %d that one process may have here\n", files.Need, files.Limit)
		if files.Problem != "" {
			fmt.Fprintf(problems, "agenthost: %s\n", files.Problem)
		}
	}
}

// openFiles is what a configuration needs of open files.
type openFiles struct {
	Need  int `json:"need"`
	Limit int `json:"limit"`
	// Problem says that there are fewer than would do; absent where there are enough.
	Problem string `json:"problem,omitempty"`
}

// memoryNeed is how much memory a configuration may take, in bytes.
type memoryNeed struct {
	// Host is the host's own, Plugins what those with a limit may take together, during a swap too.
	Host    uint64 `json:"host"`
	Plugins uint64 `json:"plugins"`
	// Unlimited are the plugins without a limit: what they take is not known.
	Unlimited []string `json:"unlimited,omitempty"`
}

// checkMemory says how much memory the configuration may take, and compares the limits of memory with that of the container that the check runs in.
func (r *checkReport) checkMemory(settings *config.Config) {
	need := server.MemoryNeedOf(settings)
	r.Memory = &memoryNeed{Host: need.Host, Plugins: need.Plugins, Unlimited: need.Unlimited}
	container, err := cgroup.FindContainer()
	switch {
	case err != nil:
		r.Warnings = append(r.Warnings, err.Error())
	case container != nil:
		if warning := server.MemoryWarning(settings, container.Limit); warning != "" {
			r.Warnings = append(r.Warnings, warning)
		}
	}
}

func (r *checkReport) checkDescriptors(settings *config.Config) {
	descriptors := server.DescriptorsOf(settings)
	if err := descriptors.Err(); err != nil {
		r.Errors = append(r.Errors, config.KeyError{Source: "open files", Key: "limits.connections", Message: err.Error()})
		return
	}
	r.OpenFiles = &openFiles{Need: descriptors.Need(), Limit: descriptors.Limit, Problem: descriptors.Warning()}
}

func countPlugins(n int) string {
	if n == 1 {
		return "1 plugin"
	}
	return fmt.Sprintf("%d plugins", n)
}
