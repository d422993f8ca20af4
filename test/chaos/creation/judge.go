package creation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// run runs the scenario, and says of each of its plugins what became of its tasks.
func (s scenario) run(ctx context.Context, o Options) ([]*report, error) {
	w, err := newWorld(ctx, o, s)
	if err != nil {
		return nil, err
	}
	reports, err := w.judged(ctx)
	if err = errors.Join(err, w.close()); err != nil {
		return nil, fmt.Errorf("%w; logs in %s", err, w.dir)
	}
	wrong := 0
	for _, r := range reports {
		wrong += len(r.violations)
	}
	if wrong > 0 || o.Keep {
		fmt.Fprintf(o.Out, "%s: logs in %s\n", s.name, w.dir)
		return reports, nil
	}
	return reports, os.RemoveAll(w.dir)
}

// judged runs the tasks and looks at them.
func (w *world) judged(ctx context.Context) ([]*report, error) {
	if err := w.runTasks(ctx); err != nil {
		return nil, err
	}
	w.settle(ctx)
	var reports []*report
	for _, p := range w.scenario.plugins {
		r := &report{scenario: w.scenario, plugin: p, object: w.flyte.LargestObject()}
		records := map[string]int{} // bytes, by execution
		for _, t := range w.tasks {
			if t.plugin == p {
				w.judge(r, t, records)
			}
		}
		switch {
		case p.guest == duckDB:
			w.judgeDuckDB(r)
		case p.emulated():
			if err := w.judgeEmulated(ctx, r); err != nil {
				return nil, err
			}
		}
		r.conclude(w.Options, records)
		reports = append(reports, r)
	}
	return reports, nil
}

// settle waits until nothing is left to be deleted, for as long as the host may take for it.
func (w *world) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, orphanGrace+w.scenario.creating*2+5*time.Second)
	defer cancel()
	for wait.For(ctx, 100*time.Millisecond) {
		if !slices.ContainsFunc(w.tasks, func(t *task) bool {
			return slices.ContainsFunc(w.ledger.Task(t.name()).Jobs, orphaned)
		}) {
			return
		}
	}
}

// orphaned says that nobody knows of a job: nobody was told of its end, and nobody ended it.
func orphaned(job *ledger.Job) bool { return job.Told.IsZero() && job.Cancelled.IsZero() }

// counts are those of some tasks.
type counts struct {
	tasks, succeeded, burnt, cutOff, orphaned, doubled, stuck, recorded int
}

func (c *counts) add(other counts) {
	c.tasks += other.tasks
	c.burnt += other.burnt
	c.orphaned += other.orphaned
	c.doubled += other.doubled
}

// report is what became of the tasks of a plugin.
type report struct {
	scenario scenario
	plugin   plugin
	counts
	// delays are from when Flyte got a task until the plugin made its job, sorted in the end.
	delays []time.Duration
	// reasons are why attempts were burnt, and how often.
	reasons    map[string]int
	object     int // the largest of Flyte's
	largest    int // the most that records of one execution took
	violations []string
}

// judge looks at one task.
func (w *world) judge(r *report, t *task, records map[string]int) {
	known := w.ledger.Task(t.name())
	r.tasks++
	switch {
	case t.err != nil:
		r.stuck++
		r.violate("%s is not over: %v; %v", t.name(), t.err, last(t.running))
	case t.result.Phase == propeller.Succeeded:
		r.succeeded++
		if t.plugin.table() {
			break // what it answered, the emulator knows
		}
		number, text := ledger.Outputs(t.number, t.text)
		outputs := t.result.Outputs.GetLiterals()
		if gotNumber, gotText := outputs["number"].GetScalar().GetPrimitive().GetInteger(), outputs["text"].GetScalar().GetPrimitive().GetStringValue(); gotNumber != number || gotText != text {
			r.violate("%s has outputs of another job: %d, %q", t.name(), gotNumber, gotText)
		}
	case slices.ContainsFunc(t.result.Calls, func(call propeller.Call) bool { return call.Method == "CreateTask" && w.cutOff(call) }):
		r.cutOff++
	default:
		r.burnt++
		if r.reasons == nil {
			r.reasons = map[string]int{}
		}
		r.reasons[t.result.Final.Reason]++
	}
	for _, job := range known.Jobs {
		if orphaned(job) {
			r.orphaned++
		}
	}
	if len(known.Jobs) > 0 {
		r.delays = append(r.delays, known.Jobs[0].Made.Sub(t.submitted))
		r.doubled += len(known.Jobs) - 1
	}
	r.judgeMeta(t, records)
}

// judgeDuckDB counts the jobs of duckdb, which the ledger knows nothing of: each has a folder, and the first was made before there was
// any trouble. Flyte 1 deletes no job that has ended.
func (w *world) judgeDuckDB(r *report) {
	made, err := filepath.Glob(w.path("duckdb/jobs/[^.]*"))
	if err != nil {
		r.violate("its jobs cannot be counted: %v", err)
	}
	r.orphaned = max(0, len(made)-1-r.succeeded)
	if len(made)-1 < r.succeeded {
		r.violate("%d tasks succeeded with %d jobs", r.succeeded, len(made)-1)
	}
}

// last is what Flyte knew last of a task.
func last(running *propeller.Execution) string {
	if running == nil {
		return "Flyte never got it"
	}
	history := running.History()
	if len(history) == 0 {
		return "nothing has happened to it"
	}
	end := history[len(history)-1]
	return fmt.Sprintf("%s %s", end.Phase, end.Reason)
}

// judgeMeta sees that Flyte asked for the job by what it was given, and how much that was where it is a record.
func (r *report) judgeMeta(t *task, records map[string]int) {
	var given []byte
	for _, call := range t.result.Calls {
		switch {
		case call.Method == "CreateTask" && call.Code == codes.OK:
			given = call.Meta
			if record.Is(given) {
				r.recorded++
				records[t.execution.GetName()] += len(given)
				if len(given) > recordMax {
					r.violate("the record of %s has %d bytes", t.name(), len(given))
				}
			}
		case call.Method == "GetTask" && !bytes.Equal(call.Meta, given):
			r.violate("%s was polled by %q, and has %q", t.name(), call.Meta, given)
		}
	}
}

// recordMax and recordMaxPerExecution are the hosts' create.record_max and create.record_max_per_execution: the defaults.
const (
	recordMax             = 8 << 10
	recordMaxPerExecution = 256 << 10
)

// conclude holds the counts against what the host promises.
func (r *report) conclude(o Options, records map[string]int) {
	for name, size := range records {
		r.largest = max(r.largest, size)
		if size > recordMaxPerExecution {
			r.violate("the records of execution %s have %d bytes", name, size)
		}
	}
	if r.doubled > 0 {
		r.violate("%d jobs were doubled", r.doubled)
	}
	slices.Sort(r.delays)
	if r.holdsBurnt() && r.burnt > 0 {
		r.violate("%d attempts were burnt", r.burnt)
	}
	if r.holdsOrphans() && r.orphaned > r.cutOff {
		r.violate("%d jobs were orphaned", r.orphaned)
	}
	if r.plugin.healthy && len(r.delays) > 0 && r.delays[len(r.delays)-1] > o.Delay {
		r.violate("tasks were begun after up to %v, although nothing had happened to their plugin", r.delays[len(r.delays)-1].Round(time.Millisecond))
	}
}

// holdsBurnt and holdsOrphans say what the host promises for the plugin; that no job is doubled, and no task is stuck, it promises
// for all.
func (r *report) holdsBurnt() bool { return r.plugin.finds && !r.scenario.alone }

func (r *report) holdsOrphans() bool { return r.holdsBurnt() || r.scenario.cuts }

// held are the counts that something was promised of.
func (r *report) held() counts {
	held := counts{doubled: r.doubled}
	if r.holdsBurnt() {
		held.tasks, held.burnt = r.tasks, r.burnt
	}
	if r.holdsOrphans() {
		held.tasks, held.orphaned = r.tasks, max(0, r.orphaned-r.cutOff)
	}
	return held
}

func (r *report) violate(format string, values ...any) {
	r.violations = append(r.violations, fmt.Sprintf("%s, plugin %s: %s", r.scenario.name, r.plugin.name, fmt.Sprintf(format, values...)))
}

// head and line are the table's.
const (
	head = "%-10s %-10s %5s %5s %5s %7s %8s %7s %5s %9s  %s\n"
	line = "%-10s %-10s %5d %5d %5d %7d %8d %7d %5d %9d  %s\n"
)

// print prints the line, and why attempts were burnt.
func (r *report) print(out io.Writer) {
	notes := r.begun()
	if r.largest > 0 {
		notes += fmt.Sprintf(", records of an execution ≤ %.1f KiB", float64(r.largest)/1024)
	}
	if r.plugin.many {
		notes += fmt.Sprintf(", Flyte's object ≤ %.1f KiB", float64(r.object)/1024)
	}
	if !r.holdsBurnt() {
		notes += ", attempts not held"
	}
	fmt.Fprintf(out, line, r.scenario.name, r.plugin.name, r.tasks, r.succeeded, r.burnt, r.cutOff, r.orphaned, r.doubled, r.stuck, r.recorded, notes)
	reasons := make([]string, 0, len(r.reasons))
	for reason := range r.reasons {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b string) int { return r.reasons[b] - r.reasons[a] })
	for _, reason := range reasons[:min(2, len(reasons))] {
		fmt.Fprintf(out, "%18d × %s\n", r.reasons[reason], Gist(reason))
	}
}

// begun tells the delays.
func (r *report) begun() string {
	if len(r.delays) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s, at most %.2f s", r.delays[len(r.delays)/2].Seconds(), r.delays[len(r.delays)-1].Seconds())
}

// Gist is the end of a text, where the reason is.
func Gist(text string) string {
	const most = 160
	text = strings.ReplaceAll(text, "\n", " ")
	if len(text) > most {
		text = "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}
