// Package creation holds the host to its promise that no attempt is burnt: the tasks of a Flyte whose users have no retries are begun
// while plugins crash, hang and go, and while hosts are killed.
//
//	make chaos-creation                              # CHAOS_SECONDS=30: how long each trouble lasts
//	go run ./test/chaos creation -only killed,down
//	go run ./test/chaos creation -without G15        # has to fail; so do G16 and G17
//
// Each scenario has hosts, plugins and a ledger of its own. The hosts are the real program, behind a balancer; the plugins are
// subprocesses; Flyte is the model of FlytePropeller 1 with 20 workers that begin tasks, as a real one has. Two kinds of plugin
// are beside each other: those that find their jobs by their key, for which the host promises everything, and those that cannot. Of
// the former are the chaos program, duckdb and, on emulators of their systems, bigquery, databricks and snowflake; of the latter the
// chaos program and a connector of flytekit's.
//
// What is not held against the host:
//
//   - A host that is the only one is not there while it is not there: what Flyte asks meanwhile fails. It is counted, and no more.
//   - A replica that gets SIGKILL takes the CreateTask calls with it that are under way on its connections. They are counted as cut off.
package creation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Options are a run's.
type Options struct {
	// Host is the host's binary, and Plugin the chaos program that the plugins are; this one if empty.
	Host, Plugin string
	// DuckDB is the program of the duckdb plugin, and Flytekit the folder of an environment's programs, agenthost-flytekit among them.
	// Without them scenarios do without these plugins.
	DuckDB, Flytekit string
	// Emulated is the repository's folder, where `make chaos-creation` has built emulators, and the plugins bigquery, databricks and
	// snowflake, which take part then.
	Emulated string
	// Only are the names of scenarios; nil: all.
	Only []string
	// Length is how long each trouble lasts.
	Length time.Duration
	// Tasks is how many tasks each plugin gets in a scenario, and Many how many are on record when a host dies.
	Tasks, Many int
	// Delay is how long after Flyte got it a task of a healthy plugin may reach the plugin.
	Delay time.Duration
	// MaxBackoff is the plugins' restart.max_backoff: how long after the trouble a plugin may start that did not for a while. Default: the
	// host's own.
	MaxBackoff time.Duration
	// Without are guarantees that the hosts are to do without, as "G15 G17".
	Without string
	// Keep keeps the folders with the logs, also after success.
	Keep bool
	// Out gets the report.
	Out io.Writer
}

// DefaultOptions are those of `make chaos-creation`.
func DefaultOptions() Options {
	return Options{Length: 30 * time.Second, Tasks: 60, Many: 1000, Delay: 1500 * time.Millisecond, Out: os.Stdout}
}

// Short are options for a machine that has much else to do, and little time. A task that waits for a plugin in trouble does so for nine
// seconds, so that what is held for less is told apart from it.
func Short() Options {
	return Options{Length: 6 * time.Second, Tasks: 24, Many: 60, Delay: 6 * time.Second, MaxBackoff: 2 * time.Second, Out: io.Discard}
}

// ErrViolated is why a run failed in which everything worked but the host.
var ErrViolated = errors.New("the host broke its promises")

// Names are the scenarios'.
func Names() []string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// Run runs the scenarios one after the other, and prints a table and what was violated.
func Run(ctx context.Context, o Options) error {
	fmt.Fprintf(o.Out, "creation: each trouble lasts %v, no task has retries, %s\n", o.Length, without(o))
	fmt.Fprintf(o.Out, head, "scenario", "plugin", "tasks", "ok", "burnt", "cut off", "orphaned", "doubled", "stuck", "on record", "begun after")
	violations, total, err := run(ctx, o)
	if err != nil {
		return err
	}
	for _, violation := range violations {
		fmt.Fprintln(o.Out, "violated:", violation)
	}
	if len(violations) > 0 {
		return fmt.Errorf("creation FAILED: %w: %d violations: %d tasks, %d burnt, %d orphaned, %d doubled",
			ErrViolated, len(violations), total.tasks, total.burnt, total.orphaned, total.doubled)
	}
	fmt.Fprintf(o.Out, "creation ok: %d tasks, %d burnt, %d orphaned, %d doubled\n", total.tasks, total.burnt, total.orphaned, total.doubled)
	return nil
}

// Violations runs the scenarios, and returns what was violated.
func Violations(ctx context.Context, o Options) ([]string, error) {
	violations, _, err := run(ctx, o)
	return violations, err
}

func run(ctx context.Context, o Options) (violations []string, total counts, err error) {
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return nil, total, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	for _, s := range scenarios {
		if len(o.Only) > 0 && !slices.Contains(o.Only, s.name) {
			continue
		}
		s = s.with(o)
		if len(s.troubled()) == 0 {
			continue // its plugins do not take part
		}
		reports, err := s.run(ctx, o)
		if err != nil {
			return nil, total, fmt.Errorf("creation could not run %s: %w", s.name, err)
		}
		for _, r := range reports {
			r.print(o.Out)
			violations = append(violations, r.violations...)
			total.add(r.held())
		}
	}
	return violations, total, nil
}

func without(o Options) string {
	if o.Without == "" {
		return "with every guarantee"
	}
	return "without " + o.Without
}
