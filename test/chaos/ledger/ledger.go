package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/test/wait"
)

// Ledger is the service. Its methods may be called at any time from anywhere.
type Ledger struct {
	url    string
	server *http.Server
	done   chan struct{} // closed when serving has ended
	plans  func(task string) (Plan, bool)

	mu        sync.Mutex
	jobs      map[string]*Job
	keys      map[string]*Job
	abandoned map[string]bool // by key
	tasks     map[string]*Task
	armed     map[string][]*Fault // by agent and op
	weather   map[string]Weather  // by agent
	serving   map[Instance]time.Time
	deaths    []Death
	strangers int
}

// Job is one job of the ledger's.
type Job struct {
	ID      string
	Task    string
	Attempt int
	Agent   string
	// Host is whose plugin made it.
	Host int
	Made time.Time
	Ends time.Time
	End  State
	// Told is when a Get first answered that the job had ended; zero before.
	Told time.Time
	// Cancelled is when a Delete ended it; zero otherwise.
	Cancelled time.Time
	// Deletes counts the calls of Delete, whatever came of them; Polls those of Get, and Hasty those of them that came sooner after
	// the last answer to the same host than that host was told to ask.
	Deletes, Polls, Hasty int

	answered map[int]time.Time // the last Get, by host
	plan     Plan
	number   int64
	text     string
}

// Task is what the ledger knows of one of Flyte's tasks.
type Task struct {
	Jobs []*Job
	// Runs are what sync agents did for it.
	Runs []Run
	// Abandoned are its attempts of which no job is made any more, each as often as that was asked for.
	Abandoned []int
	// Events is what happened, in order.
	Events []Event
}

// Run is one Execute.
type Run struct {
	Attempt int
	End     State
}

// Death is when a plugin process was told to end.
type Death struct {
	Agent string
	Do    Do
	At    time.Time
}

// Event is one call about a task that mattered: those that changed something or had a fault in them.
type Event struct {
	At      time.Time
	Attempt int
	What    string
	Do      Do
}

// Instance is a process that calls the ledger.
type Instance struct {
	Agent, Release string
	Plugin, Host   int
}

// Fault is an answer that is in store for some plugin.
type Fault struct {
	Agent string
	Op    Op
	Do    Do
	// Before has a Create tell the plugin before the job is made instead of after.
	Before bool
	// May is asked by each call that would be told, if it is there: the fault stays in store where it says no. It must not use the ledger.
	May func() bool
	// Dealt is closed when a plugin was told.
	Dealt chan struct{}
}

// Weather is how the ledger treats an agent's calls until a time.
type Weather struct {
	Until time.Time
	// Delay is added to each call; Late puts it between what the call does and its answer.
	Delay time.Duration
	Late  bool
	// Failing answers each call with 503.
	Failing bool
}

// Listen starts a ledger on a free port of the loopback.
func Listen(plans func(task string) (Plan, bool)) (*Ledger, error) {
	return ListenOn("127.0.0.1:0", plans)
}

// ListenOn is Listen for an address of its own, for plugins that are not on this machine.
func ListenOn(address string, plans func(task string) (Plan, bool)) (*Ledger, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the ledger cannot listen: %w", err)
	}
	l := &Ledger{
		url: "http://" + listener.Addr().String(), done: make(chan struct{}), plans: plans,
		jobs: map[string]*Job{}, keys: map[string]*Job{}, abandoned: map[string]bool{}, tasks: map[string]*Task{},
		armed: map[string][]*Fault{}, weather: map[string]Weather{}, serving: map[Instance]time.Time{},
	}
	mux := http.NewServeMux()
	for op, handle := range map[Op]func(Request) (Answer, int){
		Start: l.start, Create: l.create, Find: l.find, Abandon: l.abandon, Get: l.get, Delete: l.delete, Execute: l.execute,
	} {
		mux.HandleFunc("POST /"+string(op), l.handler(op, handle))
	}
	l.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(l.done)
		_ = l.server.Serve(listener) // it ends with Close
	}()
	return l, nil
}

// URL is where the ledger is.
func (l *Ledger) URL() string { return l.url }

// Close ends it at once.
func (l *Ledger) Close() error {
	err := l.server.Close()
	<-l.done
	return err
}

// Arm puts a fault in store for the next call that fits.
func (l *Ledger) Arm(fault Fault) *Fault {
	fault.Dealt = make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	at := fault.Agent + "/" + string(fault.Op)
	l.armed[at] = append(l.armed[at], &fault)
	return &fault
}

// Disarm takes every fault and all weather away.
func (l *Ledger) Disarm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.armed)
	clear(l.weather)
}

// SetWeather treats an agent's calls so from now on.
func (l *Ledger) SetWeather(agent string, weather Weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather[agent] = weather
}

// Serving is every instance that has made a call about a job, with the time of its last.
func (l *Ledger) Serving() map[Instance]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	instances := make(map[Instance]time.Time, len(l.serving))
	for instance, last := range l.serving {
		instances[instance] = last
	}
	return instances
}

// Task gives what is known of a task, as a copy.
func (l *Ledger) Task(name string) Task {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.tasks[name]
	if !ok {
		return Task{}
	}
	task := Task{Runs: slices.Clone(known.Runs), Abandoned: slices.Clone(known.Abandoned), Events: slices.Clone(known.Events)}
	for _, job := range known.Jobs {
		same := *job
		task.Jobs = append(task.Jobs, &same)
	}
	return task
}

// Deaths is when plugin processes were told to end, in order.
func (l *Ledger) Deaths() []Death {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.deaths)
}

// Unknown counts calls about jobs and tasks that the ledger never heard of.
func (l *Ledger) Unknown() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.strangers
}

func (l *Ledger) handler(op Op, handle func(Request) (Answer, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request.arrived = time.Now()
		weather := l.weatherOf(request.Agent, op)
		if !weather.Late && !wait.For(r.Context(), weather.Delay) {
			return
		}
		if weather.Failing {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answer, code := handle(request)
		if answer.works > 0 && !wait.For(r.Context(), answer.works) {
			return
		}
		if weather.Late && !wait.For(r.Context(), weather.Delay) {
			return
		}
		body, err := json.Marshal(answer)
		if err != nil {
			panic(err) // an Answer is plain data
		}
		l.told(request.Agent, answer.Do)
		w.WriteHeader(code)
		_, _ = w.Write(body)                                            // to a plugin that may be dead by now
		if op == Get && code == http.StatusOK && answer.Do == Nothing { // others may never be answered
			l.got(request)
		}
	}
}

// weatherOf is the weather for a call. Starts are not subject to it.
func (l *Ledger) weatherOf(agent string, op Op) Weather {
	l.mu.Lock()
	defer l.mu.Unlock()
	weather := l.weather[agent]
	if op == Start || time.Now().After(weather.Until) {
		return Weather{}
	}
	return weather
}

// take gives the fault that is in store for a call, once. It needs l.mu.
func (l *Ledger) take(agent string, op Op) (Do, bool) {
	at := agent + "/" + string(op)
	if len(l.armed[at]) == 0 {
		return Nothing, false
	}
	fault := l.armed[at][0]
	if fault.May != nil && !fault.May() {
		return Nothing, false
	}
	l.armed[at] = l.armed[at][1:]
	close(fault.Dealt)
	return fault.Do, fault.Before
}

func (l *Ledger) start(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do, _ := l.take(request.Agent, Start)
	return Answer{Do: do}, http.StatusOK
}

func (l *Ledger) create(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen(request)
	do, before := l.take(request.Agent, Create)
	note := func(what string) { l.note(request.Task, request.Attempt, request, what, do) }
	if do != Nothing && before {
		note("create, no job made")
		return Answer{Do: do}, http.StatusOK
	}
	if request.Key != "" {
		if l.abandoned[request.Key] {
			note("create, abandoned")
			return Answer{Do: do}, http.StatusConflict
		}
		if job, ok := l.keys[request.Key]; ok {
			note("create again: " + job.ID)
			return Answer{Job: job.ID, Do: do}, http.StatusOK
		}
	}
	plan, ok := l.plans(request.Task)
	if !ok {
		l.strangers++
		return Answer{Message: "no such task: " + request.Task}, http.StatusNotFound
	}
	job := l.make(request, plan)
	note("create: " + job.ID)
	return Answer{Job: job.ID, Do: do}, http.StatusOK
}

// find answers for an attempt. It makes nothing.
func (l *Ledger) find(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen(request)
	do, _ := l.take(request.Agent, Find)
	if do != Nothing {
		l.note(request.Task, request.Attempt, request, "find", do)
	}
	job, made := l.keys[request.Key]
	switch {
	case l.abandoned[request.Key]:
		return Answer{Do: do}, http.StatusConflict
	case !made:
		return Answer{Message: "no job was made for the attempt", Do: do}, http.StatusNotFound
	}
	return Answer{Job: job.ID, Do: do}, http.StatusOK
}

// abandon gives an attempt up. A job that was made for it is cancelled, unless it is over.
func (l *Ledger) abandon(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen(request)
	do, _ := l.take(request.Agent, Abandon)
	l.abandoned[request.Key] = true
	task := l.task(request.Task)
	task.Abandoned = append(task.Abandoned, request.Attempt)
	job, made := l.keys[request.Key]
	if !made {
		l.note(request.Task, request.Attempt, request, "abandon: no job was made", do)
		return Answer{Do: do}, http.StatusOK
	}
	now := time.Now()
	state := job.state(now)
	job.Deletes++
	if state == Queued || state == Running {
		job.Cancelled = now
	}
	l.note(request.Task, request.Attempt, request, "abandon "+job.ID+": it was "+string(state), do)
	return Answer{Job: job.ID, Do: do}, http.StatusOK
}

// make needs l.mu.
func (l *Ledger) make(request Request, plan Plan) *Job {
	now := time.Now()
	job := &Job{
		ID: fmt.Sprintf("job-%d", len(l.jobs)+1), Task: request.Task, Attempt: request.Attempt, Agent: request.Agent, Host: request.Host,
		Made: now, Ends: now.Add(plan.Runs), End: plan.End, plan: plan, number: request.Number, text: request.Text,
	}
	task := l.task(request.Task)
	retried := 0
	for _, earlier := range task.Jobs {
		if earlier.End == Retryable && !earlier.Told.IsZero() {
			retried++
		}
	}
	if len(task.Jobs) > 0 {
		job.Ends = now.Add(plan.Rerun)
	}
	if retried < plan.Retryables {
		job.End, job.Ends = Retryable, now.Add(plan.Rerun)
	}
	task.Jobs = append(task.Jobs, job)
	l.jobs[job.ID] = job
	if request.Key != "" {
		l.keys[request.Key] = job
	}
	return job
}

// execute does all of a sync task. It takes as long as its first job would.
func (l *Ledger) execute(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen(request)
	do, before := l.take(request.Agent, Execute)
	if do != Nothing && before {
		l.note(request.Task, request.Attempt, request, "execute, not begun", do)
		return Answer{Do: do}, http.StatusOK
	}
	plan, ok := l.plans(request.Task)
	if !ok {
		l.strangers++
		return Answer{Message: "no such task: " + request.Task}, http.StatusNotFound
	}
	task, answer := l.task(request.Task), Answer{State: plan.End, Shape: plan.Shape, Do: do, works: plan.Runs}
	retried := 0
	for _, earlier := range task.Runs {
		if earlier.End == Retryable {
			retried++
		}
	}
	switch {
	case retried < plan.Retryables:
		answer.State, answer.Message, answer.Shape = Retryable, tryAgain, Whole
	case plan.End == Succeeded:
		answer.Number, answer.Text = Outputs(request.Number, request.Text)
	default:
		answer.Message = plan.Message
	}
	task.Runs = append(task.Runs, Run{request.Attempt, answer.State})
	l.note(request.Task, request.Attempt, request, "execute: "+string(answer.State), do)
	return answer, http.StatusOK
}

// tryAgain is the message of a failure that need not be the end.
const tryAgain = "the service asks to try again"

func (l *Ledger) get(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen(request)
	job, ok := l.job(request)
	if !ok {
		return Answer{Message: "no such job: " + request.Job}, http.StatusNotFound
	}
	job.Polls++
	if job.plan.Silent && job.Polls > 1 {
		return Answer{}, http.StatusServiceUnavailable
	}
	do, _ := l.take(request.Agent, Get)
	if last, ok := job.answered[request.Host]; ok && request.arrived.After(last) && request.arrived.Sub(last) < job.plan.Interval*9/10 {
		job.Hasty++
	}
	answer := Answer{Job: job.ID, State: job.state(time.Now()), Do: do}
	if do != Nothing {
		l.note(job.Task, job.Attempt, request, "get "+job.ID+": "+string(answer.State), do)
	}
	switch answer.State {
	case Succeeded:
		answer.Number, answer.Text = Outputs(job.number, job.text)
	case Failed:
		answer.Message = job.plan.Message
	case Retryable:
		answer.Message = tryAgain
	}
	if answer.State == job.End && answer.State != Running && job.Told.IsZero() {
		job.Told = time.Now()
		l.note(job.Task, job.Attempt, request, "told "+job.ID+": "+string(answer.State), do)
	}
	return answer, http.StatusOK
}

// told notes that a plugin is told something now. It may have been in store for it for as long as the call took.
func (l *Ledger) told(agent string, do Do) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if do.Deadly() {
		l.deaths = append(l.deaths, Death{agent, do, time.Now()})
	}
}

// got notes that a Get was answered.
func (l *Ledger) got(request Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	job := l.jobs[request.Job]
	if job.answered == nil {
		job.answered = map[int]time.Time{}
	}
	job.answered[request.Host] = time.Now()
}

// job is the job that a request asks about. One that the agent never made is noted.
func (l *Ledger) job(request Request) (*Job, bool) {
	job, ok := l.jobs[request.Job]
	if !ok || job.Agent != request.Agent {
		l.strangers++
		return nil, false
	}
	return job, true
}

// delete cancels a job that runs. One that is over cannot be cancelled: that is 404, as with many a service.
func (l *Ledger) delete(request Request) (Answer, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen(request)
	job, ok := l.job(request)
	if !ok {
		return Answer{Message: "no such job: " + request.Job}, http.StatusNotFound
	}
	do, _ := l.take(request.Agent, Delete)
	now := time.Now()
	state := job.state(now)
	job.Deletes++
	l.note(job.Task, job.Attempt, request, "delete "+job.ID+": it was "+string(state), do)
	if state != Queued && state != Running {
		return Answer{Message: "the job is over: " + job.ID, Do: do}, http.StatusNotFound
	}
	job.Cancelled = now
	return Answer{Job: job.ID, State: Cancelled, Do: do}, http.StatusOK
}

// state needs the ledger's mu.
func (j *Job) state(now time.Time) State {
	switch {
	case !j.Cancelled.IsZero():
		return Cancelled
	case j.End != Running && !now.Before(j.Ends):
		return j.End
	case now.Sub(j.Made) < j.Ends.Sub(j.Made)/10:
		return Queued
	}
	return Running
}

// task needs l.mu.
func (l *Ledger) task(name string) *Task {
	known, ok := l.tasks[name]
	if !ok {
		known = &Task{}
		l.tasks[name] = known
	}
	return known
}

// note needs l.mu.
func (l *Ledger) note(task string, attempt int, request Request, what string, do Do) {
	known := l.task(task)
	by := fmt.Sprintf(" (by %s %s, plugin %d of host %d)", request.Agent, request.Release, request.Plugin, request.Host)
	known.Events = append(known.Events, Event{At: time.Now(), Attempt: attempt, What: what + by, Do: do})
}

// seen needs l.mu.
func (l *Ledger) seen(request Request) {
	l.serving[Instance{Agent: request.Agent, Release: request.Release, Plugin: request.Plugin, Host: request.Host}] = time.Now()
}

// ErrGone is a 404, ErrAbandoned a 409, ErrWeather a 503.
var (
	ErrGone      = errors.New("the ledger does not have it")
	ErrAbandoned = errors.New("the attempt was abandoned")
	ErrWeather   = errors.New("the ledger is unavailable")
)
