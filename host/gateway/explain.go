package gateway

import (
	"errors"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/proto/nearest"
)

// What is said here is for people who ask (package explain). It is decided by what decides about calls, and changes nothing.

// Question asks what would become of a task that begins now.
type Question struct {
	Category        plugin.Category
	Project, Domain string
}

// Prospect is what would become of it.
type Prospect struct {
	route.Decision
	// Served says that a plugin serves it. Else Removed is the one that did until a short while ago, nil where there is none, and Nearest
	// the task type that was perhaps meant.
	Served  bool
	Removed *route.Removed
	Nearest string
	// Starting says that the plugins of the host's start are on their way: the type may be one of theirs.
	Starting bool
	// Waits is what the task would wait for now; Refused why it would not even wait.
	Waits   []Wait
	Refused string
	// OnRecord says that it goes on record where it waits, HereOnly that this host alone could make its job then.
	OnRecord, HereOnly bool
	// Masked says that polls of the plugin's jobs would be answered from memory now.
	Masked bool
}

// Wait is what a call would wait for.
type Wait struct {
	// On is OnStart, OnPlugin, OnGate, OnConcurrency or OnRate.
	On WaitsOn
	// Reason is that in words.
	Reason string
	// Since is since when that has been so; zero: not known.
	Since time.Time
}

// Prospect says what would become of a task that begins now.
func (g *Gateway) Prospect(q Question) Prospect {
	table := g.routes.Table()
	c := &routedCall{
		method: method{name: "CreateTask", creates: true}, want: route.Want{New: true},
		info: requestInfo{category: q.Category, project: q.Project, domain: q.Domain, attempt: "any"},
	}
	var p Prospect
	p.Decision, _ = table.Explain(q.Category, q.Project, q.Domain)
	p.Served = c.lookup(table, c.info, envelope{}) && (g.enabled.Has(guarantee.VersionRouting) || c.route.Category == q.Category)
	if !p.Served {
		p.Nearest = nearest.Name(q.Category.Name, table.Names())
		if p.Nearest == q.Category.Name {
			p.Nearest = ""
		}
		if removed, ok := table.Removed(q.Category); ok {
			p.Removed = &removed
			c.route = (&removedPlugin{removed}).route(q.Category)
			p.OnRecord = g.mayRecord(c)
		}
		select {
		case <-g.synced:
		default:
			p.Starting = true
			p.Waits = append(p.Waits, Wait{On: OnStart, Reason: "the plugins of the host's start are on their way"})
		}
		return p
	}
	p.Route = c.route
	switch {
	case c.route.Sync:
	case g.mayRecord(c):
		p.OnRecord = true
	case g.mayAccept(c):
		p.OnRecord, p.HereOnly = true, true
	}
	p.Waits, p.Refused = g.wouldWait(c)
	if _, away := c.route.Target.Trouble(); away {
		p.Masked = c.route.Policy.MaxStale > 0 && g.enabled.Has(guarantee.LastKnownStatus)
	}
	return p
}

// wouldWait is what a call that begins a task would wait for now, and why it would be refused.
func (g *Gateway) wouldWait(c *routedCall) (waits []Wait, refused string) {
	gate, limit := g.gates.of(c.route), g.limits.of(c.route)
	if trouble, away := c.route.Target.Trouble(); away {
		waits = append(waits, Wait{On: OnPlugin, Reason: trouble.Reason, Since: trouble.Since})
		if !g.mayRecord(c) && time.Since(trouble.Since) >= troubleAfter && g.enabled.Has(guarantee.Fairness) && gate.full() {
			refused = trouble.Reason + "; as many tasks wait for it, or for other plugins, as may"
		}
	}
	if gate.silent() {
		waits = append(waits, Wait{On: OnGate, Reason: g.silence(c)})
		if !g.mayRecord(c) && !g.mayAccept(c) && g.enabled.Has(guarantee.Fairness) {
			refused = g.silence(c) + ", and no more may wait for it"
		}
	}
	if limit.slots != nil {
		if limit.slots.TryAcquire(1) {
			limit.slots.Release(1)
		} else {
			waits = append(waits, Wait{On: OnConcurrency, Reason: c.describePlugin() + " has as many calls under way as its limits.concurrency allows"})
		}
	}
	if limit.rate != nil && limit.rate.Tokens() < 1 {
		waits = append(waits, Wait{On: OnRate, Reason: c.describePlugin() + " gets as many calls a second as its limits.rate allows"})
	}
	return waits, refused
}

// full says that no more calls may wait for the plugin.
func (g *gate) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting >= maxWaiting || g.all.waiting.Load() >= maxWaitingInAll
}

// Meta is what the bytes of a resource_meta say by themselves.
type Meta struct {
	// Form is what it is: a plugin's own bytes, an envelope, a record, or one of a newer host.
	Form MetaForm
	// Sealed says that there was a seal around it.
	Sealed bool
	// Unreadable is why no more can be said; nil where it can.
	Unreadable error
	// TaskType, Project and Domain are the task's, where a seal or a record says so.
	TaskType, Project, Domain string
	// Plugin and Generation are those that made the job, or that a task on record goes to.
	Plugin, Generation string
	// Signed says that an envelope is signed; Genuine, that a host with these keys has made it.
	Signed, Genuine bool
	// Accepted is when a task on record was accepted. Host is the state directory of the only host that can make its job; empty: any can.
	Accepted time.Time
	Host     string
	// Task is which task it is, where a record holds its creation; nil: not known.
	Task *jobs.TaskName
	// End is how a task on record has ended; nil: it has not.
	End *Status
	// Own is the plugin's own bytes; nil for a record.
	Own []byte

	attempt jobs.ID
	flyte   []byte // without a seal
}

// MetaForm is what a resource_meta is.
type MetaForm string

// The forms.
const (
	// Bare is a plugin's own bytes.
	Bare MetaForm = "bare"
	// Enveloped is a job that is pinned to the plugin and the generation that made it.
	Enveloped MetaForm = "envelope"
	// Recorded is a task that was accepted before it had a job, or has ended without one.
	Recorded MetaForm = "record"
	// Newer is an envelope of a newer host.
	Newer MetaForm = "newer"
	// Closed is a seal that cannot be opened.
	Closed MetaForm = "sealed"
)

// Status is what is known of a job.
type Status struct {
	Phase core.TaskExecution_Phase
	// Message is the plugin's.
	Message string
	// Age is how long ago the plugin said so, and Failing for how long it could not be asked since.
	Age, Failing time.Duration
	// Ended says that the job has ended by it.
	Ended bool
}

// ReadMeta reads a resource_meta as Flyte has it, with the keys of a host; nil: there are none.
func ReadMeta(keys *record.Keys, meta []byte) Meta {
	m := Meta{Form: Bare, Own: meta, flyte: meta}
	if record.IsSealed(meta) {
		m.Sealed = true
		if keys == nil {
			m.Form, m.Own, m.Unreadable = Closed, nil, errNoKeys
			return m
		}
		opened, err := record.Unseal(keys, meta)
		if err != nil {
			m.Form, m.Own, m.Unreadable = Closed, nil, err
			return m
		}
		m.TaskType, m.Project, m.Domain, m.Own, m.flyte = opened.TaskType, opened.Project, opened.Domain, opened.Meta, opened.Meta
	}
	if e, ok := open(m.Own, keys); ok {
		m.Form, m.Plugin, m.Generation, m.Own = Enveloped, e.plugin, e.generation, e.meta
		m.Genuine, m.Signed = e.genuine, isSigned(m.flyte)
		return m
	}
	switch {
	case record.Newer(m.Own):
		m.Form, m.Own, m.Unreadable = Newer, nil, record.ErrNewer
	case record.Is(m.Own):
		m.Form, m.Own = Recorded, nil
		if keys == nil {
			m.Unreadable = errNoKeys
			return m
		}
		r, err := record.Open(keys, m.flyte)
		if m.Unreadable = err; err == nil {
			m.fromRecord(r)
		}
	}
	return m
}

// errNoKeys is why a seal or a record is not opened where there are no keys.
var errNoKeys = errors.New("there are no create.keys here to open it with")

func (m *Meta) fromRecord(r record.Record) {
	m.Plugin, m.Accepted, m.Host = r.Plugin, r.Accepted, r.Host
	if info, err := readCreate(r.Request); r.Request != nil && err == nil {
		name := info.taskName()
		m.Task, m.TaskType, m.Project, m.Domain = &name, name.Type, name.Project, name.Domain
		about := routedCall{info: info}
		m.attempt = about.attemptID()
	}
	if r.End != nil {
		m.End = statusOf(fields.Append(nil, responseResource, r.End))
	}
}

// statusOf reads a GetTaskResponse; nil where it says nothing.
func statusOf(answer []byte) *Status {
	raw, _, err := fields.Take(answer, responseResource)
	if err != nil {
		return nil
	}
	r, err := readResource(raw)
	if err != nil {
		return nil
	}
	return &Status{Phase: r.phase, Message: cut(r.message, maxReason)}
}

// Asked is a resource_meta, and what this host knows of its job.
type Asked struct {
	Meta
	// Route is the plugin that a poll would go to now, if Served; for that the task type has to be known. Pinned says that it goes to the
	// generation of the envelope while that lives.
	Route  route.Route
	Served bool
	Pinned bool
	// Tasks are those whose job is called so, the oldest first: agents number their jobs as they like.
	Tasks []Task
}

// Task is a task as this host remembers it.
type Task struct {
	jobs.Remembered
	// Status is the last that was said of its job; nil: nothing is known of that.
	Status *Status
	// UnderWay says that its CreateTask is, since Begun; OnRecord that it was accepted; Waits what it waits for, in words.
	UnderWay, OnRecord bool
	Begun              time.Time
	Waits              string
	// Polls are those under way.
	Polls int
}

// Asked says what this host knows of a resource_meta. A task type that the bytes do not say may be given.
func (g *Gateway) Asked(meta []byte, taskType string) Asked {
	a := Asked{Meta: ReadMeta(g.keys(), meta)}
	if a.TaskType == "" {
		a.TaskType = taskType
	}
	name := jobs.MetaOf(a.flyte).ID()
	for _, remembered := range g.tasks.ByMeta(name) {
		if a.TaskType == "" || remembered.Type == a.TaskType {
			a.Tasks = append(a.Tasks, g.task(remembered))
		}
	}
	if len(a.Tasks) > 0 && a.TaskType == "" {
		a.TaskType = a.Tasks[0].Type
		for _, other := range a.Tasks {
			if other.Type != a.TaskType { // nobody can say which
				a.TaskType = ""
				break
			}
		}
	}
	if a.TaskType == "" {
		return a
	}
	c := &routedCall{info: requestInfo{category: plugin.Category{Name: a.TaskType}}}
	pin := envelope{plugin: a.Plugin}
	if a.Form == Enveloped {
		pin, _ = g.pinFor(envelope{plugin: a.Plugin, generation: a.Generation, genuine: a.Genuine})
	}
	a.Served = c.lookup(g.routes.Table(), c.info, pin)
	a.Route = c.route
	a.Pinned = a.Served && pin.generation != "" && c.route.Target.Plugin() == pin.plugin
	return a
}

// TasksOf returns what is remembered of the tasks of an execution, the oldest first.
func (g *Gateway) TasksOf(execution jobs.Execution) []Task {
	var found []Task
	for _, remembered := range g.tasks.Of(execution) {
		found = append(found, g.task(remembered))
	}
	return found
}

// ExecutionsCalled returns the executions of a name that anything is remembered of.
func (g *Gateway) ExecutionsCalled(name string) []jobs.Execution { return g.tasks.Called(name) }

// TaskMemory is how far the memory of tasks reaches.
func (g *Gateway) TaskMemory() jobs.TaskMemory { return g.tasks.Memory() }

func (g *Gateway) task(remembered jobs.Remembered) Task {
	t := Task{Remembered: remembered}
	for _, job := range remembered.Jobs {
		last, ok := g.statuses.Last(job)
		if ok && (t.Status == nil || last.Age < t.Status.Age) {
			if read := statusOf(last.Answer); read != nil {
				t.Status = read
				t.Status.Age, t.Status.Failing, t.Status.Ended = last.Age, last.Failing, last.Ended
			}
		}
		t.Polls += g.polls.UnderWay(job)
	}
	if !remembered.HasAttempt {
		return t
	}
	if n := g.creates.Lookup(remembered.Attempt); n != nil && !isDone(n) {
		t.UnderWay, t.Begun, t.Waits = true, n.Begun(), n.Waits()
		_, t.OnRecord = n.Accepted()
	}
	return t
}
