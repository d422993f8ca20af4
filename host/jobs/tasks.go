package jobs

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// Tasks remembers the calls about each task, for people who ask what became of it: who answered, what with, and which guarantees
// acted. Nothing else is built on it. Its methods may be called at any time from anywhere.
//
// Calls that are like the last ones are counted together, so a job that is polled for days takes no more than one that has just
// begun. Beyond its bound tasks are forgotten: those that have ended first, and of each kind the oldest.
type Tasks struct {
	max  int64
	size atomic.Int64

	// mu is held for all but the jobs in shards.
	mu          sync.Mutex
	attempts    map[key]*Task
	metas       map[key]namesakes
	live, ended queue
	count       int // of both
	added       uint64
	forgotten   int64
	since       time.Time // of the last task that was forgotten: its first call

	shards [taskShards]shard
}

// taskShards is how many maps the jobs are in, so that polls do not wait for each other.
const taskShards = 64

type shard struct {
	mu   sync.RWMutex
	jobs map[key]*Task
}

// key is what an ID is looked up by: the half of a digest, which tells tasks apart as well and takes half the memory in maps.
type key [sha256.Size / 2]byte

func (id *ID) key() key { return key(id[:]) }

// Execution names an execution of Flyte's.
type Execution struct{ Project, Domain, Name string }

// TaskName is what is known of which task it is. A replica that has not seen its creation may know nothing.
type TaskName struct {
	// Type and Version are its task category's.
	Type    string
	Version int32
	Execution
	// Node is the node within its workflow or subworkflow.
	Node string
	// Retry is the number of the attempt, from 0.
	Retry uint32
}

// Task is the memory of one attempt. There are many: what they have in common is kept once.
type Task struct {
	links[Task] // in live or ended; under mu of tasks
	tasks       *Tasks

	// Under mu of tasks:
	kind            unique.Handle[kind]
	execution, node string
	attempt         ID // zero: not known
	jobs            []ID
	metas           *namesake
	number          uint64 // how many came before
	retry           uint32
	hasEnded        bool
	gone            bool

	mu     sync.Mutex
	closed bool // the task is forgotten
	calls  []row
	left   int // calls that were left out
}

// kind is what many tasks have in common.
type kind struct {
	taskType        string
	version         int32
	project, domain string
}

// name is which task it is.
func (t *Task) name() TaskName {
	of := t.kind.Value()
	return TaskName{
		Type: of.taskType, Version: of.version, Node: t.node, Retry: t.retry,
		Execution: Execution{Project: of.project, Domain: of.domain, Name: t.execution},
	}
}

// Calls are calls in a row that were alike.
type Calls struct {
	// Method is the RPC, and Late says that the host made it by itself, when the task was on record.
	Method string
	Late   bool
	// Plugin is the plugin that the calls went to, or would have; Generation and PID are those of the instance that was asked, if one was.
	Plugin, Generation string
	PID                int
	// Code is the code of what Flyte got, and Hidden that of a plugin's failure in whose place it got an answer; 0 where there was none.
	Code, Hidden uint32
	// Applied are the guarantees that acted.
	Applied uint32
	// Reason is the last error's text, Flyte's or the hidden one.
	Reason string
	// Count is how many there were, from First to Last.
	Count       int
	First, Last time.Time
}

// row is Calls as they are kept.
type row struct {
	of                    unique.Handle[callee]
	code, hidden, applied uint32
	reason                string
	count                 int
	first, last           int64 // nanoseconds of Unix time
}

// callee is what many tasks' calls have in common.
type callee struct {
	method             string
	late               bool
	plugin, generation string
	pid                int
}

func (c *Calls) callee() callee { return callee{c.Method, c.Late, c.Plugin, c.Generation, c.PID} }

func (r *row) calls() Calls {
	of := r.of.Value()
	return Calls{
		Method: of.method, Late: of.late, Plugin: of.plugin, Generation: of.generation, PID: of.pid,
		Code: r.code, Hidden: r.hidden, Applied: r.applied, Reason: r.reason,
		Count: r.count, First: time.Unix(0, r.first), Last: time.Unix(0, r.last),
	}
}

// FirstCalls is how many of a task's first rows of calls stay, which tell of its creation, when others are left out.
const FirstCalls = 4

const (
	// taskBytes is what a task takes besides its names and calls, bindBytes what a name of its job does, and callsBytes what calls do; about.
	taskBytes, bindBytes, callsBytes = 416, 96, 80
	// maxCalls is how many rows of calls a task has.
	maxCalls = 16
	// usualCalls is how many rows there is room for from the first: a creation and polls that are alike.
	usualCalls = 2
	// likeCalls is how far back calls are looked for that a new one is counted with: polls that are answered from memory come between others.
	likeCalls = 4
	// maxNames is how many names a task's job has: a task whose job is deleted and made again has several.
	maxNames = 8
	// maxCallReason is how much of an error is kept, in bytes.
	maxCallReason = 512
)

// NewTasks returns an empty memory of at most maxBytes, about.
func NewTasks(maxBytes int64) *Tasks {
	t := &Tasks{max: maxBytes, attempts: map[key]*Task{}, metas: map[key]namesakes{}}
	for i := range t.shards {
		t.shards[i].jobs = map[key]*Task{}
	}
	return t
}

func (t *Tasks) shardOf(job key) *shard { return &t.shards[job[0]%taskShards] }

// Job returns the task of a job; nil where none is known.
func (t *Tasks) Job(job ID) *Task {
	s := t.shardOf(job.key())
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.jobs[job.key()]
}

// Only returns the task of a type whose job Flyte knows by a resource_meta; nil where none is known, or several are.
func (t *Tasks) Only(meta ID, taskType string) *Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	var only *Task
	for task := range t.named(meta) {
		switch {
		case task.kind.Value().taskType != taskType:
		case only != nil:
			return nil
		default:
			only = task
		}
	}
	return only
}

// Attempt returns the task of an attempt, which is remembered from now on.
func (t *Tasks) Attempt(attempt ID, name TaskName) *Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.attempts[attempt.key()]; known != nil {
		return known
	}
	task := t.add(name)
	task.attempt = attempt
	t.attempts[attempt.key()] = task
	return task
}

// Unknown returns a task of which not more is known than name.
func (t *Tasks) Unknown(name TaskName) *Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(name)
}

// add puts a task in, and forgets others for it.
func (t *Tasks) add(name TaskName) *Task {
	task := &Task{
		tasks: t, number: t.added, execution: name.Name, node: name.Node, retry: name.Retry,
		kind: unique.Make(kind{taskType: name.Type, version: name.Version, project: name.Project, domain: name.Domain}),
	}
	t.added++
	t.live.push(task)
	t.count++
	t.size.Add(task.weight())
	t.shrink(task)
	return task
}

// weight is what the task takes, about; under mu of tasks, and without its calls.
func (t *Task) weight() int64 {
	return int64(taskBytes + len(t.execution) + len(t.node) + bindBytes*len(t.jobs))
}

// Bind says by which names Flyte asks for the task's job: those of its status, and that of the resource_meta alone. Another task that had
// one of the former has it no more.
func (t *Task) Bind(meta ID, jobs ...ID) {
	t.tasks.mu.Lock()
	defer t.tasks.mu.Unlock()
	if t.gone {
		return
	}
	t.tasks.size.Add(-t.weight())
	if t.jobs == nil {
		t.jobs = make([]ID, 0, len(jobs))
	}
	for _, job := range jobs {
		if !slices.Contains(t.jobs, job) {
			if len(t.jobs) == maxNames {
				t.tasks.release(t, t.jobs[0])
				t.jobs = t.jobs[1:]
			}
			t.jobs = append(t.jobs, job)
		}
		s := t.tasks.shardOf(job.key())
		s.mu.Lock()
		s.jobs[job.key()] = t
		s.mu.Unlock()
	}
	t.tasks.enlist(t, meta)
	t.tasks.size.Add(t.weight())
	t.tasks.shrink(t)
}

// Note remembers a call, and that the task has ended by it.
func (t *Task) Note(call Calls, ended bool) {
	if t.note(&call) && t.tasks.size.Load() > t.tasks.max {
		t.tasks.mu.Lock()
		t.tasks.shrink(t)
		t.tasks.mu.Unlock()
	}
	if ended {
		t.end()
	}
}

// note counts a call, and says that it takes more memory.
func (t *Task) note(call *Calls) (larger bool) {
	if len(call.Reason) > maxCallReason {
		call.Reason = call.Reason[:maxCallReason]
	}
	now, of := time.Now().UnixNano(), call.callee()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	for i := len(t.calls) - 1; i >= max(0, len(t.calls)-likeCalls); i-- {
		last := &t.calls[i]
		whose := last.of.Value()
		if whose == of && last.code == call.Code && last.hidden == call.Hidden && last.applied == call.Applied {
			last.count++
			if last.last = now; last.reason == "" && call.Reason != "" {
				last.reason = call.Reason
				t.tasks.size.Add(int64(len(call.Reason)))
			}
			return false
		}
		if whose.method != of.method { // what came before is another time of the task's
			break
		}
	}
	if len(t.calls) == maxCalls {
		t.left += t.calls[FirstCalls].count
		t.tasks.size.Add(-t.calls[FirstCalls].weight())
		t.calls = slices.Delete(t.calls, FirstCalls, FirstCalls+1)
	}
	if t.calls == nil {
		t.calls = make([]row, 0, usualCalls)
	}
	fresh := row{of: unique.Make(of), code: call.Code, hidden: call.Hidden, applied: call.Applied, reason: call.Reason, count: 1, first: now, last: now}
	t.calls = append(t.calls, fresh)
	t.tasks.size.Add(fresh.weight())
	return true
}

// weight is what the calls take, about.
func (r *row) weight() int64 { return callsBytes + int64(len(r.reason)) }

// end puts the task among those that are forgotten first.
func (t *Task) end() {
	t.tasks.mu.Lock()
	defer t.tasks.mu.Unlock()
	if t.hasEnded || t.gone {
		return
	}
	t.hasEnded = true
	t.tasks.live.remove(t)
	t.tasks.ended.push(t)
}

// shrink forgets tasks until the others fit, but not the one that is just being used.
func (t *Tasks) shrink(used *Task) {
	for t.size.Load() > t.max {
		oldest := oldestBut(used, &t.ended)
		if oldest == nil {
			oldest = oldestBut(used, &t.live)
		}
		if oldest == nil {
			return
		}
		t.forget(oldest)
	}
}

// oldestBut is the first task in a queue that is not used; nil where there is none.
func oldestBut(used *Task, in *queue) *Task {
	if in.first == used && used != nil {
		return used.next
	}
	return in.first
}

func (t *Tasks) forget(task *Task) {
	task.gone = true
	from := &t.live
	if task.hasEnded {
		from = &t.ended
	}
	from.remove(task)
	t.count--
	delete(t.attempts, task.attempt.key())
	for _, job := range task.jobs {
		t.release(task, job)
	}
	t.delist(task)
	weight := task.weight()
	task.mu.Lock()
	for i := range task.calls {
		weight += task.calls[i].weight()
	}
	task.closed = true
	if len(task.calls) > 0 {
		t.since = time.Unix(0, task.calls[0].first)
	}
	task.mu.Unlock()
	t.size.Add(-weight)
	t.forgotten++
}

// release takes a name of its job from a task.
func (t *Tasks) release(task *Task, job ID) {
	s := t.shardOf(job.key())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[job.key()] == task {
		delete(s.jobs, job.key())
	}
}

// Remembered is a task as it is remembered.
type Remembered struct {
	TaskName
	// Attempt is what its creation is remembered under, if HasAttempt; Jobs what its statuses are.
	Attempt    ID
	HasAttempt bool
	Jobs       []ID
	// Ended says that its job has ended, or was deleted.
	Ended bool
	// Calls are those about it, in the order of the first of each row, and Left how many calls are left out, after the first rows.
	Calls []Calls
	Left  int
}

func (t *Task) remembered() Remembered {
	r := Remembered{TaskName: t.name(), Attempt: t.attempt, HasAttempt: t.attempt != ID{}, Jobs: slices.Clone(t.jobs), Ended: t.hasEnded}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.Left = t.left
	for i := range t.calls {
		r.Calls = append(r.Calls, t.calls[i].calls())
	}
	return r
}

// ByMeta returns the tasks whose jobs Flyte knows by a resource_meta, the oldest first.
func (t *Tasks) ByMeta(meta ID) []Remembered {
	t.mu.Lock()
	defer t.mu.Unlock()
	return remembered(slices.Collect(t.named(meta)))
}

// Of returns the tasks of an execution, the oldest first. It looks at each that is remembered: people ask for an execution, calls do not.
func (t *Tasks) Of(execution Execution) []Remembered {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.of(execution.Name)
	return remembered(slices.DeleteFunc(found, func(task *Task) bool { return task.name().Execution != execution }))
}

// Called returns the executions of a name, in whatever project and domain, as Of finds them.
func (t *Tasks) Called(name string) []Execution {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Execution
	for _, task := range t.of(name) {
		if execution := task.name().Execution; !slices.Contains(found, execution) {
			found = append(found, execution)
		}
	}
	return found
}

// of are the tasks of the executions of a name, the oldest first.
func (t *Tasks) of(execution string) []*Task {
	var found []*Task
	for _, tasks := range []*queue{&t.ended, &t.live} {
		for task := range tasks.all() {
			if task.execution == execution {
				found = append(found, task)
			}
		}
	}
	slices.SortFunc(found, func(a, b *Task) int { return cmp.Compare(a.number, b.number) })
	return found
}

func remembered(tasks []*Task) []Remembered {
	found := make([]Remembered, len(tasks))
	for i, task := range tasks {
		found[i] = task.remembered()
	}
	return found
}

// TaskMemory is how far the memory reaches.
type TaskMemory struct {
	// Tasks are remembered, Bytes of Max, about. Forgotten is how many are not any more.
	Tasks      int
	Bytes, Max int64
	Forgotten  int64
	// Since is when the task began that was forgotten last; zero: none was.
	Since time.Time
}

// Memory is how far the memory reaches.
func (t *Tasks) Memory() TaskMemory {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TaskMemory{Tasks: t.count, Bytes: t.size.Load(), Max: t.max, Forgotten: t.forgotten, Since: t.since}
}
