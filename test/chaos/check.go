package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/chaos/procs"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// The classes of violations. Lost is everything that keeps a job from its true end, or costs it something, for a reason of the host's.
const (
	lost       = "lost"
	duplicated = "duplicated"
	stuck      = "stuck"
	leftover   = "leftover"
)

// violation is one broken promise.
type violation struct {
	class string
	// kind groups those that are alike, what tells this one's details.
	kind string
	job  *job // nil for leftovers
	what string
}

// verdict is what a run comes to.
type verdict struct {
	chaos      *chaos
	faults     *faults
	violations []violation
	// ends counts how the jobs ended; excused the failed calls by whose fault they were.
	ends, excused map[string]int
	attempts      int
	polls         int
	// jobPolls are those that reached the ledger about jobs with an interval, hasty those that came too soon.
	jobPolls, hasty int
	orphans         int
	swaps           int
	guests          int // tasks of guests
}

func newVerdict(c *chaos, f *faults) *verdict {
	return &verdict{chaos: c, faults: f, ends: map[string]int{}, excused: map[string]int{}}
}

// judge holds every job against the ledger.
func (v *verdict) judge() {
	for _, j := range v.chaos.jobs {
		v.judgeJob(j, v.chaos.ledger.Task(j.name))
	}
	// Some are: the answer before was lost on the way, or the polls were under way together while the plugin was stopped. Without
	// the guarantee nine of ten are.
	if v.hasty > v.jobPolls/2 {
		v.violate(lost, "quota", nil, "%d of %d polls came sooner than status.min_interval allows", v.hasty, v.jobPolls)
	}
	if n := v.chaos.ledger.Unknown(); n > 0 {
		v.violate(lost, "calls about unknown jobs", nil, "%d calls reached the ledger about jobs that it never made", n)
	}
	for flyte, p := range v.chaos.flytes {
		if n := p.Workers(); n < pollers {
			v.violate(stuck, "workers gone", nil, "of Flyte %d's %d workers that poll jobs %d are left", flyte, pollers, n)
		}
	}
	releases, plugins := map[string]bool{}, map[string]bool{}
	for instance := range v.chaos.ledger.Serving() {
		releases[fmt.Sprint(instance.Host, instance.Agent, instance.Release)] = true
		plugins[fmt.Sprint(instance.Host, instance.Agent)] = true
	}
	v.swaps = len(releases) - len(plugins)
	if v.faults.counts["swap"] > 0 && v.swaps == 0 {
		v.violate(lost, "no swap", nil, "%d edits of the configuration swapped nothing", v.faults.counts["swap"])
	}
}

func (v *verdict) judgeJob(j *job, known ledger.Task) {
	if j.execution == nil || j.err != nil {
		v.ends["stuck"]++
		v.violate(stuck, "not over", j, "it is not over %v after the chaos: %v", v.chaos.maxWait, j.err)
		return
	}
	v.ends[string(j.result.Phase)]++
	v.attempts += j.result.Attempts
	if wrong := j.wrongEnd(); wrong != "" {
		if calls := j.result.Calls; len(calls) > 0 && turnedAway(calls[len(calls)-1]) {
			v.excused["the end: "+inTrouble]++
			return
		}
		v.violate(lost, "wrong end", j, "%s", wrong)
	}
	if j.gone != nil {
		v.violate(stuck, "cannot be deleted", j, "Flyte could not let go of it: %v", j.gone)
	}
	v.judgeCalls(j, known)
	if named(j.agent).kind == synchronous {
		v.judgeRuns(j, known)
		return
	}
	v.judgeAttempts(j, known)
}

// judgeRuns holds what the ledger did for a sync task against Flyte's calls: it is done at most once for each, and each attempt but
// the last failed for a reason.
func (v *verdict) judgeRuns(j *job, known ledger.Task) {
	calls, runs, failed := map[int]int{}, map[int]int{}, map[int]bool{}
	for _, call := range j.result.Calls {
		calls[call.Attempt]++
		failed[call.Attempt] = failed[call.Attempt] || call.Code != codes.OK
	}
	for _, run := range known.Runs {
		runs[run.Attempt]++
		failed[run.Attempt] = failed[run.Attempt] || run.End == ledger.Retryable
	}
	if len(known.Runs) == 0 {
		v.violate(lost, "never done", j, "it is over, and was never done")
	}
	for attempt := range j.result.Attempts {
		if runs[attempt] > calls[attempt] {
			v.violate(duplicated, "done twice", j, "attempt %d was called %d times, and done %d times", attempt, calls[attempt], runs[attempt])
		}
		if attempt < j.result.Attempts-1 && !failed[attempt] {
			v.violate(lost, "attempt for nothing", j, "attempt %d neither failed nor was it to be tried again", attempt)
		}
	}
}

// wrongEnd says how the end that Flyte saw differs from the true one.
func (j *job) wrongEnd() string {
	phase, reason := j.result.Phase, j.result.Final.Reason
	switch {
	case j.plan.Silent:
		if phase != propeller.PermanentFailure || !strings.Contains(reason, "max_stale of "+maxStale.String()) {
			return fmt.Sprintf("nobody knows how it is, and it ended as %s: %s", phase, short(reason))
		}
	case j.plan.End == ledger.Running:
		// A DeleteTask that cancelled the job and whose answer was lost lets Flyte 1 see it aborted before it asks again.
		seen := !j.asked.IsZero() && phase == propeller.PermanentFailure && strings.Contains(reason, "aborted phase")
		if phase != propeller.Aborted && !seen {
			return fmt.Sprintf("it was to run until it is aborted, and ended as %s: %s", phase, short(reason))
		}
	case j.plan.End == ledger.Failed:
		if phase != propeller.PermanentFailure || !strings.Contains(reason, failure(j.name)) {
			return fmt.Sprintf("it truly failed, and ended as %s: %s", phase, short(reason))
		}
		if len(j.plan.Message) > 4<<20 && !strings.HasSuffix(reason, "the tail") {
			return fmt.Sprintf("its long message lost its tail: %s", short(reason))
		}
	case phase != propeller.Succeeded:
		return fmt.Sprintf("it truly succeeded, and ended as %s: %s", phase, short(reason))
	default:
		number, text := ledger.Outputs(j.number, j.text)
		if n, s := integer(j.result.Outputs, "number"), word(j.result.Outputs, "text"); n != number || s != text {
			return fmt.Sprintf("its outputs are %d and %q instead of %d and %q", n, s, number, text)
		}
	}
	return ""
}

func integer(outputs *core.LiteralMap, name string) int64 {
	return outputs.GetLiterals()[name].GetScalar().GetPrimitive().GetInteger()
}

func word(outputs *core.LiteralMap, name string) string {
	return outputs.GetLiterals()[name].GetScalar().GetPrimitive().GetStringValue()
}

// judgeCalls looks for calls that failed for a reason of the host's.
func (v *verdict) judgeCalls(j *job, known ledger.Task) {
	for _, call := range j.result.Calls {
		if call.Method == "GetTask" {
			v.polls++
		}
		if call.Code == codes.OK {
			continue
		}
		why := v.chaos.excused(j.agent, call)
		switch {
		case why != "":
		case call.Method == "DeleteTask" && strings.Contains(call.Err.Error(), ledger.ErrWeather.Error()):
			why = "the service refused, and Flyte repeats it"
		case turnedAway(call):
			why = inTrouble
		case poisonous(known, call):
			why = "the plugin died in it as often as the host lets it"
		case call.Code == codes.DeadlineExceeded && hung(known, call):
			why = "the plugin hung in it"
		case call.Code == codes.DeadlineExceeded && v.chaos.stalls.within(call.Started, call.Started.Add(call.Took)) > stalled:
			why = "this program itself was held up: the machine is too busy"
		}
		if why == "" {
			v.violate(lost, call.Method+" failed: "+call.Code.String(), j, "%s of attempt %d failed after %v: %s: %s", call.Method, call.Attempt, call.Took.Round(time.Millisecond), call.Code, short(call.Err.Error()))
			continue
		}
		v.excused[call.Method+": "+why]++
	}
}

// stalled is for how long this program must be held up in a call for that to be why the answer came too late. The host keeps
// a second.
const stalled = 500 * time.Millisecond

const inTrouble = "the plugin was in trouble, and as many waited for it as may"

// turnedAway tells whether a call that begins a task was refused by G17.
func turnedAway(call propeller.Call) bool {
	begins := call.Method == "CreateTask" || call.Method == "ExecuteTaskSync"
	return begins && call.Code == codes.Unavailable &&
		(strings.Contains(call.Err.Error(), "as many tasks wait for it, or for other plugins, as may") || strings.Contains(call.Err.Error(), "and no more may wait for it"))
}

// poisonous tells whether a task's creation was given up because its plugin died of it three times: it came to the ledger as often.
func poisonous(known ledger.Task, call propeller.Call) bool {
	if call.Method != "CreateTask" || call.Code != codes.Aborted || !strings.Contains(call.Err.Error(), "died 3 times while it began this") {
		return false
	}
	came := 0
	for _, e := range known.Events {
		if e.Attempt == call.Attempt && strings.HasPrefix(e.What, string(ledger.Create)) {
			came++
		}
	}
	return came >= 3
}

// hung tells whether the plugin was told to hang in a call that makes a job, or does a task.
func hung(known ledger.Task, call propeller.Call) bool {
	op, ok := map[string]ledger.Op{"CreateTask": ledger.Create, "ExecuteTaskSync": ledger.Execute}[call.Method]
	return ok && slices.ContainsFunc(known.Events, func(e ledger.Event) bool {
		return e.Attempt == call.Attempt && e.Do == ledger.Hang && strings.HasPrefix(e.What, string(op))
	})
}

// judgeAttempts holds the ledger's jobs against Flyte's attempts.
func (v *verdict) judgeAttempts(j *job, known ledger.Task) {
	created := map[int]bool{}
	for _, call := range j.result.Calls {
		created[call.Attempt] = created[call.Attempt] || call.Method == "CreateTask" && call.Code == codes.OK
	}
	made, elsewhere := map[int]int{}, remade(j, known)
	for _, job := range known.Jobs {
		made[job.Attempt]++
		if j.plan.Interval > 0 {
			v.jobPolls += job.Polls
			v.hasty += job.Hasty
		}
		// A job that was over by itself when its task was aborted cannot be cancelled: that Flyte deleted it is enough.
		aborted := j.plan.End == ledger.Running && job.Deletes > 0
		if !job.Told.IsZero() || !job.Cancelled.IsZero() || aborted || j.plan.Silent {
			continue
		}
		if created[job.Attempt] && !elsewhere[job.Attempt] {
			v.violate(lost, "forgotten job", j, "Flyte has %s, and never learnt of its end nor deleted it", job.ID)
		} else {
			v.orphans++
		}
	}
	for attempt, n := range made {
		if n > 1 && elsewhere[attempt] {
			v.excused["CreateTask: repeated by a restarted Flyte at the other replica, of a plugin without idempotent_create"]++
		} else if n > 1 {
			v.violate(duplicated, "two jobs for an attempt", j, "attempt %d has %d jobs", attempt, n)
		}
	}
	if len(known.Jobs) == 0 && j.plan.End != ledger.Running {
		v.violate(lost, "never made", j, "it is over, and no job was ever made for it")
	}
}

// remade are the attempts for which replicas that do not know of each other made a job each, one in all: Flyte was restarted in
// CreateTask and came to the other one, and the plugin is none that could have found the first one's job. A real Flyte does that too: it
// writes an answer down after the call, so that its CreateTask comes at least once. The job that it does have is judged by how the
// task ends.
func remade(j *job, known ledger.Task) map[int]bool {
	interrupted, jobs, hosts := map[int]bool{}, map[int]int{}, map[int]map[int]bool{}
	for _, call := range j.result.Calls {
		if call.Method == "CreateTask" && call.Code == codes.Canceled {
			interrupted[call.Attempt] = true
		}
	}
	for _, job := range known.Jobs {
		jobs[job.Attempt]++
		if hosts[job.Attempt] == nil {
			hosts[job.Attempt] = map[int]bool{}
		}
		hosts[job.Attempt][job.Host] = true
	}
	attempts := map[int]bool{}
	for attempt, n := range jobs {
		attempts[attempt] = n > 1 && n == len(hosts[attempt]) && interrupted[attempt] && !named(j.agent).idempotent
	}
	return attempts
}

func (v *verdict) violate(class, kind string, j *job, format string, values ...any) {
	v.violations = append(v.violations, violation{class, kind, j, fmt.Sprintf(format, values...)})
}

// cleanedUp waits until each host is as it was at its start: every plugin runs, and it has no more goroutines and descriptors, but
// for a few.
func (v *verdict) cleanedUp(ctx context.Context, before usage) {
	const fewGoroutines, fewDescriptors = 24, 8
	deadline := time.Now().Add(20 * time.Second)
	for {
		wrong := v.chaos.unclean(ctx, usage{before.goroutines + fewGoroutines, before.descriptors + fewDescriptors})
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(deadline) || !wait.For(ctx, 250*time.Millisecond) {
			for _, what := range wrong {
				v.violate(leftover, "in a host", nil, "%s; at its start a host has at most %.0f goroutines and %.0f descriptors", what, before.goroutines, before.descriptors)
			}
			return
		}
	}
}

// unclean says in what the hosts are not as they should be when all is over.
func (c *chaos) unclean(ctx context.Context, most usage) []string {
	var wrong []string
	now, err := c.usage(ctx)
	switch {
	case err != nil:
		wrong = append(wrong, fmt.Sprintf("a host does not tell what it uses: %v", err))
	case now.goroutines > most.goroutines || now.descriptors > most.descriptors:
		wrong = append(wrong, fmt.Sprintf("a host has %.0f goroutines and %.0f descriptors", now.goroutines, now.descriptors))
	}
	for _, host := range c.hosts {
		text, err := host.Ask(ctx, "/status")
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		var status struct {
			Plugins []struct{ Name, State, Reason string }
		}
		if err := json.Unmarshal(text, &status); err != nil {
			wrong = append(wrong, fmt.Sprintf("the status of %s is %v: %s", host.Name, err, text))
		}
		if plugins := len(agents) + len(c.settings.guests); len(status.Plugins) != plugins {
			wrong = append(wrong, fmt.Sprintf("%s has %d plugins instead of %d", host.Name, len(status.Plugins), plugins))
		}
		for _, plugin := range status.Plugins {
			if plugin.State != "running" {
				wrong = append(wrong, fmt.Sprintf("plugin %s of %s is %s: %s", plugin.Name, host.Name, plugin.State, short(plugin.Reason)))
			}
		}
	}
	return wrong
}

// leftBehind ends the hosts, and looks for what is left of them: processes, files.
func (v *verdict) leftBehind(ctx context.Context) {
	for _, p := range procs.Marked(v.chaos.mark) {
		if len(p.Arguments) > 1 && p.Arguments[1] == agent.HoldMarker {
			v.violate(leftover, "process", nil, "while the hosts ran, process %d was left: a child of a plugin that ended", p.PID)
		}
	}
	if err := v.chaos.stopHosts(); err != nil {
		v.violate(leftover, "in a host", nil, "a host did not end well: %v", err)
	}
	deadline := time.Now().Add(5 * time.Second)
	left := procs.Marked(v.chaos.mark)
	for len(left) > 0 && time.Now().Before(deadline) && wait.For(ctx, 50*time.Millisecond) {
		left = procs.Marked(v.chaos.mark)
	}
	for _, p := range left {
		v.violate(leftover, "process", nil, "process %d is left: %s", p.PID, strings.Join(p.Arguments, " "))
		if own, err := os.FindProcess(p.PID); err == nil {
			_ = own.Kill() // it bears this run's mark
		}
	}
	for _, path := range v.chaos.runEntries() {
		v.violate(leftover, "file", nil, "file %s is left", path)
	}
}

// shown is how many violations of one kind are printed in full.
const shown = 2

func (v *verdict) print(out io.Writer, c *chaos) {
	total := 0
	fmt.Fprintln(out, "faults:")
	for _, name := range kindNames() {
		if n := v.faults.counts[name]; n > 0 {
			fmt.Fprintf(out, "  %-20s %5d\n", name, n)
			total += n
		}
	}
	printCounts(out, "the jobs' ends:", v.ends)
	fmt.Fprintf(out, "attempts: %d, polls: %d, jobs of the ledger that Flyte never had: %d\n", v.attempts, v.polls, v.orphans)
	printCounts(out, "failed calls, and why no server could help it:", v.excused)
	if len(c.counted) > 0 {
		fmt.Fprintln(out, "how often the hosts say that they saved a call, by guarantee:")
		for _, name := range slices.Sorted(maps.Keys(c.counted)) {
			fmt.Fprintf(out, "  %-20s %5.0f\n", name, c.counted[name])
		}
	}
	fmt.Fprintf(out, "this program itself was held up by the machine for %v\n", c.stalls.within(time.Time{}, time.Now()).Round(time.Millisecond))
	v.printSlowest(out)
	v.printViolations(out)
	if v.guests > 0 {
		fmt.Fprintf(out, "guests: %d agents in other languages, %d tasks, %d killed, %d swapped\n", len(c.settings.guests), v.guests, c.guestKills, c.guestSwaps)
	}
	state := "ok"
	if len(v.violations) > 0 {
		state = "FAILED"
	}
	fmt.Fprintf(out, "chaos %s: %d jobs, %d faults, %d swaps, %d lost, %d duplicated, %d stuck", state, len(c.jobs), total, v.swaps, v.jobs(lost), v.jobs(duplicated), v.jobs(stuck))
	if n := v.jobs(leftover); n > 0 {
		fmt.Fprintf(out, ", %d left over", n)
	}
	fmt.Fprintln(out)
}

// jobs counts the jobs that have a violation of a class; each that is no job's counts for itself.
func (v *verdict) jobs(class string) int {
	jobs, others := map[*job]bool{}, 0
	for _, broken := range v.violations {
		switch {
		case broken.class != class:
		case broken.job == nil:
			others++
		default:
			jobs[broken.job] = true
		}
	}
	return len(jobs) + others
}

func printCounts(out io.Writer, title string, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	fmt.Fprintln(out, title)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "  %-60s %5d\n", name, counts[name])
	}
}

// printSlowest shows the calls that took longest.
func (v *verdict) printSlowest(out io.Writer) {
	type slow struct {
		job  *job
		call propeller.Call
	}
	var all []slow
	for _, j := range v.chaos.jobs {
		for _, call := range j.result.Calls {
			all = append(all, slow{j, call})
		}
	}
	slices.SortFunc(all, func(a, b slow) int { return int(b.call.Took - a.call.Took) })
	fmt.Fprintln(out, "the slowest calls:")
	for _, s := range all[:min(5, len(all))] {
		fmt.Fprintf(out, "  %8v %s of %s (%s), %s\n", s.call.Took.Round(time.Millisecond), s.call.Method, s.job.name, s.job.agent, s.call.Code)
	}
}

// printViolations shows how many there are of each kind, and some in full, a job's story once.
func (v *verdict) printViolations(out io.Writer) {
	kinds := map[string]int{}
	for _, broken := range v.violations {
		kinds[broken.class+": "+broken.kind]++
	}
	printCounts(out, "violations:", kinds)
	printed, told := map[string]int{}, map[*job]bool{}
	for _, broken := range v.violations {
		if printed[broken.kind] == shown || told[broken.job] {
			continue
		}
		printed[broken.kind]++
		told[broken.job] = broken.job != nil
		v.printViolation(out, broken)
	}
}

// printViolation shows one with the whole story of its job, as Flyte and the ledger saw it.
func (v *verdict) printViolation(out io.Writer, broken violation) {
	j := broken.job
	if j == nil {
		fmt.Fprintf(out, "- %s: %s\n", broken.class, broken.what)
		return
	}
	fmt.Fprintf(out, "- %s: %s (Flyte %d, %s): %s\n", broken.class, j.name, j.flyte, j.agent, broken.what)
	type line struct {
		at   time.Time
		text string
	}
	var story []line
	for _, change := range j.result.History {
		story = append(story, line{change.At, fmt.Sprintf("Flyte:  attempt %d is %s %s", change.Attempt, change.Phase, short(change.Reason))})
	}
	for _, call := range j.result.Calls {
		if call.Method != "GetTask" || call.Code != codes.OK {
			text := fmt.Sprintf("Flyte:  %s of attempt %d took %v: %s", call.Method, call.Attempt, call.Took.Round(time.Millisecond), call.Code)
			if call.Err != nil {
				text += ": " + short(call.Err.Error())
			}
			story = append(story, line{call.Started, text})
		}
	}
	for _, event := range v.chaos.ledger.Task(j.name).Events {
		text := fmt.Sprintf("ledger: attempt %d: %s", event.Attempt, event.What)
		if event.Do != ledger.Nothing {
			text += "; told to " + string(event.Do)
		}
		story = append(story, line{event.At, text})
	}
	slices.SortStableFunc(story, func(a, b line) int { return a.at.Compare(b.at) })
	const most = 30
	for i, l := range story {
		if i == most {
			fmt.Fprintf(out, "    … and %d more\n", len(story)-most)
			break
		}
		fmt.Fprintf(out, "    %s %s\n", l.at.Format("15:04:05.000"), l.text)
	}
}

func short(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most/2] + " … " + text[len(text)-most/2:]
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// usage is the most that any host has.
type usage struct{ goroutines, descriptors float64 }

func (c *chaos) usage(ctx context.Context) (usage, error) {
	var most usage
	for _, host := range c.hosts {
		text, err := host.Ask(ctx, "/metrics")
		if err != nil {
			return usage{}, err
		}
		metrics := parseMetrics(text)
		most.goroutines = max(most.goroutines, metrics["go_goroutines"])
		most.descriptors = max(most.descriptors, metrics["process_open_fds"])
	}
	return most, nil
}

// scrape adds a host's guarantee counters to those of the run.
func (c *chaos) scrape(ctx context.Context, from interface {
	Ask(context.Context, string) ([]byte, error)
}) {
	text, err := from.Ask(ctx, "/metrics")
	if err != nil {
		return // a host that is ending: its numbers are for people, and no part of the verdict
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, value := range parseMetrics(text) {
		if label, ok := strings.CutPrefix(name, "agenthost_guarantee_total{"); ok && value > 0 {
			c.counted[guaranteeOf(label)] += value
		}
	}
}

// guaranteeOf is the guarantee in a counter's labels, without the plugin and its task types.
func guaranteeOf(labels string) string {
	_, value, _ := strings.Cut(labels, `guarantee="`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

// parseMetrics reads Prometheus's text: names with their labels as they stand, and values.
func parseMetrics(text []byte) map[string]float64 {
	metrics := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(line[at+1:], &value); err == nil {
			metrics[line[:at]] = value
		}
	}
	return metrics
}
