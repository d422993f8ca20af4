// Package explain answers people who ask what the host does with a task, and why: which plugin a task that begins now would go to and
// what it would wait for, whose a resource_meta is, and what became of a task. It decides nothing by itself: the gateway says what it
// would do, the fleet which generations there are. What neither knows is said to be not known.
package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Explainer answers for one host.
type Explainer struct {
	// Gateway is the host's.
	Gateway *gateway.Gateway
	// Plugins is what its plugins are doing.
	Plugins func() []fleet.Status
	// Replica names the host among its replicas.
	Replica string
}

// TypeAnswer is what would become of a task that begins now, as far as this replica decides about it.
type TypeAnswer struct {
	// The replica that says so: its machine, and its address for Flyte.
	Replica string `json:"replica"`
	// The task type that was asked for.
	TaskType string `json:"task_type"`
	// Its version; 0 for one without.
	TaskVersion int32 `json:"task_version"`
	// The project of the task, where one was given.
	Project string `json:"project,omitempty"`
	// The domain of the task, where one was given.
	Domain string `json:"domain,omitempty"`
	// Whether a plugin serves it.
	Served bool `json:"served"`
	// The plugin.
	Plugin string `json:"plugin,omitempty"`
	// The agent of the plugin that lists it.
	Agent string `json:"agent,omitempty"`
	// The version that serves it: another than the task's where no plugin has that.
	ServedVersion int32 `json:"served_version"`
	// Whether its agent is a sync one.
	Sync bool `json:"sync"`
	// The route of the configuration by which it goes there, with its place; absent where none decides.
	Route string `json:"route,omitempty"`
	// Why it goes there, in words.
	Because string `json:"because,omitempty"`
	// Other plugins that list the task type, and why the task does not go to them.
	Others []TypeOther `json:"others,omitempty"`
	// The generations of the plugin that get new jobs, with their shares.
	Generations []TypeShare `json:"generations,omitempty"`
	// What it would wait for now; absent where it would not wait.
	Waits []TypeWait `json:"waits,omitempty"`
	// What becomes of it where it waits, in words.
	Waiting string `json:"waiting,omitempty"`
	// How polls of its job are answered now, in words.
	Polls string `json:"polls,omitempty"`
	// The task type that was perhaps meant, where no plugin serves this one.
	Nearest string `json:"nearest,omitempty"`
	// Plugins that have not said yet what they serve: it may be theirs.
	NotKnown []string `json:"not_known,omitempty"`
	// What Flyte does with a type that is not served, in words.
	Flyte string `json:"flyte,omitempty"`
	// All of it in words, line by line.
	Says []string `json:"says"`
}

// TypeOther is a plugin that lists a task type and does not get a task of it.
type TypeOther struct {
	// The plugin.
	Plugin string `json:"plugin"`
	// Why it does not get it.
	Why string `json:"why"`
}

// TypeShare is a generation that new jobs of a plugin go to.
type TypeShare struct {
	// The generation.
	ID string `json:"id"`
	// Its version, in the plugin's own words.
	Version string `json:"version,omitempty"`
	// How many of a hundred new jobs it gets.
	Percent int `json:"percent"`
	// Its state, as in Status.
	State string `json:"state"`
}

// TypeWait is what a new task would wait for.
type TypeWait struct {
	// One of start (of the host), plugin, gate (the plugin answers no creations), concurrency, rate.
	On string `json:"on"`
	// That in words.
	Reason string `json:"reason"`
	// For how long that has been so; absent where it is not known.
	Seconds float64 `json:"seconds,omitempty"`
}

// Type says what would become of a task that begins now.
func (e Explainer) Type(q gateway.Question) TypeAnswer {
	p := e.Gateway.Prospect(q)
	plugins := e.Plugins()
	a := TypeAnswer{Replica: e.Replica, TaskType: q.Category.Name, TaskVersion: q.Category.Version, Project: q.Project, Domain: q.Domain, Served: p.Served}
	for _, w := range p.Waits {
		wait := TypeWait{On: string(w.On), Reason: w.Reason}
		if !w.Since.IsZero() {
			wait.Seconds = time.Since(w.Since).Seconds()
		}
		a.Waits = append(a.Waits, wait)
	}
	for _, o := range p.Others {
		a.Others = append(a.Others, TypeOther(o))
	}
	if p.Served {
		a.serve(p, plugins)
	} else {
		a.unserved(p, plugins)
	}
	a.Says = a.says()
	return a
}

func (a *TypeAnswer) serve(p gateway.Prospect, plugins []fleet.Status) {
	r := p.Route
	a.Plugin, a.Agent, a.Sync, a.ServedVersion = r.Target.Plugin(), r.Agent, r.Sync, r.Category.Version
	if p.Rule != nil {
		a.Route = p.Rule.String()
	}
	a.Because = because(p.Decision)
	for _, s := range plugins {
		if s.Name != a.Plugin {
			continue
		}
		for _, g := range s.Generations {
			if g.Percent > 0 {
				a.Generations = append(a.Generations, TypeShare{ID: g.ID, Version: g.Version, Percent: g.Percent, State: string(g.State)})
			}
		}
	}
	switch {
	case p.Refused != "":
		a.Waiting = "it is refused with UNAVAILABLE, which costs an attempt: " + p.Refused
	case a.Sync:
		a.Waiting = "an ExecuteTaskSync waits until just before its deadline, and is then told why"
	case p.OnRecord && p.HereOnly:
		a.Waiting = "after a second it goes on record at the host that has it, and waits without a call for up to create.max_wait; another replica can do nothing for it"
	case p.OnRecord:
		a.Waiting = "after a second it goes on record, and waits without a call for up to create.max_wait; any replica that is polled makes its job"
	default:
		a.Waiting = "its CreateTask waits until just before its deadline, and is then told why, which costs an attempt; it cannot go on record"
	}
	a.Polls = polls(p)
}

// because is why a task goes to a plugin.
func because(d route.Decision) string {
	switch d.Because {
	case route.ByRoute:
		return "a route gives it all tasks of the type"
	case route.ByTaskTypes:
		return "its task_types: names the type, and no other plugin's does"
	case route.AsBefore:
		return "the type has been its own since before others listed it"
	case route.FirstByName:
		return "several plugins list the type, nothing in the configuration decides, and it is the first by name"
	case route.Alone:
		return "no other plugin may have it"
	}
	return "a route says so"
}

func polls(p gateway.Prospect) string {
	policy := p.Route.Policy
	var how []string
	switch {
	case p.Masked:
		how = append(how, fmt.Sprintf("from memory, since the plugin cannot be asked (G5), for up to %v", policy.MaxStale))
	case policy.MaxStale > 0:
		how = append(how, fmt.Sprintf("by the plugin; while it cannot answer, from memory for up to %v (G5)", policy.MaxStale))
	default:
		how = append(how, "by the plugin; its failures reach Flyte (status.max_stale is 0)")
	}
	if policy.MinInterval > 0 {
		how = append(how, fmt.Sprintf("one within %v of the last from memory (G14)", policy.MinInterval))
	}
	return strings.Join(how, "; ")
}

func (a *TypeAnswer) unserved(p gateway.Prospect, plugins []fleet.Status) {
	a.Nearest = p.Nearest
	for _, s := range plugins {
		if s.Manifest == nil && s.State != fleet.StateDisabled {
			a.NotKnown = append(a.NotKnown, s.Name)
		}
	}
	if p.Removed != nil {
		a.Waits = append(a.Waits, TypeWait{On: "plugin", Reason: p.Removed.Reason(), Seconds: time.Since(p.Removed.At).Seconds()})
		if a.Waiting = "a CreateTask waits for the plugin to come back until just before its deadline"; p.OnRecord {
			a.Waiting = "it goes on record at once, for the plugin to come back"
		}
		a.Flyte = "the type stays listed for Flyte until " + p.Removed.Until.Format(time.RFC3339)
		return
	}
	a.Flyte = "the type is not listed for Flyte: FlytePropeller 1 gives its tasks to the plugin that its own configuration names for the type, else to its container plugin; " +
		"where it was listed when FlytePropeller started, and with Flyte 2 where the type is sent here all the same, the task comes here and fails with NOT_FOUND"
}

// category is a task category in words.
func category(name string, version int32) string {
	if version == 0 {
		return name
	}
	return fmt.Sprintf("%s version %d", name, version)
}

func (a *TypeAnswer) says() []string {
	where := ""
	if a.Project != "" {
		where += " in project " + a.Project
	}
	if a.Domain != "" {
		where += " in domain " + a.Domain
	}
	var lines []string
	if a.Served {
		lines = a.saysServed(where)
	} else {
		lines = append(lines, fmt.Sprintf("no plugin serves %s%s at this replica (%s)", category(a.TaskType, a.TaskVersion), where, a.Replica))
		if a.Nearest != "" {
			lines = append(lines, "did you mean "+a.Nearest+"?")
		}
		if len(a.NotKnown) > 0 {
			lines = append(lines, "not known yet: what is served by "+strings.Join(a.NotKnown, ", "))
		}
		for _, w := range a.Waits {
			lines = append(lines, "it would wait: "+w.Reason)
		}
		if a.Waiting != "" {
			lines = append(lines, "meanwhile: "+a.Waiting)
		}
		if a.Flyte != "" {
			lines = append(lines, a.Flyte)
		}
	}
	for _, o := range a.Others {
		lines = append(lines, "not to "+o.Plugin+": "+o.Why)
	}
	return lines
}

func (a *TypeAnswer) saysServed(where string) []string {
	kind := "an async agent"
	if a.Sync {
		kind = "a sync agent"
	}
	why := a.Because
	if a.Route != "" {
		why = "by the route for " + a.Route
	}
	lines := []string{fmt.Sprintf("%s%s goes to plugin %s (%s): %s; at this replica (%s)", category(a.TaskType, a.TaskVersion), where, a.Plugin, kind, why, a.Replica)}
	if a.ServedVersion != a.TaskVersion {
		lines = append(lines, fmt.Sprintf("no plugin has version %d: version %d serves it (G2)", a.TaskVersion, a.ServedVersion))
	}
	for _, g := range a.Generations {
		text := fmt.Sprintf("%d %% of new jobs to generation %s, which is %s", g.Percent, g.ID, g.State)
		if g.Version != "" {
			text += ", version " + g.Version
		}
		lines = append(lines, text)
	}
	if len(a.Waits) == 0 {
		lines = append(lines, "a new task would not wait now")
	}
	for _, w := range a.Waits {
		text := "a new task would wait: " + w.Reason
		if w.Seconds > 0 {
			text += ", for " + ago(w.Seconds)
		}
		lines = append(lines, text)
	}
	if len(a.Waits) > 0 {
		lines = append(lines, "meanwhile: "+a.Waiting)
	}
	return append(lines, "polls are answered: "+a.Polls)
}

// ago is a time span in words.
func ago(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// AppliedGuarantee is a guarantee that acted on a task.
type AppliedGuarantee struct {
	// Its ID, such as G5.
	ID string `json:"id"`
	// Its name, as in reference/guarantees.md.
	Name string `json:"name"`
}

func applied(set uint32) []AppliedGuarantee {
	var all []AppliedGuarantee
	for _, g := range guarantee.All() {
		if guarantee.Set(set).Has(g.ID) {
			all = append(all, AppliedGuarantee{ID: g.ID.String(), Name: g.Name})
		}
	}
	return all
}

// TaskStatus is what was last said of a job.
type TaskStatus struct {
	// Its phase, as Flyte's protocol calls it.
	Phase string `json:"phase"`
	// The message that came with it.
	Message string `json:"message,omitempty"`
	// How long ago that was; absent in a record, which does not say.
	AgeSeconds float64 `json:"age_seconds,omitempty"`
	// For how long the plugin could not be asked since then.
	FailingSeconds float64 `json:"failing_seconds,omitempty"`
	// Whether the job has ended by it.
	Ended bool `json:"ended"`
}

func taskStatus(s *gateway.Status) *TaskStatus {
	if s == nil {
		return nil
	}
	return &TaskStatus{Phase: pluginv1.PhaseName(s.Phase), Message: s.Message, AgeSeconds: s.Age.Seconds(), FailingSeconds: s.Failing.Seconds(), Ended: s.Ended}
}

func (s *TaskStatus) String() string {
	text := s.Phase
	if s.AgeSeconds > 0 {
		text += ", " + ago(s.AgeSeconds) + " ago"
	}
	if s.FailingSeconds > 0 {
		text += "; the plugin could not be asked for " + ago(s.FailingSeconds)
	}
	if s.Message != "" {
		text += ": " + s.Message
	}
	return text
}

// TaskAnswer is what one replica remembers of one attempt of a task.
type TaskAnswer struct {
	// Its task type; absent where that is not known.
	TaskType string `json:"task_type,omitempty"`
	// The version of the task type; 0 for one without.
	TaskVersion int32 `json:"task_version"`
	// The project of its execution; absent where it is not known, as for a job whose creation another replica has seen.
	Project string `json:"project,omitempty"`
	// The domain of its execution.
	Domain string `json:"domain,omitempty"`
	// Its execution.
	Execution string `json:"execution,omitempty"`
	// Its node, by the name in its workflow or subworkflow.
	Node string `json:"node,omitempty"`
	// Which attempt it is, from 0.
	Retry uint32 `json:"retry"`
	// Whether its job has ended, or was deleted.
	Ended bool `json:"ended"`
	// The last status of its job; absent where none is known.
	Status *TaskStatus `json:"status,omitempty"`
	// What it waits for now, in words; absent where its creation is not under way, or waits for nothing.
	Waits string `json:"waits,omitempty"`
	// Whether its creation is under way.
	UnderWay bool `json:"under_way"`
	// Whether it was accepted before it has a job: it is on record.
	OnRecord bool `json:"on_record"`
	// For how long its creation has been under way.
	UnderWaySeconds float64 `json:"under_way_seconds,omitempty"`
	// How many polls of its job are under way.
	PollsUnderWay int `json:"polls_under_way"`
	// The guarantees that acted on it.
	Guarantees []AppliedGuarantee `json:"guarantees,omitempty"`
	// The calls about it, those that were alike together.
	Calls []TaskCalls `json:"calls"`
	// How many calls are left out, after the first rows.
	CallsLeftOut int `json:"calls_left_out,omitempty"`
}

// TaskCalls are calls about a task that were alike.
type TaskCalls struct {
	// The RPC.
	Method string `json:"method"`
	// Whether the host made it by itself, for a task on record.
	ByHost bool `json:"by_host,omitempty"`
	// How many there were.
	Count int `json:"count"`
	// When the first one ended.
	First time.Time `json:"first"`
	// When the last one did.
	Last time.Time `json:"last"`
	// The plugin; absent where none serves the type.
	Plugin string `json:"plugin,omitempty"`
	// The generation of the instance that was asked; absent where none was.
	Generation string `json:"generation,omitempty"`
	// The process of that instance; absent where none was asked, or it runs elsewhere.
	PID int `json:"pid,omitempty"`
	// The code of what Flyte got.
	Code string `json:"code"`
	// The code of the plugin's failure in whose place Flyte got an answer; absent where there was none.
	Hidden string `json:"hidden,omitempty"`
	// The guarantees that acted.
	Guarantees []AppliedGuarantee `json:"guarantees,omitempty"`
	// The text of an error among them, Flyte's or the hidden one.
	Reason string `json:"reason,omitempty"`
}

func taskAnswer(t gateway.Task) TaskAnswer {
	a := TaskAnswer{
		TaskType: t.Type, TaskVersion: t.Version, Project: t.Project, Domain: t.Domain, Execution: t.Name, Node: t.Node, Retry: t.Retry,
		Ended: t.Ended, Status: taskStatus(t.Status), Waits: t.Waits, UnderWay: t.UnderWay, OnRecord: t.OnRecord, PollsUnderWay: t.Polls,
		Calls: []TaskCalls{}, CallsLeftOut: t.Left,
	}
	if t.UnderWay {
		a.UnderWaySeconds = time.Since(t.Begun).Seconds()
	}
	var ever uint32
	for _, c := range t.Calls {
		ever |= c.Applied
		row := TaskCalls{
			Method: c.Method, ByHost: c.Late, Count: c.Count, First: c.First, Last: c.Last, Plugin: c.Plugin, Generation: c.Generation, PID: c.PID,
			Code: codes.Code(c.Code).String(), Guarantees: applied(c.Applied), Reason: c.Reason,
		}
		if c.Hidden != 0 {
			row.Hidden = codes.Code(c.Hidden).String()
		}
		a.Calls = append(a.Calls, row)
	}
	a.Guarantees = applied(ever)
	return a
}

// says is the task in words.
func (a *TaskAnswer) says() []string {
	head := fmt.Sprintf("attempt %d of node %s (%s)", a.Retry, a.Node, category(a.TaskType, a.TaskVersion))
	if a.Execution == "" {
		head = fmt.Sprintf("a task of %s: which one is not known, since this replica has not seen its creation", category(a.TaskType, a.TaskVersion))
	}
	switch {
	case a.UnderWay && a.OnRecord:
		head += ": on record, without a job"
	case a.UnderWay:
		head += ": its creation is under way"
	case a.Ended:
		head += ": ended"
	}
	lines := []string{head}
	if a.UnderWay {
		waits := a.Waits
		if waits == "" {
			waits = "the plugin has it, or it waits for the plugin since less than a second"
		}
		lines = append(lines, fmt.Sprintf("  waits since %s: %s", ago(a.UnderWaySeconds), waits))
	}
	if a.Status != nil {
		lines = append(lines, "  last status: "+a.Status.String())
	} else if !a.UnderWay {
		lines = append(lines, "  last status: not known")
	}
	if a.PollsUnderWay > 0 {
		lines = append(lines, fmt.Sprintf("  polls under way: %d", a.PollsUnderWay))
	}
	for i := range a.Calls {
		lines = append(lines, "  "+a.Calls[i].String())
		if a.CallsLeftOut > 0 && i == jobs.FirstCalls-1 {
			lines = append(lines, fmt.Sprintf("  … %d calls are left out …", a.CallsLeftOut))
		}
	}
	return lines
}

func (c *TaskCalls) String() string {
	when := c.First.Format(time.RFC3339)
	if c.Count > 1 {
		when = fmt.Sprintf("%d times, %s to %s", c.Count, when, c.Last.Format(time.RFC3339))
	}
	text := fmt.Sprintf("%s %s: %s", c.Method, c.Code, when)
	if c.ByHost {
		text = fmt.Sprintf("%s by the host, for a task on record, %s: %s", c.Method, c.Code, when)
	}
	switch {
	case c.Generation != "" && c.PID != 0:
		text += fmt.Sprintf(", plugin %s generation %s pid %d", c.Plugin, c.Generation, c.PID)
	case c.Generation != "":
		text += fmt.Sprintf(", plugin %s generation %s", c.Plugin, c.Generation)
	case c.Plugin != "":
		text += fmt.Sprintf(", plugin %s was not asked", c.Plugin)
	}
	if c.Hidden != "" {
		text += ", masked " + c.Hidden
	}
	for _, g := range c.Guarantees {
		text += fmt.Sprintf(", %s %s", g.ID, g.Name)
	}
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	return text
}

// TasksAnswer is what one replica remembers of an execution's tasks.
type TasksAnswer struct {
	// The replica that says so: its machine, and its address for Flyte.
	Replica string `json:"replica"`
	// The project of the execution; absent where several executions are called so, or none.
	Project string `json:"project,omitempty"`
	// The domain of the execution.
	Domain string `json:"domain,omitempty"`
	// The execution.
	Execution string `json:"execution"`
	// The attempts, the oldest first.
	Tasks []TaskAnswer `json:"tasks"`
	// Executions that are called so, as PROJECT/DOMAIN/EXECUTION, where there are several.
	Several []string `json:"several,omitempty"`
	// How many tasks this replica remembers in all.
	Remembered int `json:"remembered"`
	// How many it has forgotten since it was started, because of the bound of its memory.
	Forgotten int64 `json:"forgotten"`
	// When the last of those began; what began later is remembered. Absent where none was forgotten.
	ForgottenUntil *time.Time `json:"forgotten_until,omitempty"`
	// All of it in words, line by line.
	Says []string `json:"says"`
}

// TaskQuestion asks for the tasks of an execution.
type TaskQuestion struct {
	// Project and Domain may both be empty, where the name of the execution says which it is.
	Project, Domain, Execution string
	// Node and Retry choose among its tasks: empty and nil are all.
	Node  string
	Retry *uint32
}

// maxTasks is how many attempts an answer has.
const maxTasks = 200

// Tasks says what is remembered of an execution's tasks.
func (e Explainer) Tasks(q TaskQuestion) TasksAnswer {
	memory := e.Gateway.TaskMemory()
	a := TasksAnswer{Replica: e.Replica, Project: q.Project, Domain: q.Domain, Execution: q.Execution, Tasks: []TaskAnswer{}, Remembered: memory.Tasks, Forgotten: memory.Forgotten}
	if !memory.Since.IsZero() {
		a.ForgottenUntil = &memory.Since
	}
	if q.Project == "" && q.Domain == "" {
		found := e.Gateway.ExecutionsCalled(q.Execution)
		for _, execution := range found {
			a.Several = append(a.Several, execution.Project+"/"+execution.Domain+"/"+execution.Name)
		}
		slices.Sort(a.Several)
		if len(found) != 1 {
			a.Says = a.says()
			return a
		}
		a.Project, a.Domain, a.Several = found[0].Project, found[0].Domain, nil
	}
	for _, t := range e.Gateway.TasksOf(jobs.Execution{Project: a.Project, Domain: a.Domain, Name: q.Execution}) {
		if (q.Node == "" || t.Node == q.Node) && (q.Retry == nil || t.Retry == *q.Retry) {
			a.Tasks = append(a.Tasks, taskAnswer(t))
		}
	}
	if more := len(a.Tasks) - maxTasks; more > 0 {
		a.Tasks = a.Tasks[more:]
	}
	a.Says = a.says()
	return a
}

func (a *TasksAnswer) says() []string {
	if len(a.Several) > 0 {
		return append([]string{fmt.Sprintf("several executions are called %s: say which", a.Execution)}, a.Several...)
	}
	if len(a.Tasks) == 0 {
		lines := []string{fmt.Sprintf("this replica (%s) remembers no call about %s", a.Replica, a.Execution)}
		if a.ForgottenUntil != nil {
			lines = append(lines, fmt.Sprintf("it has forgotten %d tasks, the last of which began at %s", a.Forgotten, a.ForgottenUntil.Format(time.RFC3339)))
		}
		return append(lines, "polls do not name their execution: a task whose creation another replica has seen is known there (--replicas), and by its resource_meta here (--meta)")
	}
	lines := []string{fmt.Sprintf("%s/%s/%s at this replica (%s):", a.Project, a.Domain, a.Execution, a.Replica)}
	for i := range a.Tasks {
		lines = append(lines, a.Tasks[i].says()...)
	}
	return lines
}
