// Package fleet keeps the configured plugins running.
//
// It is level-triggered: the configuration is the desired state, and each plugin has one supervisor goroutine (supervisor.go) that
// moves the plugin towards it, whatever happens to its processes. What the next steps are is a function of values
// (decide.go); the supervisor observes and acts (act.go). It runs generations (generation.go), the instances started from one
// spec; each instance is kept running by an instance slot (instanceslot.go).
//
// The fleet itself holds what concerns all plugins: which are wanted (Apply), and who serves which task category (routes.go).
// Whenever that changes it publishes a new route table; it never talks to the gateway.
package fleet

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/secret"
	statedir "github.com/agenthost/agenthost/host/state"
)

// Options configure a Fleet.
type Options struct {
	// Routes is where route tables are published.
	Routes *route.Current
	// RunRoot is where the processes get their private directories.
	RunRoot *process.RunRoot
	// Groups is where the processes get their cgroups. Nil: they get none.
	Groups *cgroup.Groups
	// Container is what bounds the memory of the host and its plugins together. Nil: nothing does.
	Container *cgroup.Container
	// Artifacts is where plugins with an image get it from. Nil: nowhere.
	Artifacts *artifact.Store
	// DialOptions are for the connections to the plugins.
	DialOptions []grpc.DialOption
	// MaxTaskTypes is how many task categories one plugin may list. Zero: plugin.DefaultMaxTaskTypes.
	MaxTaskTypes int
	// Health is when a plugin that does not answer counts as hanging. Zero: DefaultHealth.
	Health Health
	// State is where the host remembers what its plugins serve until its next start, in the folder Memory. Nil: nowhere.
	State  *statedir.Dir
	Memory string
	// Tails keeps the last lines of the plugins. Nil: nobody does.
	Tails *logging.Tails
	// Log gets the fleet's own lines and those of the plugins.
	Log *slog.Logger
}

// Fleet is all configured plugins of a host.
type Fleet struct {
	options   Options
	memory    memory
	owners    *ownersKeeper
	routes    routes
	listed    chan struct{}
	synced    chan struct{}
	events    events
	rollbacks atomic.Int64
	rollouts  rollouts
	changed   atomic.Pointer[chan struct{}] // see Changed
	// starts is what tests start instances with.
	starts func(context.Context, plugin.Spec) (instance, error)
	// reads is secret.Read, but in tests.
	reads func(ctx context.Context, source string) ([]byte, error)
	// refreshing are the goroutines that read secrets again.
	refreshing sync.WaitGroup
	// kills is what the kernel has ended around plugins for want of memory.
	kills *cgroup.Kills
	// room is how much memory there is for all.
	room        func() room
	stopWatch   context.CancelFunc // of the memory; nil before the first Apply
	watchingEnd chan struct{}

	applying sync.Mutex // held while Apply or Operate change what is wanted
	round    int

	mu sync.Mutex
	// settings are what Apply was last given, instructions what operators did besides, by plugin name. They change while applying is
	// held, too.
	settings     *config.Config
	private      func() []string // those of settings, looked for once
	instructions map[string]instruction
	supervisors  map[string]*supervisor   // by plugin name
	leaving      map[*supervisor]struct{} // removed ones, which drain
	recent       map[string]lastServed    // what was forgotten a short while ago, by plugin name
}

// New returns a fleet without plugins.
func New(options Options) *Fleet {
	if options.Health == (Health{}) {
		options.Health = DefaultHealth
	}
	options.Health.MaxWait = cmp.Or(options.Health.MaxWait, DefaultHealth.MaxWait)
	memory := memory{options.State, options.Memory, options.Log}
	owners := &ownersKeeper{memory: memory}
	f := &Fleet{
		options: options, reads: secret.Read, room: lookAtRoom(options.Container), kills: cgroup.WatchKills(options.Container), memory: memory, owners: owners, routes: routes{current: options.Routes, keep: owners.keep}, listed: make(chan struct{}), synced: make(chan struct{}),
		instructions: map[string]instruction{}, supervisors: map[string]*supervisor{}, leaving: map[*supervisor]struct{}{}, recent: map[string]lastServed{},
		rollouts: rollouts{all: map[string]savedRollout{}},
	}
	changed := make(chan struct{})
	f.changed.Store(&changed)
	return f
}

// Synced returns a channel that is closed once every plugin of the first Apply was accepted or its start was given up for
// now (it goes on being tried, and what it served before the host was restarted is listed): from then on the list of task
// categories is as complete as it can be.
func (f *Fleet) Synced() <-chan struct{} { return f.synced }

// Listed returns a channel that is closed once the table has at least what the plugins of the first Apply served before the host
// was restarted, and what those serve of which that is not known: at once, where it is known of all.
func (f *Fleet) Listed() <-chan struct{} { return f.listed }

// Apply makes settings what is wanted, and returns at once. Plugins that are new are started, those whose spec has
// changed get a new generation beside the current one, those that are gone are drained, and all others are left alone.
// A newer Apply supersedes an older one at whatever point that is.
//
// Wait on the returned Round for what came of it.
func (f *Fleet) Apply(settings *config.Config) *Round {
	f.applying.Lock()
	defer f.applying.Unlock()
	if f.settings == nil {
		f.beginWatch()
		f.mu.Lock()
		f.instructions = f.memory.instructions()
		f.mu.Unlock()
		f.routes.owners = f.memory.owners()
		maps.DeleteFunc(f.routes.owners, func(_, owner string) bool { _, wanted := settings.Plugins[owner]; return !wanted })
	}
	f.mu.Lock()
	f.settings, f.private = settings, sync.OnceValue(settings.Private)
	f.mu.Unlock()
	if f.options.Artifacts != nil {
		f.options.Artifacts.KeepOnly(slices.Collect(maps.Keys(settings.Plugins)))
	}
	if f.round == 0 {
		f.tellCutShort()
	}
	f.review()
	f.mu.Lock()
	names := slices.Concat(slices.Collect(maps.Keys(settings.Plugins)), slices.Collect(maps.Keys(f.supervisors)))
	f.mu.Unlock()
	slices.Sort(names)
	return f.move(slices.Compact(names), manner{})
}

// privateFiles are the files and folders that no sandboxed process may read.
func (f *Fleet) privateFiles() []string {
	f.mu.Lock()
	private := f.private
	f.mu.Unlock()
	return private()
}

// acceptInOrder lets plugins claim their categories in the order of their names when they first start, so that of two that list one
// task type the same one gets it on every replica of a host that remembers no owner. Those whose categories are listed already hold
// up nobody.
func (f *Fleet) acceptInOrder(fresh []*supervisor, first bool) {
	for _, s := range fresh {
		if s.listed {
			close(s.admitted)
		}
	}
	for _, s := range fresh {
		if s.listed {
			continue
		}
		<-s.attempted
		close(s.admitted)
		<-s.decided
	}
	if first {
		close(f.listed)
	}
	for _, s := range fresh {
		<-s.decided
	}
	if first {
		close(f.synced)
	}
}

// forget drops a removed plugin once it is gone.
func (f *Fleet) forget(s *supervisor) {
	<-s.stopped
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.leaving, s)
}

// Stop drains and stops all plugins side by side. When limit ends the draining does too; the processes are gone in any
// case when Stop returns. Apply is not called any more.
func (f *Fleet) Stop(limit context.Context) {
	defer f.refreshing.Wait() // after the lock is given back, which they may wait for
	f.applying.Lock()
	defer f.applying.Unlock()
	f.endWatch()
	supervisors := f.all()
	for _, s := range supervisors {
		s.want(&desired{wanted: wanted{round: f.round + 1, removed: true, hostStops: true}, settings: s.desired.Load().settings})
		defer context.AfterFunc(limit, s.expedite)()
	}
	for _, s := range supervisors {
		<-s.stopped
	}
	if f.round > 0 {
		<-f.synced
	}
	f.owners.flush()
	f.events.close()
}

// Status is what every plugin is doing now, by name. One that was removed and is wanted again stands there twice while
// its old processes drain.
func (f *Fleet) Status() []Status {
	supervisors := f.all()
	statuses := f.disabled()
	for _, s := range supervisors {
		statuses = append(statuses, s.status())
	}
	slices.SortStableFunc(statuses, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return statuses
}

// Removed are the plugins that were taken out of the configuration, or disabled, a short while ago, for as long as calls of their task types
// wait for them (create.removed_grace).
func (f *Fleet) Removed() []route.Removed {
	return slices.DeleteFunc(f.options.Routes.Table().AllRemoved(), func(r route.Removed) bool { return r.Dropped })
}

// all are the supervisors, leaving ones too, by name.
func (f *Fleet) all() []*supervisor {
	f.mu.Lock()
	defer f.mu.Unlock()
	supervisors := slices.Collect(maps.Values(f.supervisors))
	for s := range f.leaving {
		if !s.view.Load().state.stopped { // else it is about to be forgotten
			supervisors = append(supervisors, s)
		}
	}
	slices.SortStableFunc(supervisors, func(a, b *supervisor) int { return strings.Compare(a.name, b.name) })
	return supervisors
}

// Rollbacks is how often a generation failed its probation and the one before it was brought back.
func (f *Fleet) Rollbacks() int64 { return f.rollbacks.Load() }
