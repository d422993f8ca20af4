package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/test/chaos/creation"
)

// Each guarantee is shown to be needed: by a short chaos against hosts without it, in which something has to be lost, and of the kind
// that it is there to save. A chaos against hosts with all of them comes first, in which nothing may be: what is lost later is then
// lost for want of a guarantee.

// needed is what is lost without a guarantee.
type needed struct {
	id guarantee.ID
	// kind is that of the violation that there has to be, and says a part of its details.
	kind, says string
	// faults are those that there are; nil: all of such a chaos.
	faults []string
	// scenario is the one of package creation in which that is seen; its violations have no kinds, but say it.
	scenario string
	// test is the test of package gateway that shows it, where chaos cannot.
	test string
}

// all has a line for each guarantee of the table. Chaos cannot show G13: pings are held against a client after minutes without a call on its connection, and in
// a chaos there is no such minute.
var all = []needed{
	{id: guarantee.StableDiscovery, kind: "wrong end", says: "(container plugin)",
		faults: []string{"kill", "exit-get", "exit-start", "hang-start"}},
	{id: guarantee.VersionRouting, kind: "CreateTask failed: NotFound"},
	{id: guarantee.WaitsForPlugin, kind: "CreateTask failed: Unavailable", says: "is not there"},
	{id: guarantee.CreatesOnce, kind: "two jobs for an attempt"},
	{id: guarantee.LastKnownStatus, kind: "GetTask failed: Unavailable"},
	{id: guarantee.EndsUnreachable, kind: "GetTask failed: Unavailable", says: "the ledger is unavailable"},
	{id: guarantee.UnknownJobs, kind: "cannot be deleted"},
	{id: guarantee.RetryableErrors, kind: "wrong end", says: "the service asks to try again"},
	{id: guarantee.OneSyncAnswer, kind: "workers gone"},
	{id: guarantee.SizeLimits, kind: "GetTask failed: ResourceExhausted"},
	{id: guarantee.Pinning, kind: "wrong end", says: "does not know this job"},
	{id: guarantee.BothFlytes, kind: "wrong end", says: "phase UNDEFINED"},
	{id: guarantee.KeepalivePings, test: "TestPingsWithoutCallsAreWelcome"},
	{id: guarantee.ThinnedPolls, kind: "quota"},
	{id: guarantee.OnRecord, scenario: "down", kind: "attempts were burnt"},
	{id: guarantee.NoOrphans, scenario: "cut-off", kind: "jobs were orphaned"},
	{id: guarantee.Fairness, scenario: "crash-loop", kind: "although nothing had happened to their plugin"},
}

// row is one of the table.
const row = "%-4s %-36s %s\n"

// errNotNeeded is why the command fails.
var errNotNeeded = errors.New("nothing was lost without a guarantee")

// runGuarantees shows them, all or those that are named, in a table. o is what each chaos is like.
func runGuarantees(ctx context.Context, o options, names []string) error {
	out := o.out
	fmt.Fprintf(out, "guarantees: a chaos of %v and %d jobs without each of them in turn, CHAOS_SEED=%d\n", o.length, o.jobs, o.seed)
	if err := nothingLost(ctx, o); err != nil {
		return err
	}
	fmt.Fprintf(out, row, "", "guarantee", "what is lost without it")
	asked, shown := 0, 0
	var failures []error
	for _, g := range all {
		if len(names) > 0 && !slices.Contains(names, g.id.String()) {
			continue
		}
		asked++
		loss, err := g.show(ctx, o)
		if err != nil {
			failures = append(failures, err)
			loss = "NOT SHOWN"
		} else {
			shown++
		}
		fmt.Fprintf(out, row, g.id, guarantee.All()[g.id-1].Name, loss)
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("guarantees FAILED: %d of %d are needed: %w", shown, asked, err)
	}
	fmt.Fprintf(out, "guarantees ok: %d of %d are needed\n", shown, asked)
	return nil
}

// nothingLost is the chaos against hosts with every guarantee.
func nothingLost(ctx context.Context, o options) error {
	report := &bytes.Buffer{}
	o.out = report
	if err := runChaos(ctx, o); err != nil {
		return fmt.Errorf("with every guarantee: %w\n%s", err, report)
	}
	return nil
}

// show tells what is lost without the guarantee. That nothing is, is an error.
func (g needed) show(ctx context.Context, o options) (loss string, err error) {
	switch {
	case g.test != "":
		return g.pass(ctx)
	case g.scenario != "":
		return g.play(ctx, o)
	}
	out := &bytes.Buffer{}
	o.without, o.out = g.id.String(), out
	if g.faults != nil {
		o.only = g.faults
	}
	c, verdict, err := newChaos(ctx, o)
	if err != nil {
		return "", fmt.Errorf("without %s: %w", g.id, err)
	}
	verdict.print(out, c)
	if loss = verdict.loss(g.kind, g.says); loss == "" {
		err := os.WriteFile(filepath.Join(c.dir, "report.txt"), out.Bytes(), 0o600)
		return "", errors.Join(fmt.Errorf("%w: without %s no job has %q, which it is there for; logs and report in %s", errNotNeeded, g.id, strings.TrimSpace(g.kind+" "+g.says), c.dir), err)
	}
	return loss, os.RemoveAll(c.dir)
}

// play runs the guarantee's scenario, with it and without.
func (g needed) play(ctx context.Context, o options) (loss string, err error) {
	out := &bytes.Buffer{}
	c := creation.Short()
	c.Host, c.Plugin, c.Only, c.Out = o.host, o.plugin, []string{g.scenario}, out
	violations, err := creation.Violations(ctx, c)
	if err == nil && len(violations) > 0 {
		err = fmt.Errorf("with every guarantee: %w: %s", errViolated, strings.Join(violations, "; "))
	}
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	out.Reset()
	c.Without = g.id.String()
	if violations, err = creation.Violations(ctx, c); err != nil {
		return "", fmt.Errorf("without %s: %w\n%s", g.id, err, out)
	}
	at := slices.IndexFunc(violations, func(violation string) bool { return strings.Contains(violation, g.kind) })
	if at < 0 {
		return "", fmt.Errorf("%w: without %s scenario %s does not say %q, which it is there for\n%s", errNotNeeded, g.id, g.scenario, g.kind, out)
	}
	return violations[at], nil
}

// loss describes the violations of a kind, and what was lost in all; "" where there is none of the kind.
func (v *verdict) loss(kind, says string) string {
	n, example := 0, violation{}
	for _, broken := range v.violations {
		if broken.kind == kind && strings.Contains(broken.what, says) {
			n, example = n+1, broken
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%3d lost %3d duplicated %3d stuck, by %d × %s: %s", v.jobs(lost), v.jobs(duplicated), v.jobs(stuck), n, kind, creation.Gist(example.what))
}

// pass runs the test that shows the guarantee: it passes where something goes wrong without, and nothing with it.
func (g needed) pass(ctx context.Context) (loss string, err error) {
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^"+g.test+"$", "./host/gateway")
	out, err := command.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+g.test)) {
		return "", fmt.Errorf("%s, which shows %s, did not pass: %w\n%s", strings.Join(command.Args, " "), g.id, err, out)
	}
	return g.test + " passes: clients are cut off for their pings", nil
}

// guaranteesCommand is `chaos guarantees`.
func guaranteesCommand(ctx context.Context, arguments []string, out io.Writer) error {
	// A plugin is away for no longer than a tenth of a second at times, which discovery is to see.
	o := options{out: out, maxWait: 20 * time.Second, length: 10 * time.Second, discovery: 100 * time.Millisecond}
	flags := newFlags("chaos guarantees", &o)
	flags.DurationVar(&o.length, "length", o.length, "how long faults arrive in each chaos")
	flags.IntVar(&o.jobs, "jobs", 300, "how many jobs each chaos has")
	flags.Uint64Var(&o.seed, "seed", uint64(number("CHAOS_SEED", 1)), "what each chaos is made of (CHAOS_SEED)")
	of := flags.String("of", "", "the guarantees to show, as G5,G7; default all")
	_ = flags.Parse(arguments) // it exits
	// The death of a replica would lose the counters, and have Flyte 1 get a second address, which hides what G1 is for; a host takes
	// longer than such a chaos to notice that a plugin is frozen.
	o.only = slices.DeleteFunc(kindNames(), func(name string) bool { return name == "host-kill" || name == "freeze" })
	remove, err := o.findHost(ctx, true)
	if err != nil {
		return err
	}
	defer remove()
	return runGuarantees(ctx, o, list(*of))
}
