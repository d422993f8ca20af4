package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/tools/adminclient"
)

// The exit codes of status --wait, beside the usual ones.
const (
	exitRefused = 3
	exitTimeout = 4
)

const (
	// defaultWait is how long status --wait waits where nobody says. A ConfigMap takes about a minute to reach its pods.
	defaultWait = 2 * time.Minute
	// waitInterval is how often it looks.
	waitInterval = 500 * time.Millisecond
)

// waitReport is what `agenthost status --wait -o json` prints.
type waitReport struct {
	// OK is whether all hosts run the configuration, with all of its plugins.
	OK bool `json:"ok"`
	// ConfigHash stands for the configuration that was waited for.
	ConfigHash string `json:"config_hash"`
	// Refused is whether a host or a plugin will not run it.
	Refused bool `json:"refused"`
	// Error is why there are no hosts; absent where there are.
	Error string `json:"error,omitempty"`
	// Replicas are the hosts, by address.
	Replicas []adminclient.Replica `json:"replicas"`
}

// waitForConfig waits until hosts run a configuration.
func waitForConfig(ctx context.Context, cmd *cobra.Command, hash string, probes []string, output string) error {
	awaited, err := awaitedConfig(cmd, hash)
	if err != nil {
		return err
	}
	hosts, err := awaitedHosts(cmd, probes)
	if err != nil {
		return err
	}
	limit, _ := cmd.Flags().GetDuration("timeout")
	if limit <= 0 {
		limit = defaultWait
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	progress := progressTo(cmd, output)
	wait := adminclient.Await{Awaited: awaited, Hosts: hosts, Interval: waitInterval, Tell: func(line string) { fmt.Fprintln(progress, line) }}
	replicas, err := wait.Run(limited)
	if ctx.Err() != nil {
		return &exitError{code: exitInterrupted, err: errors.New("interrupted")}
	}
	report := waitReport{ConfigHash: awaited.Hash, Replicas: replicas}
	report.OK = err == nil && len(replicas) > 0 && !slices.ContainsFunc(replicas, func(r adminclient.Replica) bool { return !r.OK })
	report.Refused = slices.ContainsFunc(replicas, func(r adminclient.Replica) bool { return r.Refused })
	if err != nil {
		report.Error = err.Error()
	}
	if isData(output) {
		if err := printData(cmd.OutOrStdout(), output, report); err != nil {
			return err
		}
	} else {
		report.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), limit)
	}
	return report.exit()
}

// awaitedConfig is the configuration to wait for: that of the hash, or of this command's own files, variables and flags.
func awaitedConfig(cmd *cobra.Command, hash string) (adminclient.Awaited, error) {
	awaited := adminclient.Awaited{Hash: hash}
	sources, err := configSources(cmd)
	if err != nil {
		return awaited, err
	}
	delete(sources.Flags, "listen.admin") // it says whom to ask
	settings, err := config.Load(sources)
	if err == nil && len(sources.Files) == 0 && len(settings.Plugins) == 0 {
		err = errNoConfig
	}
	switch {
	case hash == "" && err != nil:
		return awaited, fmt.Errorf("%w\nwhich configuration to wait for is said by --config-hash, or by a sound one here", err)
	case hash == "":
		awaited.Hash = settings.Hash()
	}
	// Else what is here may not be what is waited for.
	if err == nil && settings.Hash() == awaited.Hash && len(sources.Files) > 0 {
		awaited.FilesHash = config.FilesHash(sources.Files)
	}
	return awaited, nil
}

// awaitedHosts are those that have to run it.
func awaitedHosts(cmd *cobra.Command, probes []string) (func(context.Context) ([]adminclient.Client, error), error) {
	if len(probes) > 0 {
		hosts, err := adminclient.Probes(probes)
		if err != nil {
			return nil, usageError(fmt.Errorf("--probe %w", err))
		}
		return hosts, nil
	}
	host, err := adminClient(cmd)
	if err != nil {
		return nil, err
	}
	return adminclient.Asked(host), nil
}

func (r waitReport) print(out, problems io.Writer, limit time.Duration) {
	if r.OK {
		for _, replica := range r.Replicas {
			fmt.Fprintf(out, "%s: %s\n", replica.Address, replica.Says)
		}
		fmt.Fprintf(out, "ok: %s run configuration %s\n", countHosts(len(r.Replicas)), r.ConfigHash)
		return
	}
	how := fmt.Sprintf("not after %v", limit)
	if r.Refused {
		how = "it is refused"
	}
	var not []string
	for _, replica := range r.Replicas {
		if !replica.OK {
			not = append(not, fmt.Sprintf("\n  %s: %s", replica.Address, replica.Says))
		}
	}
	if r.Error != "" || len(r.Replicas) == 0 {
		not = append(not, "\n  "+strings.TrimSpace("there are no hosts to ask: "+r.Error))
	}
	fmt.Fprintf(problems, "agenthost: configuration %s does not run at %d of %s, %s:%s\n", r.ConfigHash, len(not), countHosts(max(len(r.Replicas), len(not))), how, strings.Join(not, ""))
}

// exit is the exit code of a report.
func (r waitReport) exit() error {
	heard := slices.ContainsFunc(r.Replicas, func(replica adminclient.Replica) bool { return replica.Config != nil })
	code := exitFailed
	switch {
	case r.OK:
		return nil
	case r.Refused:
		code = exitRefused
	case heard:
		code = exitTimeout
	}
	return &exitError{code: code, err: errors.New("the configuration does not run everywhere"), shown: true}
}

func countHosts(n int) string {
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}
