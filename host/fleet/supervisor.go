package fleet

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// supervisor is the one goroutine that moves a plugin towards its entry in the configuration. It is level-triggered: whatever
// it observes, decide (decide.go) compares what is wanted with what there is, and the supervisor carries out the steps
// (act.go). Everybody else reads its view.
type supervisor struct {
	fleet *Fleet
	name  string
	log   *slog.Logger

	desired atomic.Pointer[desired]
	woken   chan struct{} // something to look at; holds one token
	reports chan report
	news    chan struct{}  // there is a verdict on its claims; holds one token
	running sync.WaitGroup // instance slots of all generations
	// drainLimit ends when draining has to.
	drainLimit context.Context
	expedite   context.CancelFunc

	view     atomic.Pointer[view]
	signal   atomic.Pointer[chan struct{}] // closed at every change, and renewed
	down     downtime
	retiring retiring
	oomKills atomic.Int64 // of all its processes, as long as there is a supervisor
	demand   demand
	aborts   atomic.Int64 // of rollouts, by what was measured
	// rotation is of the goroutine that reads secrets again.
	rotation rotation

	// The first start's order of events, see Fleet.acceptInOrder: the plugin has tried, may claim its categories, has claimed.
	attempted, admitted, decided chan struct{}
	stopped                      chan struct{} // closed when run has returned
	listed                       bool          // its categories were before it ran, see recall

	// Of run alone:
	state       state
	generations map[int]*generation // by number; those of state, and others that are not retired
	retry       <-chan time.Time    // when a failed candidate is tried again
	measuring   *time.Ticker        // while a canary has steps; nil otherwise
	failures    *failures           // of candidates
}

// desired is what the configuration wants of the plugin, with all of the configuration.
type desired struct {
	wanted
	settings   *config.Config
	rolledBack bool // by an operator
	now        bool // what is retired lets no calls end
}

// retiring are the generations that are to go, until they are gone.
type retiring struct {
	mu  sync.Mutex
	all []*generation // in the order in which they were retired
}

func (r *retiring) list() []*generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// retire ends a generation in the background, and shows it until it is gone.
func (s *supervisor) retire(g *generation) {
	s.retiring.mu.Lock()
	s.retiring.all = append(s.retiring.all, g)
	s.retiring.mu.Unlock()
	slots := slices.Concat(g.slots, g.departing())
	g.retire(s.desired.Load().now)
	s.running.Go(func() {
		g.gone(slots)
		s.retiring.mu.Lock()
		s.retiring.all = slices.DeleteFunc(s.retiring.all, func(other *generation) bool { return other == g })
		s.retiring.mu.Unlock()
		s.notify()
	})
}

// view is what there is of a plugin at one moment. It is never changed, only succeeded by another.
type view struct {
	state                      state
	current, canary, candidate *generation
	window                     *window // nil: there is no canary
}

func newSupervisor(f *Fleet, name string) *supervisor {
	s := &supervisor{
		fleet: f, name: name, log: f.options.Log.With("plugin", name),
		woken: make(chan struct{}, 1), reports: make(chan report), news: make(chan struct{}, 1),
		attempted: make(chan struct{}), admitted: make(chan struct{}), decided: make(chan struct{}), stopped: make(chan struct{}),
		state: state{born: time.Now()}, generations: map[int]*generation{},
		rotation: rotation{readings: map[storedSecret]reading{}},
	}
	s.drainLimit, s.expedite = context.WithCancel(context.Background())
	s.view.Store(&view{})
	born := s.state.born
	s.down.since = &born
	signal := make(chan struct{})
	s.signal.Store(&signal)
	return s
}

// want tells the supervisor what is wanted from now on.
func (s *supervisor) want(d *desired) {
	s.desired.Store(d)
	select {
	case s.woken <- struct{}{}:
	default: // it will look anyway
	}
}

// heard implements holder: what came of a claim, or what has become of it since, waits for the supervisor.
func (s *supervisor) heard() {
	select {
	case s.news <- struct{}{}:
	default: // it will look anyway
	}
}

// Plugin implements route.Target.
func (s *supervisor) Plugin() string { return s.name }

// run looks after the plugin until it is removed.
func (s *supervisor) run() {
	defer close(s.stopped)
	defer s.expedite()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	defer s.measureNothing()
	s.fleet.refreshing.Go(func() { s.refreshSecrets(ctx) })
	for !s.state.stopped {
		select {
		case r := <-s.reports:
			r.answer <- s.takeReport(r)
		case <-s.woken:
			s.observe(looked{})
		case <-s.news:
			inForce, refused := s.fleet.routes.verdicts(s.name, s)
			s.observe(judged{refused})
			s.observe(judged{inForce})
		case <-s.retry:
			s.retry = nil
			s.observe(retryDue{})
		case <-s.due():
			if seen, ok := s.view.Load().measure(); ok {
				s.observe(seen)
			}
		}
	}
}

// takeReport observes what an instance slot reports. The answer is an error where the slot is retired.
func (s *supervisor) takeReport(r report) error {
	if r.slot.ctx.Err() == nil {
		generation := r.slot.generation.number
		switch {
		case r.lags:
			s.observe(pullLags{generation})
		case r.err != nil:
			s.explain(r.err)
			s.observe(instanceFailed{generation, r.err, r.looping})
			s.decidedRound()
		default:
			s.observe(instanceUp{generation, r.slot.number, r.instance.Manifest()})
		}
	}
	if r.slot.ctx.Err() != nil {
		return errRetired
	}
	return nil
}

// observe decides what is to be done after an observation, and does it.
func (s *supervisor) observe(seen observation) {
	for seen != nil {
		var steps []step
		s.state, steps = decide(s.desired.Load().wanted, s.state, seen, time.Now())
		seen = nil
		for _, next := range steps {
			seen = next.carryOut(s) // only that of the last step is one
		}
	}
}

// publish makes the state the one that others see.
func (s *supervisor) publish() {
	current, canary, candidate := s.state.current.number, s.state.canary.number, s.state.candidate.number
	next := &view{state: s.state, current: s.generations[current], canary: s.generations[canary], candidate: s.generations[candidate]}
	next.window = next.windowOf(s.view.Load().window)
	s.view.Store(next)
	maps.DeleteFunc(s.generations, func(number int, g *generation) bool {
		return g.ctx.Err() != nil && number != current && number != canary && number != candidate
	})
	if s.state.measures() && s.measuring == nil {
		s.measuring = time.NewTicker(measureInterval)
	} else if !s.state.measures() {
		s.measureNothing()
	}
	if !s.state.stopping {
		s.fleet.keepRollout(s.name, s.state.savedRollout())
	} else if d := s.desired.Load(); !d.hostStops {
		s.fleet.keepRollout(s.name, savedRollout{})
	}
	s.keepImages()
	s.notify()
	s.decidedRound()
}

// decidedRound says that it is known what the round does to the plugin, where it is.
func (s *supervisor) decidedRound() {
	if v := s.view.Load(); v.state.outcome.round == v.state.round && (v.state.outcome.Action != Started || s.up(v)) {
		s.fleet.routes.decided(s.name, s, v.state.round)
	}
}

// notify wakes everybody who waits for a change.
func (s *supervisor) notify() {
	s.down.look(s.available)
	fresh := make(chan struct{})
	close(*s.signal.Swap(&fresh))
	s.fleet.change()
}

// changed is called by slots.
func (s *supervisor) changed(e Event, bad bool) {
	s.notify()
	s.emit(e, bad)
}

func (s *supervisor) emit(e Event, bad bool) {
	level := slog.LevelInfo
	if bad {
		level = slog.LevelWarn
	}
	e.Time, e.Plugin = time.Now(), s.name
	s.log.Log(context.Background(), level, "plugin is "+string(e.State),
		"generation", e.Generation, "instance", e.Instance, "state", e.State, "was", e.Was, "for", e.Lasted.Round(time.Millisecond), "cause", e.Cause)
	s.fleet.events.send(e)
}

// explain logs where in the configuration stands what a plugin refused.
func (s *supervisor) explain(err error) {
	if refused := (*plugin.StartError)(nil); errors.As(err, &refused) {
		for _, wrong := range refused.KeyErrors(s.desired.Load().settings) {
			s.log.Error("the plugin does not accept its configuration", "source", wrong.Source, "line", wrong.Line, "key", wrong.Key, "error", wrong.Message)
		}
	}
}

// TryAcquire implements route.Target.
func (s *supervisor) TryAcquire(want route.Want) (route.Lease, bool) {
	for {
		v := s.view.Load()
		if lease, ok := v.acquire(want); ok {
			return lease, true
		}
		if s.view.Load() == v {
			return route.Lease{}, false
		}
		// The generation was swapped between the look and the asking: its successor takes the call.
	}
}

func (v *view) acquire(want route.Want) (route.Lease, bool) {
	g := v.choose(want)
	if g == nil {
		return route.Lease{}, false
	}
	lease, ok := g.acquire()
	if !ok && g == v.canary && want.Generation == "" { // a new job need not wait for a canary that is away
		g = v.current
		lease, ok = g.acquire()
	}
	lease.Pin = g == v.canary && g.configured().Pin != config.PinNever
	return lease, ok
}

// choose picks the generation for a call.
func (v *view) choose(want route.Want) *generation {
	switch {
	case v.canary == nil:
		return v.current
	case want.Generation == v.canary.id:
		return v.canary
	case want.New && rand.IntN(100) < v.state.share():
		return v.canary
	default:
		return v.current
	}
}

// Acquire implements route.Target.
func (s *supervisor) Acquire(ctx context.Context, want route.Want) (route.Lease, error) {
	waits, began := false, time.Now()
	for {
		signal := *s.signal.Load()
		v := s.view.Load()
		if v.state.stopping || v.state.stopped || v.state.refused != nil && !v.state.halted {
			return route.Lease{}, s.inVain()
		}
		if lease, ok := s.TryAcquire(want); ok {
			return lease, nil
		}
		if !waits {
			waits = true
			s.demand.begin()
			defer s.demand.end()
		}
		select {
		case <-signal:
		case <-ctx.Done():
			v.missed(want, ctx.Err(), time.Since(began))
			return route.Lease{}, s.inVain()
		}
	}
}
