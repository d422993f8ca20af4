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

// owner is the one goroutine that moves a plugin towards its entry in the configuration. It is level-triggered: whatever
// happens, it compares what is wanted with what there is, and takes the next step. Everybody else reads its view.
//
// Up to three generations live side by side: the current one, which takes the calls; a candidate, which is on its way
// and takes none yet; and, during a rollout, one on trial, which takes a share of new jobs. Generations that were
// replaced drain by themselves.
type owner struct {
	fleet *Fleet
	name  string
	log   *slog.Logger

	desired atomic.Pointer[desired]
	wake    chan struct{} // something to reconcile; holds one token
	reports chan report
	running sync.WaitGroup // slots of all generations
	// patience ends when draining has to.
	patience context.Context
	hurry    context.CancelFunc

	view   atomic.Pointer[view]
	signal atomic.Pointer[chan struct{}] // closed at every change, and replaced

	// The first start's order of events, see Fleet.settle: the owner has tried, may claim its categories, has claimed.
	attempted, admitted, decided chan struct{}
	stopped                      chan struct{} // closed when run has returned

	born time.Time

	// Of run alone:
	first    bool             // the first start is still open
	accepted bool             // the current generation's categories are in the table
	previous *origin          // what the current generation replaced, to fall back on
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

// view is what there is of a plugin at one moment. It is never changed, only replaced.
type view struct {
	current, trial, candidate *generation
	percent                   int // of new jobs that go to trial
	manifest                  *plugin.Manifest
	refused                   error // a conflict keeps the plugin from serving at all
	swapError                 error // why the last swap failed, while that matters
	rolledBack                bool
	stopping, stopped         bool
	outcome                   Outcome // of the last round that is decided
}

func newOwner(f *Fleet, name string) *owner {
	o := &owner{
		fleet: f, name: name, log: f.options.Log.With("plugin", name),
		wake: make(chan struct{}, 1), reports: make(chan report),
		attempted: make(chan struct{}), admitted: make(chan struct{}), decided: make(chan struct{}), stopped: make(chan struct{}),
		first: true, born: time.Now(),
	}
	o.patience, o.hurry = context.WithCancel(context.Background())
	o.view.Store(&view{})
	signal := make(chan struct{})
	o.signal.Store(&signal)
	return o
}

// want tells the owner what is wanted from now on.
func (o *owner) want(d *desired) {
	o.desired.Store(d)
	o.poke()
}

func (o *owner) poke() {
	select {
	case o.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Plugin implements route.Target.
func (o *owner) Plugin() string { return o.name }

// run looks after the plugin until it is removed.
func (o *owner) run() {
	defer close(o.stopped)
	defer o.hurry()
	for !o.view.Load().stopped {
		select {
		case r := <-o.reports:
			r.answer <- o.take(r)
		case <-o.wake:
			o.reconcile()
		case <-o.retry:
			o.retry = nil
			o.reconcile()
		}
	}
}

// reconcile takes the next step from what there is to what is wanted.
func (o *owner) reconcile() {
	d := o.desired.Load()
	if d.removed {
		o.remove()
		return
	}
	v := *o.view.Load()
	if v.outcome.round != d.round { // a new round: what failed before may work now
		if d.spec.Hash()[:12] != o.rejected {
			o.rejected, v.rolledBack = "", false
		}
		o.retry, o.failures, v.refused, v.swapError = nil, newFailures(d.plugin.Restart), nil, nil
	}
	wanted, spec := d.plugin, d.spec
	id := spec.Hash()[:12]
	if id == o.rejected && o.previous != nil {
		wanted, spec = o.previous.settings, o.previous.spec
		id = spec.Hash()[:12]
	}
	switch {
	case v.refused != nil || o.retry != nil:
		// Nothing can be done now.
	case v.current == nil:
		v.current = newGeneration(o, spec, wanted)
		o.accepted = false
		v.outcome = Outcome{round: d.round, Plugin: o.name, Action: Started, Generation: id}
	case v.current.id == id:
		v.candidate.abandon()
		v.trial.abandon()
		v.candidate, v.trial = nil, nil
		o.adjust(v.current, wanted)
		if v.outcome.round != d.round {
			v.outcome = Outcome{round: d.round, Plugin: o.name, Action: Unchanged, Generation: id}
		}
	case v.trial != nil && v.trial.id == id:
		v.candidate.abandon()
		v.candidate = nil
		o.adjust(v.trial, wanted)
		if v.percent = wanted.Rollout.Percent; v.percent >= 100 {
			o.publish(v)
			_ = o.promote(v.trial) // it tells people itself
			return
		}
		if v.outcome.round != d.round {
			v.outcome = Outcome{round: d.round, Plugin: o.name, Action: OnTrial, Generation: id}
		}
	case v.candidate != nil && v.candidate.id == id:
		o.adjust(v.candidate, wanted)
	default:
		v.candidate.abandon()
		v.candidate = newGeneration(o, spec, wanted)
		o.tellPeople(Event{Plugin: o.name, Generation: id, State: Swapping, Was: Running, Cause: "the configuration changed"}, false)
	}
	o.publish(v)
	if o.accepted {
		o.claim(&v, v.current) //nolint:errcheck // what is served already cannot be in conflict
	}
}

// adjust hands a generation settings that leave its spec as it is.
func (o *owner) adjust(g *generation, settings config.Plugin) {
	g.settings.Store(&settings)
	g.resize(settings.Instances)
}

// take notes what a slot reports, and answers whether its instance may take calls.
func (o *owner) take(r report) error {
	v := *o.view.Load()
	g := r.slot.generation
	if r.err != nil {
		o.explain(r.err)
	}
	switch g {
	case v.current:
		return o.takeCurrent(v, g, r)
	case v.candidate:
		return o.takeCandidate(v, g, r)
	case v.trial:
		if r.err != nil && r.looping {
			o.reject(v, g, r.err)
			return errRetired
		}
		return nil
	}
	return errRetired
}

func (o *owner) takeCurrent(v view, g *generation, r report) error {
	if o.first && (r.err == nil || o.givenUp(r)) {
		defer o.admit()()
		if r.err != nil {
			o.recall(v, g)
		}
	}
	if r.err != nil {
		d := o.desired.Load()
		probation := g.configured().Probation
		if r.looping && o.previous != nil && !d.removed && g.configured().Rollback && time.Since(o.flipped) < probation && v.candidate == nil {
			o.fallBack(v, g, r.err)
		}
		return nil
	}
	manifest := r.instance.Manifest()
	if v.manifest != nil && g.manifest != nil && o.accepted && sameAgents(*g.manifest, manifest) {
		return nil
	}
	g.manifest = &manifest
	if err := o.claim(&v, g); err != nil {
		v.current, v.refused = nil, err
		o.publish(v)
		g.retire()
		o.tellPeople(Event{Plugin: o.name, Generation: g.id, State: Refused, Was: Starting, Cause: err.Error()}, true)
		return err
	}
	o.accepted = true
	v.manifest = &manifest
	o.publish(v)
	o.fleet.memory.remember(o.name, manifest)
	return nil
}

// admit has the plugin wait for its turn to claim its categories, where its first start is still open. What it returns says
// that it has claimed them.
func (o *owner) admit() (claimed func()) {
	if !o.first {
		return func() {}
	}
	close(o.attempted)
	<-o.admitted
	o.first = false
	return func() { close(o.decided) }
}

// recall lists what the plugin served before the host was restarted, now that it does not start: calls wait for it, as they do
// for one that crashed while the host ran.
func (o *owner) recall(v view, g *generation) {
	manifest, ok := o.fleet.memory.recall(o.name)
	if !ok {
		return
	}
	g.manifest = &manifest
	if err := o.claim(&v, g); err != nil {
		g.manifest = nil
		o.log.Warn("what the plugin served before the host was restarted is not listed", "error", err)
		return
	}
	o.accepted = true
	o.log.Warn("the plugin does not start: what it served before the host was restarted stays listed, and calls wait for it")
}

// givenUp says that the host shall not wait any longer for a plugin that does not start: trying again does not help, has
// not helped, or has taken start_timeout. A host that is ready without a plugin's task types makes Flyte send the plugin's
// jobs elsewhere, so one process that died is no reason to be.
func (o *owner) givenUp(r report) bool {
	if started := (*plugin.StartError)(nil); errors.As(r.err, &started) {
		switch started.Step {
		case plugin.StepPrepare, plugin.StepLaunch, plugin.StepConfigure:
			return true
		}
	}
	return r.looping || time.Since(o.born) > o.desired.Load().spec.StartTimeout
}

func (o *owner) takeCandidate(v view, g *generation, r report) error {
	if r.err != nil {
		o.swapFailed(v, g, r.err)
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
	if percent < 100 && o.accepted {
		v.trial, v.candidate, v.percent = g, nil, percent
		o.view.Load().trial.abandon()
		v.swapError = nil
		o.decide(&v, Outcome{Action: OnTrial, Generation: g.id})
		o.claim(&v, v.current) //nolint:errcheck // its categories are in the table; its jobs are pinned from now on
		o.publish(v)           // after that, because now the trial gets jobs
		o.tellPeople(Event{Plugin: o.name, Generation: g.id, State: Trial, Was: Swapping, Cause: fmt.Sprintf("%d %% of new jobs", percent)}, false)
		return nil
	}
	return o.promote(g)
}

// promote flips the table: from now on calls go to g, and what was current drains.
func (o *owner) promote(g *generation) error {
	defer o.admit()() // the first configuration may be superseded before its generation is up
	v := *o.view.Load()
	old, trial, candidate := v.current, v.trial, v.candidate
	v.current, v.trial, v.candidate, v.percent = g, nil, nil, 0
	v.manifest, v.swapError = g.manifest, nil
	if err := o.claim(&v, g); err != nil {
		o.swapFailed(*o.view.Load(), g, err)
		return err
	}
	if o.accepted && old.id != o.rejected {
		o.previous = old.origin()
	}
	if o.accepted && !v.rolledBack {
		o.flipped = time.Now()
	}
	o.accepted = true
	o.decide(&v, Outcome{Action: Swapped, Generation: g.id})
	o.publish(v)
	o.fleet.memory.remember(o.name, *g.manifest)
	for _, g := range []*generation{old, trial, candidate} {
		if g != nil && g != v.current {
			g.retire()
		}
	}
	o.tellPeople(Event{Plugin: o.name, Generation: g.id, State: TookOver, Was: Swapping, Cause: "it is ready"}, false)
	return nil
}

// swapFailed drops a candidate. What is current serves on, and the candidate is tried again later.
func (o *owner) swapFailed(v view, g *generation, err error) {
	v.candidate, v.swapError = nil, err
	if v.trial == g {
		v.trial = nil
	}
	o.decide(&v, Outcome{Action: Failed, Generation: g.id, Err: err})
	o.publish(v)
	g.retire()
	if conflict := (route.Conflict{}); !errors.As(err, &conflict) {
		wait, _ := o.failures.next(time.Now())
		o.retry = time.After(max(wait, retryCandidate))
	}
	o.tellPeople(Event{Plugin: o.name, Generation: g.id, State: SwapFailed, Was: Swapping, Cause: err.Error()}, true)
}

// retryCandidate is how long a candidate that failed is left alone at least: the plugin is served meanwhile.
const retryCandidate = 5 * time.Second

// fallBack brings back what the current generation replaced.
func (o *owner) fallBack(v view, g *generation, err error) {
	o.rejected, v.rolledBack = g.id, true
	v.swapError = fmt.Errorf("generation %s crash-looped within its probation; the one before it is coming back: %w", g.id, err)
	v.candidate = newGeneration(o, o.previous.spec, o.previous.settings)
	o.publish(v)
	o.fleet.rollbacks.Add(1)
	o.tellPeople(Event{Plugin: o.name, Generation: g.id, State: RolledBack, Was: CrashLooping, Cause: v.swapError.Error()}, true)
}

// reject ends a trial that crash-loops.
func (o *owner) reject(v view, g *generation, err error) {
	o.rejected, v.rolledBack, v.trial, v.percent = g.id, true, nil, 0
	o.previous = v.current.origin()
	v.swapError = fmt.Errorf("generation %s crash-looped on trial and is withdrawn: %w", g.id, err)
	o.publish(v)
	g.retire()
	o.fleet.rollbacks.Add(1)
	o.tellPeople(Event{Plugin: o.name, Generation: g.id, State: RolledBack, Was: Trial, Cause: v.swapError.Error()}, true)
}

// remove takes the plugin's categories out of the table, drains it and ends the owner.
func (o *owner) remove() {
	if o.first { // never started: nobody waits for its outcome any more
		o.first = false
		close(o.attempted)
		close(o.decided)
	}
	v := *o.view.Load()
	if !o.fleet.stopping.Load() { // a host that stops keeps its types listed to the end
		o.fleet.withdraw(o)
		o.fleet.memory.forget(o.name)
	}
	v.stopping = true
	o.publish(v)
	for _, g := range []*generation{v.current, v.trial, v.candidate} {
		if g != nil {
			g.retire()
		}
	}
	o.running.Wait()
	v.stopped = true
	o.decide(&v, Outcome{Action: Removed})
	o.publish(v)
	o.tellPeople(Event{Plugin: o.name, State: Stopped, Was: Draining, Cause: "it is no longer wanted"}, false)
}

// claim puts a generation's categories into the table, with what the configuration says of calls to them.
func (o *owner) claim(v *view, g *generation) error {
	settings := g.configured()
	return o.fleet.accept(route.Claim{
		Target: o, Manifest: *g.manifest, Policy: policyOf(settings),
		Pinned: settings.Pin == "always" || v.trial != nil, NeverPinned: settings.Pin == "never",
	})
}

func policyOf(p config.Plugin) route.Policy {
	return route.Policy{
		MinInterval: p.Status.MinInterval, MaxStale: p.Status.MaxStale,
		Concurrency: p.Limits.Concurrency, Wait: p.Limits.Wait, Rate: p.Limits.Rate, Burst: p.Limits.Burst,
	}
}

// decide notes the outcome of the round.
func (o *owner) decide(v *view, outcome Outcome) {
	outcome.round, outcome.Plugin = o.desired.Load().round, o.name
	v.outcome = outcome
}

// publish makes the view the one that others see.
func (o *owner) publish(v view) {
	o.view.Store(&v)
	o.notify()
}

// notify wakes everybody who waits for a change.
func (o *owner) notify() {
	fresh := make(chan struct{})
	close(*o.signal.Swap(&fresh))
}

// changed is called by slots.
func (o *owner) changed(e Event, bad bool) {
	o.notify()
	o.tellPeople(e, bad)
}

func (o *owner) tellPeople(e Event, bad bool) {
	level := slog.LevelInfo
	if bad {
		level = slog.LevelWarn
	}
	e.Time = time.Now()
	o.log.Log(context.Background(), level, "plugin is "+string(e.State),
		"generation", e.Generation, "instance", e.Instance, "state", e.State, "was", e.Was, "for", e.Lasted.Round(time.Millisecond), "cause", e.Cause)
	o.fleet.events.send(e)
}

// explain logs where in the configuration stands what a plugin refused.
func (o *owner) explain(err error) {
	if refused := (*plugin.StartError)(nil); errors.As(err, &refused) {
		for _, wrong := range refused.KeyErrors(o.desired.Load().settings) {
			o.log.Error("the plugin does not accept its configuration", "source", wrong.Source, "line", wrong.Line, "key", wrong.Key, "error", wrong.Message)
		}
	}
}

// TryAcquire implements route.Target.
func (o *owner) TryAcquire(want route.Want) (route.Lease, bool) {
	for {
		v := o.view.Load()
		if lease, ok := v.acquire(want); ok {
			return lease, true
		}
		if o.view.Load() == v {
			return route.Lease{}, false
		}
		// The generation was replaced between the look and the asking: its successor takes the call.
	}
}

func (v *view) acquire(want route.Want) (route.Lease, bool) {
	g := v.choose(want)
	if g == nil {
		return route.Lease{}, false
	}
	lease, ok := g.acquire()
	lease.Pin = g == v.trial && g.configured().Pin != "never"
	return lease, ok
}

// choose picks the generation for a call.
func (v *view) choose(want route.Want) *generation {
	switch {
	case v.trial == nil:
		return v.current
	case want.Generation == v.trial.id:
		return v.trial
	case want.New && rand.IntN(100) < v.percent:
		return v.trial
	default:
		return v.current
	}
}

// Acquire implements route.Target.
func (o *owner) Acquire(ctx context.Context, want route.Want) (route.Lease, error) {
	for {
		signal := *o.signal.Load()
		v := o.view.Load()
		if v.stopping || v.stopped || v.refused != nil {
			return route.Lease{}, o.unavailable()
		}
		if lease, ok := o.TryAcquire(want); ok {
			return lease, nil
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return route.Lease{}, o.unavailable()
		}
	}
}

// unavailable is what a caller hears who waited for the plugin in vain.
func (o *owner) unavailable() error {
	now := o.status()
	since := time.Since(now.Since).Round(time.Millisecond)
	if now.Reason == nil {
		return fmt.Errorf("plugin %q is %s since %s", o.name, now.State, since)
	}
	return fmt.Errorf("plugin %q is %s since %s: %w", o.name, now.State, since, now.Reason)
}
