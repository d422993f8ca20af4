// Command chaos holds the host to its promise: no job is lost, whatever happens to plugins, configuration and host.
//
//	make chaos                                     # CHAOS_SECONDS=60 CHAOS_JOBS=2000 CHAOS_SEED=…
//	go run ./test/chaos -seed 7 -only kill,stop
//	go run ./test/chaos -without G5       # a host without one guarantee: this has to fail (G1 without host-kill, see below)
//	make chaos-guarantees                          # shows that it does, for each guarantee (guarantees.go)
//	go run ./test/chaos creation          # tasks that begin while there is trouble (package creation)
//	go run ./test/chaos swap-under-load   # a million polls while a plugin is swapped every second
//
// The parts are real. Two replicas of the host's binary run behind a balancer (package balancer), as behind a Kubernetes
// Service; a Flyte 1 and a Flyte 2 (package propeller) send them jobs; the plugins are subprocesses written with the Go SDK
// (package agent); their jobs are those of a job service that knows the truth (package ledger). Meanwhile faults come at
// random times (faults.go), from outside by signals and edits of the configuration, and from inside by what the ledger tells a
// plugin in the middle of a call. When all is over, what Flyte believes is held against what the ledger knows (check.go).
//
// What is not held against the host, because no server could do anything about it:
//
//   - A replica that gets SIGKILL takes the calls with it that are under way on its connections. A CreateTask among them costs an
//     attempt, a GetTask one of the five that a task survives. Two replicas keep it at that: the balancer sends the next
//     connection to the other. For the same reason Flyte 1 is given the address twice, as two connectors: a ListAgents that dies
//     with a replica would else empty its registry, and its jobs in flight would fall to the container plugin. (That hides what G1
//     is for, so that it is done only where host-kill is among the faults.)
//   - A call runs into its deadline for which this program got no processor for half a second: then the machine is too busy.
//   - A call other than a poll in which the plugin hangs for ever, or is stopped, runs into Flyte's deadline; the latter only while the
//     process is there, which the host has to end within a minute.
//   - A CreateTask in which a plugin dies that does not declare idempotent_create costs an attempt, and so does an ExecuteTaskSync:
//     repeating it could make a second job, or do a task twice. The plugin must have died of a fault, though, and not of a swap.
//   - While a plugin is away for longer than a second, or does not answer, only a few CreateTasks and ExecuteTaskSyncs wait for it: the
//     rest is refused (G17), which costs an attempt, and a task its last one where Flyte has tried again all the while. Without create.on_record there is nothing else to do.
//   - Replicas do not know of each other's creations. A CreateTask that Flyte repeats after a restart of its own must reach the same
//     replica, or a plugin that declares idempotent_create: the balancer has session affinity. Flyte 1 has two addresses, though, and
//     a busy machine may have it come back by the other.
//   - While a plugin is removed from the configuration its jobs cannot be created. Only Flyte 2 has jobs of the plugin that is
//     removed and comes back: Flyte 1 hands jobs in flight to the container plugin once their type is not listed.
//     Only Flyte 1 has sync tasks, as Flyte 2 has no such call.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/creation"
)

func main() {
	agent.Main()
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(arguments []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(arguments) > 0 && arguments[0] == "swap-under-load":
		return swapCommand(ctx, arguments[1:])
	case len(arguments) > 0 && arguments[0] == "creation":
		return creationCommand(ctx, arguments[1:])
	case len(arguments) > 0 && arguments[0] == "guarantees":
		return guaranteesCommand(ctx, arguments[1:], os.Stdout)
	}
	return chaosCommand(ctx, arguments)
}

// newFlags are those of every chaos.
func newFlags(command string, o *options) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ExitOnError)
	flags.StringVar(&o.host, "host", "", "the host's binary; default bin/agenthost or, to go without guarantees, one built for that")
	flags.StringVar(&o.plugin, "plugin", "", "the chaos program that the plugins are; default this one")
	return flags
}

func chaosCommand(ctx context.Context, arguments []string) error {
	o := options{out: os.Stdout, maxWait: 45 * time.Second}
	flags := newFlags("chaos", &o)
	seconds := flags.Int("seconds", number("CHAOS_SECONDS", 60), "how long faults arrive (CHAOS_SECONDS)")
	flags.IntVar(&o.jobs, "jobs", number("CHAOS_JOBS", 2000), "how many jobs (CHAOS_JOBS)")
	flags.Uint64Var(&o.seed, "seed", uint64(number("CHAOS_SEED", int(rand.Uint32()))), "what the run is made of (CHAOS_SEED)")
	flags.StringVar(&o.without, "without", "", "guarantees that the host is to do without, as G5,G7")
	only := flags.String("only", "", "the kinds of faults, as kill,swap; default all: "+strings.Join(kindNames(), ", "))
	guests := flags.String("guests", "", "`folders` of hello agents in other languages that take part, separated by commas")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder with the logs, also after success")
	_ = flags.Parse(arguments) // it exits
	o.length = time.Duration(*seconds) * time.Second
	o.only, o.guests = list(*only), list(*guests)
	remove, err := o.findHost(ctx, o.without != "")
	if err != nil {
		return err
	}
	defer remove()
	return runChaos(ctx, o)
}

// findHost fills in the binary of the host, where none is given. The caller calls remove when it needs it no more.
func (o *options) findHost(ctx context.Context, without bool) (remove func(), err error) {
	if o.host != "" {
		return func() {}, nil
	}
	if !without {
		o.host = "bin/agenthost"
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "chaos-host-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if o.host, err = buildHostWithout(ctx, ".", dir); err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

// buildHostWithout builds the host that can go without guarantees, which bin/agenthost and every release cannot, into dir.
func buildHostWithout(ctx context.Context, repository, dir string) (string, error) {
	program := filepath.Join(dir, "agenthost")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "agenthost_without_guarantees", "-o", program, "./cmd/agenthost")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(build.Args, " "), err, out)
	}
	return program, nil
}

// list is what a flag names, separated by commas; nil for an empty one.
func list(flag string) []string {
	if flag == "" {
		return nil
	}
	return strings.Split(flag, ",")
}

func creationCommand(ctx context.Context, arguments []string) error {
	c := creation.DefaultOptions()
	var o options
	flags := newFlags("chaos creation", &o)
	seconds := flags.Int("seconds", number("CHAOS_SECONDS", int(c.Length.Seconds())), "how long each trouble lasts (CHAOS_SECONDS)")
	flags.IntVar(&c.Tasks, "tasks", c.Tasks, "how many tasks each plugin gets")
	flags.IntVar(&c.Many, "many", c.Many, "how many tasks are on record when their host dies")
	flags.DurationVar(&c.Delay, "delay", c.Delay, "how late the creation of a healthy plugin's task may be")
	flags.StringVar(&c.DuckDB, "duckdb", "bin/plugins/duckdb/duckdb", "the duckdb plugin, to take part; none if empty")
	flags.StringVar(&c.Flytekit, "flytekit", "", "the `folder` of an environment's programs whose agenthost-flytekit is to take part")
	emulated := flags.Bool("emulated", false, "bigquery, databricks and snowflake take part, on the emulators that make chaos-creation builds")
	without := flags.String("without", os.Getenv("CHAOS_WITHOUT"), "guarantees that the host is to do without, as G15,G17 (CHAOS_WITHOUT)")
	only := flags.String("only", "", "the scenarios, as down,removed; default all: "+strings.Join(creation.Names(), ", "))
	flags.BoolVar(&c.Keep, "keep", false, "keep the folders with the logs, also after success")
	_ = flags.Parse(arguments) // it exits
	remove, err := o.findHost(ctx, *without != "")
	if err != nil {
		return err
	}
	defer remove()
	c.Host, c.Plugin, c.Length = o.host, o.plugin, time.Duration(*seconds)*time.Second
	if c.DuckDB != "" {
		if c.DuckDB, err = filepath.Abs(c.DuckDB); err != nil {
			return err
		}
	}
	if *emulated {
		if c.Emulated, err = filepath.Abs("."); err != nil {
			return err
		}
	}
	c.Only, c.Without = list(*only), strings.ReplaceAll(*without, ",", " ")
	return creation.Run(ctx, c)
}

func swapCommand(ctx context.Context, arguments []string) error {
	o := swapOptions{out: os.Stdout}
	flags := flag.NewFlagSet("chaos swap-under-load", flag.ExitOnError)
	flags.StringVar(&o.host, "host", "bin/agenthost", "the host's binary")
	flags.StringVar(&o.plugin, "plugin", "bin/plugins/hello/hello", "the plugin's binary")
	flags.IntVar(&o.calls, "calls", 1_000_000, "how many polls")
	flags.IntVar(&o.callers, "callers", 64, "how many at once")
	flags.DurationVar(&o.every, "every", time.Second, "how often the plugin is swapped")
	_ = flags.Parse(arguments) // it exits
	return runSwap(ctx, o)
}

// number is an environment variable's, or the default.
func number(variable string, otherwise int) int {
	text, ok := os.LookupEnv(variable)
	if !ok || text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		log.Fatal(fmt.Errorf("%s=%s: expected a number", variable, text))
	}
	return n
}
