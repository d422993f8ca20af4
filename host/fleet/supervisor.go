package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// supervisor is the one goroutine that moves a plugin towards its entry in the configuration. It is level-triggered: whatever
// happens, it compares what is wanted with what there is, and takes the next step. Everybody else reads its view.
//
// Up to three generations live side by side: the current one, which takes the calls; a candidate, which is on its way
// and takes none yet; and, during a rollout, a canary, which takes a share of new jobs. Generations that were swapped for
// another drain by themselves.
type supervisor struct {
	fleet *Fleet
	name  string
	log   *slog.Logger

	desired atomic.Pointer[desired]
	woken   chan struct{} // something to reconcile; holds one token
	reports chan report
	running sync.WaitGroup // slots of all generations
	// drainLimit ends when draining has to.
	drainLimit context.Context
	expedite   context.CancelFunc

	view   atomic.Pointer[view]
	signal atomic.Pointer[chan struct{}] // closed at every change, and renewed

	// The first start's order of events, see Fleet.acceptInOrder: the supervisor has tried, may claim its categories, has claimed.
	attempted, admitted, decided chan struct{}
	stopped                      chan struct{} // closed when run has returned

	born time.Time

	// Of run alone:
	first    bool             // the first start is still open
	accepted bool             // the current generation's categories are in the table
	previous *origin          // what the current generation was swapped for, to fall back on
	flipped  time.Time        // when it did
	rejected string           // the id of a spec that failed its probation: not tried again until the configuration changes
	retry    <-chan time.Time // when a failed candidate is tried again
	failures *failures        // of candidates
}

// desired is what the configuration wants of a plugin.
type desired struct {
	settings *config.Config
	plugin   config.Plugin
	spec     plugin.Spec
	round    int  // of Apply
	removed  bool // the plugin, or the host, is to go
}

// origin is what a generation is made from.
type origin struct {
	settings config.Plugin
	spec     plugin.Spec
}

// view is what there is of a plugin at one moment. It is never changed, only succeeded by another.
type view struct {
	current, canary, candidate *generation
	percent                    int // of new jobs that go to the canary
	manifest                   *plugin.Manifest
	refused                    error // a conflict keeps the plugin from serving at all
	swapError                  error // why the last swap failed, while that matters
	rolledBack                 bool
	stopping, stopped          bool
	outcome                    Outcome // of the last round that is decided
}

func newSupervisor(f *Fleet, name string) *supervisor {
	s := &supervisor{
		fleet: f, name: name, log: f.options.Log.With("plugin", name),
		woken: make(chan struct{}, 1), reports: make(chan report),
		attempted: make(chan struct{}), admitted: make(chan struct{}), decided: make(chan struct{}), stopped: make(chan struct{}),
		first: true, born: time.Now(),
	}
	s.drainLimit, s.expedite = context.WithCancel(context.Background())
	s.view.Store(&view{})
	signal := make(chan struct{})
	s.signal.Store(&signal)
	return s
}

// want tells the supervisor what is wanted from now on.
func (s *supervisor) want(d *desired) {
	s.desired.Store(d)
	s.wake()
}

func (s *supervisor) wake() {
	select {
	case s.woken <- struct{}{}:
	default: // it will look anyway
	}
}

// Plugin implements route.Target.
func (s *supervisor) Plugin() string { return s.name }

// run looks after the plugin until it is removed.
func (s *supervisor) run() {
	defer close(s.stopped)
	defer s.expedite()
	for !s.view.Load().stopped {
		select {
		case r := <-s.reports:
			r.answer <- s.take(r)
		case <-s.woken:
			s.reconcile()
		case <-s.retry:
			s.retry = nil
			s.reconcile()
		}
	}
}

// reconcile takes the next step from what there is to what is wanted.
func (s *supervisor) reconcile() {
	d := s.desired.Load()
	if d.removed {
		s.remove()
		return
	}
	v := *s.view.Load()
	if v.outcome.round != d.round { // a new round: what failed before may work now
		if d.spec.Hash()[:12] != s.rejected {
			s.rejected, v.rolledBack = "", false
		}
		s.retry, s.failures, v.refused, v.swapError = nil, newFailures(d.plugin.Restart), nil, nil
	}
	wanted, spec := d.plugin, d.spec
	id := spec.Hash()[:12]
	if id == s.rejected && s.previous != nil {
		wanted, spec = s.previous.settings, s.previous.spec
		id = spec.Hash()[:12]
	}
	switch {
	case v.refused != nil || s.retry != nil:
		// Nothing can be done now.
	case v.current == nil:
		v.current = newGeneration(s, spec, wanted)
		s.accepted = false
		v.outcome = Outcome{round: d.round, Plugin: s.name, Action: Started, Generation: id}
	case v.current.id == id:
		v.candidate.abandon()
		v.canary.abandon()
		v.candidate, v.canary = nil, nil
		s.adjust(v.current, wanted)
		if v.outcome.round != d.round {
			v.outcome = Outcome{round: d.round, Plugin: s.name, Action: Unchanged, Generation: id}
		}
	case v.canary != nil && v.canary.id == id:
		v.candidate.abandon()
		v.candidate = nil
		s.adjust(v.canary, wanted)
		if v.percent = wanted.Rollout.Percent; v.percent >= 100 {
			s.publish(v)
			_ = s.promote(v.canary) // it reports by itself
			return
		}
		if v.outcome.round != d.round {
			v.outcome = Outcome{round: d.round, Plugin: s.name, Action: Canary, Generation: id}
		}
	case v.candidate != nil && v.candidate.id == id:
		s.adjust(v.candidate, wanted)
	default:
		v.candidate.abandon()
		v.candidate = newGeneration(s, spec, wanted)
		s.emit(Event{Plugin: s.name, Generation: id, State: EventSwapping, Was: Running, Cause: "the configuration changed"}, false)
	}
	s.publish(v)
	if s.accepted {
		s.claim(&v, v.current) //nolint:errcheck // what is served already cannot be in conflict
	}
}

// adjust hands a generation settings that leave its spec as it is.
func (s *supervisor) adjust(g *generation, settings config.Plugin) {
	g.settings.Store(&settings)
	g.resize(settings.Instances)
}

// take notes what a slot reports, and answers whether its instance may take calls.
func (s *supervisor) take(r report) error {
	v := *s.view.Load()
	g := r.slot.generation
	if r.err != nil {
		s.explain(r.err)
	}
	switch g {
	case v.current:
		return s.takeCurrent(v, g, r)
	case v.candidate:
		return s.takeCandidate(v, g, r)
	case v.canary:
		if r.err != nil && r.looping {
			s.reject(v, g, r.err)
			return errRetired
		}
		return nil
	}
	return errRetired
}

func (s *supervisor) takeCurrent(v view, g *generation, r report) error {
	if s.first && (r.err == nil || s.givenUp(r)) {
		defer s.admit()()
		if r.err != nil {
			s.recall(v, g)
		}
	}
	if r.err != nil {
		d := s.desired.Load()
		probation := g.configured().Probation
		if r.looping && s.previous != nil && !d.removed && g.configured().Rollback && time.Since(s.flipped) < probation && v.candidate == nil {
			s.fallBack(v, g, r.err)
		}
		return nil
	}
	manifest := r.instance.Manifest()
	if v.manifest != nil && g.manifest != nil && s.accepted && sameAgents(*g.manifest, manifest) {
		return nil
	}
	g.manifest = &manifest
	if err := s.claim(&v, g); err != nil {
		v.current, v.refused = nil, err
		s.publish(v)
		g.retire()
		s.emit(Event{Plugin: s.name, Generation: g.id, State: Refused, Was: Starting, Cause: err.Error()}, true)
		return err
	}
	s.accepted = true
	v.manifest = &manifest
	s.publish(v)
	s.fleet.memory.remember(s.name, manifest)
	return nil
}

// admit has the plugin wait for its turn to claim its categories, where its first start is still open. What it returns says
// that it has claimed them.
func (s *supervisor) admit() (claimed func()) {
	if !s.first {
		return func() {}
	}
	close(s.attempted)
	<-s.admitted
	s.first = false
	return func() { close(s.decided) }
}

// recall lists what the plugin served before the host was restarted, now that it does not start: calls wait for it, as they do
// for one that crashed while the host ran.
func (s *supervisor) recall(v view, g *generation) {
	manifest, ok := s.fleet.memory.recall(s.name)
	if !ok {
		return
	}
	g.manifest = &manifest
	if err := s.claim(&v, g); err != nil {
		g.manifest = nil
		s.log.Warn("what the plugin served before the host was restarted is not listed", "error", err)
		return
	}
	s.accepted = true
	s.log.Warn("the plugin does not start: what it served before the host was restarted stays listed, and calls wait for it")
}

// givenUp says that the host shall not wait any longer for a plugin that does not start: trying again does not help, has
// not helped, or has taken start_timeout. A host that is ready without a plugin's task types makes Flyte send the plugin's
// jobs elsewhere, so one process that died is no reason to be.
func (s *supervisor) givenUp(r report) bool {
	if started := (*plugin.StartError)(nil); errors.As(r.err, &started) {
		switch started.Step {
		case plugin.StepPrepare, plugin.StepLaunch, plugin.StepConfigure:
			return true
		}
	}
	return r.looping || time.Since(s.born) > s.desired.Load().spec.StartTimeout
}

func (s *supervisor) takeCandidate(v view, g *generation, r report) error {
	if r.err != nil {
		s.swapFailed(v, g, r.err)
		return errRetired
	}
	if g.manifest == nil {
		manifest := r.instance.Manifest()
		g.manifest = &manifest
	}
	if g.ready++; g.ready < len(g.slots) {
		return nil
	}
	percent := g.configured().Rollout.Percent
	if percent < 100 && s.accepted {
		v.canary, v.candidate, v.percent = g, nil, percent
		s.view.Load().canary.abandon()
		v.swapError = nil
		s.recordOutcome(&v, Outcome{Action: Canary, Generation: g.id})
		s.claim(&v, v.current) //nolint:errcheck // its categories are in the table; its jobs are pinned from now on
		s.publish(v)           // after that, because now the canary gets jobs
		s.emit(Event{Plugin: s.name, Generation: g.id, State: EventCanary, Was: EventSwapping, Cause: fmt.Sprintf("%d %% of new jobs", percent)}, false)
		return nil
	}
	return s.promote(g)
}

// promote flips the table: from now on calls go to g, and what was current drains.
func (s *supervisor) promote(g *generation) error {
	defer s.admit()() // the first configuration may be superseded before its generation is up
	v := *s.view.Load()
	old, canary, candidate := v.current, v.canary, v.candidate
	v.current, v.canary, v.candidate, v.percent = g, nil, nil, 0
	v.manifest, v.swapError = g.manifest, nil
	if err := s.claim(&v, g); err != nil {
		s.swapFailed(*s.view.Load(), g, err)
		return err
	}
	if s.accepted && old.id != s.rejected {
		s.previous = old.origin()
	}
	if s.accepted && !v.rolledBack {
		s.flipped = time.Now()
	}
	s.accepted = true
	s.recordOutcome(&v, Outcome{Action: Swapped, Generation: g.id})
	s.publish(v)
	s.fleet.memory.remember(s.name, *g.manifest)
	for _, g := range []*generation{old, canary, candidate} {
		if g != nil && g != v.current {
			g.retire()
		}
	}
	s.emit(Event{Plugin: s.name, Generation: g.id, State: EventSwapped, Was: EventSwapping, Cause: "it is ready"}, false)
	return nil
}

// swapFailed drops a candidate. What is current serves on, and the candidate is tried again later.
func (s *supervisor) swapFailed(v view, g *generation, err error) {
	v.candidate, v.swapError = nil, err
	if v.canary == g {
		v.canary = nil
	}
	s.recordOutcome(&v, Outcome{Action: Failed, Generation: g.id, Err: err})
	s.publish(v)
	g.retire()
	if conflict := (route.Conflict{}); !errors.As(err, &conflict) {
		wait, _ := s.failures.next(time.Now())
		s.retry = time.After(max(wait, retryCandidate))
	}
	s.emit(Event{Plugin: s.name, Generation: g.id, State: EventSwapFailed, Was: EventSwapping, Cause: err.Error()}, true)
}

// retryCandidate is how long a candidate that failed is left alone at least: the plugin is served meanwhile.
const retryCandidate = 5 * time.Second

// fallBack brings back what the current generation replaced.
func (s *supervisor) fallBack(v view, g *generation, err error) {
	s.rejected, v.rolledBack = g.id, true
	v.swapError = fmt.Errorf("generation %s crash-looped within its probation; the one before it is coming back: %w", g.id, err)
	v.candidate = newGeneration(s, s.previous.spec, s.previous.settings)
	s.publish(v)
	s.fleet.rollbacks.Add(1)
	s.emit(Event{Plugin: s.name, Generation: g.id, State: EventRolledBack, Was: CrashLooping, Cause: v.swapError.Error()}, true)
}

// reject withdraws a canary that crash-loops.
func (s *supervisor) reject(v view, g *generation, err error) {
	s.rejected, v.rolledBack, v.canary, v.percent = g.id, true, nil, 0
	s.previous = v.current.origin()
	v.swapError = fmt.Errorf("generation %s crash-looped as canary and is withdrawn: %w", g.id, err)
	s.publish(v)
	g.retire()
	s.fleet.rollbacks.Add(1)
	s.emit(Event{Plugin: s.name, Generation: g.id, State: EventRolledBack, Was: EventCanary, Cause: v.swapError.Error()}, true)
}

// remove takes the plugin's categories out of the table, drains it and ends the supervisor.
func (s *supervisor) remove() {
	if s.first { // never started: nobody waits for its outcome any more
		s.first = false
		close(s.attempted)
		close(s.decided)
	}
	v := *s.view.Load()
	if !s.fleet.stopping.Load() { // a host that stops keeps its types listed to the end
		s.fleet.withdraw(s)
		s.fleet.memory.forget(s.name)
	}
	v.stopping = true
	s.publish(v)
	for _, g := range []*generation{v.current, v.canary, v.candidate} {
		if g != nil {
			g.retire()
		}
	}
	s.running.Wait()
	v.stopped = true
	s.recordOutcome(&v, Outcome{Action: Removed})
	s.publish(v)
	s.emit(Event{Plugin: s.name, State: Stopped, Was: Draining, Cause: "it is no longer wanted"}, false)
}

// claim puts a generation's categories into the table, with what the configuration says of calls to them.
func (s *supervisor) claim(v *view, g *generation) error {
	settings := g.configured()
	return s.fleet.accept(route.Claim{
		Target: s, Manifest: *g.manifest, Policy: policyOf(settings),
		Pinned: settings.Pin == config.PinAlways || v.canary != nil, NeverPinned: settings.Pin == config.PinNever,
	})
}

func policyOf(p config.Plugin) route.Policy {
	return route.Policy{
		MinInterval: p.Status.MinInterval, MaxStale: p.Status.MaxStale,
		Concurrency: p.Limits.Concurrency, Wait: p.Limits.Wait, Rate: p.Limits.Rate, Burst: p.Limits.Burst,
	}
}

// recordOutcome notes the outcome of the round.
func (s *supervisor) recordOutcome(v *view, outcome Outcome) {
	outcome.round, outcome.Plugin = s.desired.Load().round, s.name
	v.outcome = outcome
}

// publish makes the view the one that others see.
func (s *supervisor) publish(v view) {
	s.view.Store(&v)
	s.notify()
}

// notify wakes everybody who waits for a change.
func (s *supervisor) notify() {
	fresh := make(chan struct{})
	close(*s.signal.Swap(&fresh))
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
	e.Time = time.Now()
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
	case want.New && rand.IntN(100) < v.percent:
		return v.canary
	default:
		return v.current
	}
}

// Acquire implements route.Target.
func (s *supervisor) Acquire(ctx context.Context, want route.Want) (route.Lease, error) {
	for {
		signal := *s.signal.Load()
		v := s.view.Load()
		if v.stopping || v.stopped || v.refused != nil {
			return route.Lease{}, s.unavailable()
		}
		if lease, ok := s.TryAcquire(want); ok {
			return lease, nil
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return route.Lease{}, s.unavailable()
		}
	}
}

// unavailable is what a caller hears who waited for the plugin in vain.
func (s *supervisor) unavailable() error {
	now := s.status()
	since := time.Since(now.Since).Round(time.Millisecond)
	if now.Reason == nil {
		return fmt.Errorf("plugin %q is %s since %s", s.name, now.State, since)
	}
	return fmt.Errorf("plugin %q is %s since %s: %w", s.name, now.State, since, now.Reason)
}
