// Package propeller models the client side of Flyte: FlytePropeller v1.16.8 with its connector plugin, and Flyte 2's executor
// (v2.0.43) with its own. All end-to-end tests drive the host through it, so that what would break a real Flyte breaks here.
//
// It is a model of behaviour, ugly parts included, because they are what an agent server has to live with:
//
//   - Discovery replaces its registry at every poll: a failed ListAgents empties it, and tasks whose type is gone go to the
//     container plugin, those in flight included. Flyte 1 keeps only the last listed version of a type, and asks the default endpoint,
//     asynchronously, for any other.
//   - An error from CreateTask or ExecuteTaskSync, whatever its code, costs the user an attempt.
//   - Errors from GetTask are counted over the whole life of a task and never forgiven. Beyond five the task fails for good,
//     or, where a poll has succeeded before, is polled no more and stays RUNNING for ever.
//   - A sync call is read up to its first message. If that is not terminal, a cache worker polls nothing, panics, and is gone.
//   - Flyte 2 sends DeleteTask for every job, finished ones too, and repeats it until it succeeds.
//
// The shape follows the real thing, because its timing comes out of that shape. A task is looked at in rounds (node.go for
// Flyte 1, action.go for Flyte 2's executor); a round runs the plugin (plugin.go), which creates the job and from then on
// only reads a cache (cache.go); the cache's workers poll the agent, each task at once and then at every resync. Nothing
// crosses from one restart to the next but the state that a round has written down.
//
// A test starts one, gives it tasks, and reads what became of them:
//
//	p := propeller.Start(ctx, propeller.Options{Flyte: propeller.V1, Endpoint: "127.0.0.1:8000", Resync: 50 * time.Millisecond,
//		Round: 20 * time.Millisecond, PollInterval: 50 * time.Millisecond, PollRate: -1})
//	defer p.Close()
//	result, err := p.Submit(propeller.Task{Template: template, Inputs: inputs}).Wait(ctx)
//
// The model is held against recordings of the real clients: see folder traces, and traces_test.go for the few recorded
// fields that it cannot hold to. What was read in Flyte's source rather than recorded says so where it stands.
package propeller

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Flyte is a generation of Flyte.
type Flyte int

// The generations: V1 speaks flyteidl.service, V2 flyteidl2.connector.
const (
	V1 Flyte = 1
	V2 Flyte = 2
)

// Options configure a Propeller. Only Flyte and Endpoint are required; the defaults are Flyte's own. Tests on a real clock make
// PollInterval, Resync, Round and DeleteAfter short, and leave Timeout as it is.
type Options struct {
	// Flyte is the generation to model.
	Flyte Flyte
	// Endpoint is the default connector's, as "127.0.0.1:8000": discovery asks it, and what discovery does not know goes there.
	Endpoint string
	// Connectors are further endpoints by id, discovered too.
	Connectors map[string]string
	// TaskTypes are the types that the operator routes to connectors by configuration. Flyte 1 needs none: discovery routes.
	// Flyte 2 sends only these to connectors; nil stands for every type.
	TaskTypes []string

	// PollInterval is the pause between two discoveries. Default 10 s.
	PollInterval time.Duration
	// Resync is the pause between two polls of a job. Default 30 s; Flyte allows no less than 5 s.
	Resync time.Duration
	// Round is the pause between two looks at one task. Default 10 s.
	Round time.Duration
	// DeleteAfter is how long Flyte 2 keeps a finished action before it deletes it, which sends DeleteTask. Default 12 rounds; an
	// hour in a real Flyte.
	DeleteAfter time.Duration

	// Timeout is the deadline of each call. Default 10 s; negative: none.
	Timeout time.Duration
	// Timeouts are deadlines by method (CreateTask, GetTask, DeleteTask, ExecuteTaskSync, ListAgents), over Timeout.
	Timeouts map[string]time.Duration

	// Workers is the number of cache workers, which is how many polls go on at once. Default 10.
	Workers int
	// Rounds is how many tasks are looked at at once, which bounds the calls of CreateTask. Default 40.
	Rounds int
	// PollRate and PollBurst limit how many polls a second are put into the cache's queue. Default 10 and 100; a negative rate is
	// no limit. With the default, more than 300 tasks on a resync of 30 s are polled ever later, as in a real Flyte.
	PollRate  float64
	PollBurst int
	// MaxSyncFailures is how many failed polls a task survives. Default 5.
	MaxSyncFailures int

	// Store is where outputs are read and written. Default: files for paths and file:// URIs, memory for all others.
	Store Store
	// Secret answers for Flyte 2's secret manager. Default: knows no secret, as in the executor.
	Secret func(ctx context.Context, key string) (string, error)

	// TLS makes connections TLS. Default plaintext, Flyte's `insecure: true`.
	TLS *tls.Config
	// Dial replaces the dialling of an endpoint, for connections in memory.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)

	// pluginOnly leaves out what stands around the plugin (routing by type, retries, the taking of outputs), as in the
	// recordings of the plugins alone.
	pluginOnly bool
}

// Propeller is one running Flyte. Its methods may be called at any time from anywhere.
type Propeller struct {
	opts  Options
	ctx   context.Context // ends with Close
	close context.CancelFunc
	tasks sync.WaitGroup
	// rounds holds one token for each task that may be looked at at the same time.
	rounds chan struct{}

	process atomic.Pointer[process] // nil while it restarts
	objects objects
	// restarting is held by whoever replaces process.
	restarting sync.Mutex

	mu         sync.Mutex
	executions map[*Execution]struct{} // those that are not over
	submitted  int
}

// Start begins discovery, and returns when the first poll has ended, well or not. The Propeller lives until Close, or until
// ctx ends. Start panics on options that name no Flyte or no endpoint.
func Start(ctx context.Context, opts Options) *Propeller {
	if opts.Flyte != V1 && opts.Flyte != V2 || opts.Endpoint == "" {
		panic(fmt.Sprintf("propeller: Options need Flyte (V1 or V2) and Endpoint, got %d and %q", opts.Flyte, opts.Endpoint))
	}
	opts.setDefaults()
	ctx, cancel := context.WithCancel(ctx)
	p := &Propeller{
		opts:       opts,
		ctx:        ctx,
		close:      cancel,
		rounds:     make(chan struct{}, opts.Rounds),
		executions: map[*Execution]struct{}{},
	}
	p.process.Store(startProcess(ctx, &p.opts))
	return p
}

// Submit starts a task. What Task leaves open is filled in.
func (p *Propeller) Submit(task Task) *Execution {
	p.mu.Lock()
	p.submitted++
	execution := newExecution(p, task, p.submitted)
	p.executions[execution] = struct{}{}
	p.mu.Unlock()
	p.tasks.Go(func() {
		execution.run()
		p.mu.Lock()
		delete(p.executions, execution)
		p.mu.Unlock()
	})
	return execution
}

// Registry is what discovery knows now, by name and version; nothing during a restart.
func (p *Propeller) Registry() []Entry {
	if process := p.process.Load(); process != nil {
		return process.discovery.registry.Load().entries()
	}
	return nil
}

// Discovery counts the polls of discovery since the last start, and tells the last failure.
func (p *Propeller) Discovery() DiscoveryStatus {
	if process := p.process.Load(); process != nil {
		return process.discovery.status()
	}
	return DiscoveryStatus{}
}

// Workers is how many cache workers are alive. Fewer than configured: sync answers that were not terminal killed the rest.
func (p *Propeller) Workers() int {
	if process := p.process.Load(); process != nil {
		return int(process.cache.alive.Load())
	}
	return 0
}

// Restart kills the Flyte process and starts another: new connections, a new discovery, an empty cache. Tasks go on from the state
// that their last finished round had written down; a call under way is cut off and its outcome lost, so that a CreateTask that was
// answered a moment too late comes again.
func (p *Propeller) Restart() {
	p.restarting.Lock()
	defer p.restarting.Unlock()
	p.process.Swap(nil).stop()
	p.mu.Lock()
	for execution := range p.executions {
		execution.record(0, PhaseInfo{Phase: Restarted})
	}
	p.mu.Unlock()
	p.process.Store(startProcess(p.ctx, &p.opts))
}

// Close ends everything and waits for it. Executions that are not over end with ErrClosed.
func (p *Propeller) Close() {
	p.close()
	p.tasks.Wait()
	p.restarting.Lock()
	defer p.restarting.Unlock()
	p.process.Load().stop()
}

// turn has f work with the process, if there is one, as one of the tasks that are looked at at the same time.
func (p *Propeller) turn(f func(*process)) {
	select {
	case p.rounds <- struct{}{}:
		defer func() { <-p.rounds }()
	case <-p.ctx.Done():
		return
	}
	process := p.process.Load()
	if process == nil || !process.enter() {
		return
	}
	defer process.running.Done()
	f(process)
}

func (o *Options) setDefaults() {
	setDefault(&o.PollInterval, 10*time.Second)
	setDefault(&o.Resync, 30*time.Second)
	setDefault(&o.Round, 10*time.Second)
	setDefault(&o.DeleteAfter, 12*o.Round)
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.Workers, 10)
	setDefault(&o.Rounds, 40)
	setDefault(&o.PollRate, 10)
	setDefault(&o.PollBurst, 100)
	setDefault(&o.MaxSyncFailures, 5)
	if o.Store == nil {
		o.Store = NewStore()
	}
	if o.Secret == nil {
		o.Secret = noSecrets
	}
}

func setDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// process is one life of the Flyte process: everything that a restart loses.
type process struct {
	opts      *Options
	ctx       context.Context // ends when the process is killed
	kill      context.CancelFunc
	wire      *wire
	discovery *discovery
	cache     *cache

	mu      sync.Mutex
	stopped bool           // no one enters any more
	running sync.WaitGroup // its goroutines, and the rounds in it
}

func startProcess(ctx context.Context, opts *Options) *process {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{opts: opts, ctx: ctx, kill: cancel, wire: newWire(opts)}
	p.discovery = newDiscovery(opts, p.wire)
	p.cache = newCache(opts, p.poll)
	p.discovery.pollOn(ctx, p.wire) // at start, on the connections that tasks use
	p.running.Go(func() { p.discovery.run(ctx) })
	p.cache.start(ctx, &p.running)
	return p
}

// enter adds the caller to those whom stop waits for, unless it is too late; running.Done is its leave.
func (p *process) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.running.Add(1)
	}
	return !p.stopped
}

// stop kills the process and waits until nothing of it is left.
func (p *process) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.kill()
	p.running.Wait()
	p.wire.close()
}
