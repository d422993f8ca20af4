package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// generation is the instances started from one revision of a plugin.
type generation struct {
	supervisor *supervisor
	number     int
	id         string
	spec       plugin.Spec
	log        *slog.Logger
	tally      *tally

	// settings is the plugin's entry in the configuration: that of the spec, and what of later ones leaves the spec as it is.
	settings atomic.Pointer[config.Plugin]

	ctx    context.Context // ends when the generation is retired
	cancel context.CancelFunc
	// expedited ends when the calls under way need not end by themselves.
	expedited context.Context
	expedite  context.CancelFunc

	slots   []*instanceSlot                 // of the supervisor's goroutine
	visible atomic.Pointer[[]*instanceSlot] // slots, for everybody else
	leaving atomic.Pointer[[]*instanceSlot] // those that there are too many of; some may be gone
}

// report is what an instance slot tells the supervisor, and waits until the supervisor has taken note.
type report struct {
	slot *instanceSlot
	// instance is up.
	instance instance
	// err is why an instance is not up; looping says that it happens again and again.
	err     error
	looping bool
	// lags: its image is still being pulled.
	lags bool

	answer chan error // an error where the instance may not take calls
}

func newGeneration(s *supervisor, number int, r revision) *generation {
	g := &generation{supervisor: s, number: number, id: r.id, spec: r.spec, log: s.log.With("generation", r.id), tally: s.tallyOf(r.id)}
	g.settings.Store(&r.settings)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.expedited, g.expedite = context.WithCancel(context.Background())
	g.resize(r.settings.Instances)
	return g
}

func (g *generation) configured() config.Plugin { return *g.settings.Load() }

// resize starts instance slots, or retires the last ones, until there are n.
func (g *generation) resize(n int) {
	n = max(n, 1)
	for len(g.slots) < n {
		s := newInstanceSlot(g, len(g.slots))
		g.slots = append(g.slots, s)
		g.supervisor.running.Go(s.run)
	}
	leaving := g.departing()
	for len(g.slots) > n {
		last := len(g.slots) - 1
		g.slots[last].cancel()
		leaving = append(leaving, g.slots[last])
		g.slots = g.slots[:last]
	}
	g.leaving.Store(&leaving)
	visible := append([]*instanceSlot{}, g.slots...)
	g.visible.Store(&visible)
}

// departing are the slots that there are too many of, and that are not gone yet.
func (g *generation) departing() (leaving []*instanceSlot) {
	if all := g.leaving.Load(); all != nil {
		for _, s := range *all {
			if !s.gone() {
				leaving = append(leaving, s)
			}
		}
	}
	return leaving
}

// gone waits until nothing is left of a generation that is retired.
func (g *generation) gone(slots []*instanceSlot) {
	for _, s := range slots {
		<-s.retired
	}
}

// start brings up an instance: a process, or a connection to an agent that runs elsewhere.
func (g *generation) start(ctx context.Context, number int, progress func(done, total int64)) (instance, error) {
	if starts := g.supervisor.fleet.starts; starts != nil {
		return starts(ctx, g.spec)
	}
	environment := plugin.Environment{
		Progress: progress,
		RunRoot:  g.supervisor.fleet.options.RunRoot, Log: g.supervisor.fleet.options.Log, DialOptions: g.supervisor.fleet.options.DialOptions,
		Private:      g.supervisor.fleet.privateFiles(),
		Groups:       g.supervisor.fleet.options.Groups,
		Kills:        g.supervisor.fleet.kills,
		MaxTaskTypes: g.supervisor.fleet.options.MaxTaskTypes,
	}
	if store := g.supervisor.fleet.options.Artifacts; store != nil {
		environment.Artifacts = store // not nil of a type, which would be an interface that is not nil
	}
	if tails := g.supervisor.fleet.options.Tails; tails != nil {
		environment.Keep = func(pid int, line []byte) {
			tails.Add(g.spec.Name, logging.Printed{Time: time.Now(), Generation: g.id, Instance: number, PID: pid, Object: line})
		}
	}
	if g.spec.Remote() {
		connected, err := plugin.Connect(ctx, g.spec, environment)
		if err != nil {
			return nil, err // not connected, which would be an interface that is not nil
		}
		return connected, nil
	}
	started, err := plugin.Start(ctx, g.spec, environment)
	if err != nil {
		return nil, err
	}
	return started, nil
}

var errRetired = errors.New("the generation is retired")

// retire ends the generation in the background: its calls under way may end, up to drain_timeout, unless it is to go now.
func (g *generation) retire(now bool) {
	if now {
		g.expedite()
	}
	g.cancel()
}

// acquire takes a lease on the instance with the fewest calls in flight.
func (g *generation) acquire() (route.Lease, bool) {
	slots := *g.visible.Load()
	if len(slots) == 1 {
		return slots[0].acquire()
	}
	var best *instanceSlot
	fewest := 0
	for _, s := range slots {
		if inFlight, ok := s.load(); ok && (best == nil || inFlight < fewest) {
			best, fewest = s, inFlight
		}
	}
	if best == nil {
		return route.Lease{}, false
	}
	if lease, ok := best.acquire(); ok {
		return lease, true
	}
	for _, s := range slots { // it ended this moment
		if lease, ok := s.acquire(); ok {
			return lease, true
		}
	}
	return route.Lease{}, false
}
