package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// This file is all that the fleet decides about one plugin. decide is a function of values: it starts nothing, waits for
// nothing and reads no clock. The supervisor tells it what it observed, and carries the steps out in their order (act.go).
//
// Up to three generations live side by side: the current one, which takes the calls; a candidate, which is on its way and
// takes none yet; and, during a rollout, a canary, which takes a share of new jobs.
//
// A swap, from top to bottom: reconcile starts a candidate; instanceUp waits for all its instances; swapTo has it claim its
// task types; swapped makes it the current one. swapFailed drops it; fallBack and withdraw are for one that
// crash-loops later.

// revision is what a generation is made from.
type revision struct {
	id       string // of the spec: the same for equal ones, on every host
	spec     plugin.Spec
	settings config.Plugin // the plugin's entry: that of the spec, and what of later ones leaves the spec as it is
	edition  int           // another one of an equal spec is a restart
}

// is says that two revisions are one generation.
func (r revision) is(other revision) bool { return r.id == other.id && r.edition == other.edition }

func revisionOf(spec plugin.Spec, settings config.Plugin) revision {
	return revision{id: spec.Hash()[:12], spec: spec, settings: settings}
}

// wanted is what the configuration asks of the plugin.
type wanted struct {
	revision
	round     int    // of Apply
	removed   bool   // the plugin, or the host, is to go
	hostStops bool   // it is the host: its task categories stay listed to the end
	halted    bool   // an operator stopped it: no process of it is to run, and its task categories stay listed
	atOnce    bool   // what is wanted gets all calls as soon as it is ready
	again     bool   // what was rejected is tried again
	because   string // why something else is wanted than before; empty: the configuration changed
}

// member is a generation of the plugin. The zero value is none.
type member struct {
	revision
	number   int               // its place in the order in which they were started: another one of an equal spec has another
	up       []int             // the numbers of the instances that have come up
	manifest *plugin.Manifest  // of the first that has, or of a later one within the first's
	first    *plugin.Manifest  // what the first listed: none that is started again may claim more
	beyond   []plugin.Category // what one did list beyond that
}

func (m member) exists() bool { return m.number != 0 }

func (m member) instances() int { return max(m.settings.Instances, 1) }

func (m member) ready() bool { return len(m.up) >= m.instances() }

// state is what there is of the plugin, and all that decisions remember. decide makes the next one of it.
type state struct {
	current, canary, candidate member

	started int       // generations so far
	round   int       // the last one of Apply that was looked at
	outcome Outcome   // of the last round that has one
	born    time.Time // when the plugin was first wanted
	turn    turn      // to claim its categories, when plugins first start

	accepted bool             // the current generation's categories are in the route table
	manifest *plugin.Manifest // what the plugin said of itself when they were
	recalled *plugin.Manifest // what it served before the host was restarted: listed already, though it has not said so yet
	unserved []route.Unserved // what it lists and does not serve
	refused  error            // that is all
	since    time.Time        // when it was refused, or began to drain, or had drained

	previous  revision     // what the current generation was swapped for, to fall back on
	swappedAt time.Time    // when that was: probation counts from then
	rejected  []string     // ids that crash-looped too soon: not started again until the configuration names another
	swapError error        // why the last swap failed, while that matters
	retrying  bool         // a candidate failed, and is tried again when the timer says so
	stage     rolloutStage // of the canary

	halted   bool // an operator stopped it
	haltedAt time.Time

	stopping, stopped bool
}

// turn is the plugin's turn to claim its categories when it first starts, see Fleet.acceptInOrder.
type turn int

const (
	turnOpen turn = iota // it has not had it
	turnHeld             // it is its turn
	turnOver
)

// An observation is what the supervisor has seen.
type observation interface {
	weigh(d *decision)
}

type (
	// looked: the configuration may have changed.
	looked struct{}
	// retryDue: a failed candidate was left alone for long enough.
	retryDue struct{}
	// instanceUp: an instance is ready.
	instanceUp struct {
		generation, instance int
		manifest             plugin.Manifest
	}
	// instanceFailed: an instance did not start, or has ended. It is started again as long as its generation lives.
	instanceFailed struct {
		generation int
		err        error
		looping    bool // it happens again and again
	}
	// pullLags: an instance's image has been pulled for start_timeout, and still is.
	pullLags struct{ generation int }
	// claimed: what came of claimCategories.
	claimed struct {
		claim claimCategories
		verdict
	}
	// judged: what has become of a claim since.
	judged struct{ verdict }
	// recalled: what came of recallManifest. There is no manifest where none is remembered.
	recalled struct{ manifest *plugin.Manifest }
	// left: the categories of a removed plugin are not in the table any more.
	left struct{}
	// drained: no instance is left.
	drained struct{}
)

// A step is what the supervisor is to do. The last step of a decision may bring the next observation, no other does.
type step interface {
	carryOut(s *supervisor) observation
}

type (
	startGeneration struct {
		generation int
		revision   revision
	}
	// retireGeneration lets the calls under way of a generation end, and stops it.
	retireGeneration struct{ generation int }
	// adjustGeneration hands a generation settings that leave its spec as it is.
	adjustGeneration struct {
		generation int
		settings   config.Plugin
	}
	// publishView shows the state to calls, to Status and to Round.Wait.
	publishView struct{}
	// emitEvent tells of a change of state.
	emitEvent struct {
		event Event
		bad   bool
	}
	logWarning struct {
		message string
		err     error
	}

	// claimCategories puts a generation's categories into the route table; it brings claimed.
	claimCategories struct {
		generation int
		manifest   plugin.Manifest
		settings   config.Plugin
		canary     bool // there is one: jobs are pinned
		recalled   bool // the manifest is a remembered one
		swap       bool // it is to be the current one, and may have to wait for other plugins
	}
	// updateClaim is claimCategories for what is in the table already.
	updateClaim struct{ claim claimCategories }
	// withdrawClaim takes the categories of a plugin that was removed out of the table; it brings left, unless other plugins are about
	// to take them over.
	withdrawClaim struct{}

	// awaitTurn waits for the plugin's turn to claim its categories, passTurn gives it to the next one. skipTurn is for a
	// plugin that will not claim any.
	awaitTurn struct{}
	passTurn  struct{}
	skipTurn  struct{}

	// rememberManifest keeps a manifest for the next start of the host, forgetManifest drops it; recallManifest brings
	// recalled.
	rememberManifest struct {
		manifest plugin.Manifest
		runs     []string
	}
	forgetManifest struct{}
	recallManifest struct{}

	// scheduleRetry brings retryDue later, unless cancelRetry comes first, which also forgets how often it was tried.
	scheduleRetry struct{}
	cancelRetry   struct{ policy config.Restart }

	countRollback struct{}
	countAbort    struct{}
	// awaitDrain waits for the end of all instances; it brings drained.
	awaitDrain struct{}
)

// decision is one in the making.
type decision struct {
	state
	wanted wanted
	now    time.Time
	steps  []step
}

// decide says what the plugin's state is after an observation, and what is to be done.
func decide(wanted wanted, was state, seen observation, now time.Time) (state, []step) {
	d := &decision{state: was, wanted: wanted, now: now}
	switch seen.(type) {
	case left, drained:
		seen.weigh(d)
	default:
		if wanted.removed {
			d.remove()
		} else {
			seen.weigh(d)
		}
	}
	return d.state, d.steps
}

func (looked) weigh(d *decision) { d.reconcile() }

func (retryDue) weigh(d *decision) {
	d.retrying = false
	d.reconcile()
}

// reconcile takes the next step from what there is to what is wanted.
func (d *decision) reconcile() {
	if d.round != d.wanted.round {
		d.beginRound()
	}
	if d.wanted.halted {
		d.halt()
		return
	}
	d.halted = false
	switch target := d.target(); {
	case d.retrying:
		// Nothing can be done now.
	case !d.current.exists():
		candidate, canary := vacate(&d.candidate), vacate(&d.canary)
		d.current, d.accepted = d.start(target), false
		if d.recalled != nil {
			d.current.manifest, d.recalled, d.accepted = d.recalled, nil, true
		}
		d.record(Started, target.id, nil)
		d.do(publishView{})
		d.drop(candidate, canary)
	case d.current.is(target):
		candidate, canary := vacate(&d.candidate), vacate(&d.canary)
		d.adjust(&d.current, target.settings)
		d.recordFirst(Unchanged, target.id)
		d.updateClaimWith(canary.exists()) // before it is said that the settings are in effect
		d.do(publishView{})
		if canary.exists() {
			d.updateClaim() // after it got its last job: until then they are pinned
		}
		d.drop(candidate, canary)
	case d.canary.is(target):
		d.drop(vacate(&d.candidate))
		share, steps := d.share(), d.canary.settings.Rollout.Steps
		d.adjust(&d.canary, target.settings)
		rollout := target.settings.Rollout
		if !slices.Equal(steps, rollout.Steps) {
			d.stage = resumed(d.stage, share, rollout.Steps, d.now)
		}
		if whole := len(rollout.Steps) == 0 && rollout.Percent >= 100; whole || d.wanted.atOnce || d.stage.promoted {
			d.stage.promoted = !whole
			d.do(publishView{})
			d.swapTo(d.canary)
			return
		}
		d.recordFirst(Canary, target.id)
		d.updateClaim()
		d.do(publishView{})
	case d.candidate.is(target):
		d.adjust(&d.candidate, target.settings)
		if d.candidate.ready() { // it may have fewer instances to wait for
			d.advance()
			return
		}
		d.do(publishView{})
		d.updateClaim()
	default:
		d.drop(vacate(&d.candidate))
		d.candidate = d.start(target)
		d.emit(Event{Generation: target.id, State: EventSwapping, Was: Running, Cause: cmp.Or(d.wanted.because, "the configuration changed")}, false)
		d.do(publishView{})
		d.updateClaim()
	}
}

// beginRound forgets what failed before: it may work now. A rejected id stays rejected while the configuration names it, and a
// plugin refused while others own its task types.
func (d *decision) beginRound() {
	if !slices.Contains(d.rejected, d.wanted.id) || d.wanted.again {
		d.rejected = nil
	}
	d.round = d.wanted.round
	d.swapError, d.retrying = nil, false
	d.do(cancelRetry{d.wanted.settings.Restart})
}

// halt ends all that runs, until something else is wanted. What the plugin served stays listed, as while it restarts.
func (d *decision) halt() {
	if d.turn == turnOpen { // it holds up nobody
		d.turn = turnOver
		d.do(skipTurn{})
	}
	if d.halted {
		d.recordFirst(Halted, "")
		d.do(publishView{})
		return
	}
	if d.accepted {
		d.recalled = d.current.manifest
	}
	was := Starting
	if d.manifest != nil {
		was = Running
	}
	current, canary, candidate := vacate(&d.current), vacate(&d.canary), vacate(&d.candidate)
	d.halted, d.haltedAt, d.accepted, d.manifest = true, d.now, false, nil
	d.record(Halted, "", nil)
	d.do(publishView{})
	d.drop(current, canary, candidate)
	d.emit(Event{Generation: current.id, State: Stopped, Was: was, Cause: "an operator stopped it"}, false)
}

// target is what the plugin is moved to: what is configured, or, where that was rejected, what was before.
func (d *decision) target() revision {
	target := d.wanted.revision
	switch {
	case !slices.Contains(d.rejected, d.wanted.id):
	case d.canFallBack():
		target = d.previous
	case d.current.exists():
		target = d.current.revision
	}
	target.edition = d.wanted.edition
	return target
}

func (d *decision) canFallBack() bool {
	return d.previous.id != "" && !slices.Contains(d.rejected, d.previous.id)
}

// returning says that a generation is not a new one but comes back after another was rejected.
func (d *decision) returning(m member) bool {
	return len(d.rejected) > 0 && m.id == d.previous.id
}

func (o instanceUp) weigh(d *decision) {
	switch o.generation {
	case d.current.number:
		d.currentUp(o)
	case d.candidate.number:
		if d.candidate.manifest == nil {
			d.candidate.manifest, d.candidate.first = &o.manifest, &o.manifest
		}
		d.candidate.up = append(slices.Clip(d.candidate.up), o.instance)
		d.advance()
	}
}

// currentUp has the plugin claim what it serves, if that is news. A process that was started again claims nothing that its
// generation did not: whoever got it to crash may have got it to list more, too.
func (d *decision) currentUp(o instanceUp) {
	manifest, beyond := o.manifest, []plugin.Category(nil)
	if d.current.first == nil {
		d.current.first = &o.manifest
	} else if manifest, beyond = bounded(o.manifest, *d.current.first); len(manifest.Agents) == 0 {
		manifest = *d.current.manifest
	}
	known := d.accepted && d.manifest != nil && d.current.manifest != nil
	if known && sameAgents(*d.current.manifest, manifest) && slices.Equal(d.current.beyond, beyond) {
		return
	}
	d.current.manifest, d.current.beyond = &manifest, beyond
	d.do(d.claimOf(d.current, d.canary.exists())...)
}

// bounded is what of a manifest another lists too, and what it does not.
func bounded(m, bounds plugin.Manifest) (plugin.Manifest, []plugin.Category) {
	return split(m, func(c plugin.Category) bool {
		return slices.ContainsFunc(bounds.Agents, func(a plugin.Agent) bool { return slices.Contains(a.Categories, c) })
	})
}

// advance gives a candidate that is ready its share of new jobs, or all calls.
func (d *decision) advance() {
	if !d.candidate.ready() {
		return
	}
	rollout := d.candidate.settings.Rollout
	if len(rollout.Steps) == 0 && rollout.Percent >= 100 || !d.served() || d.returning(d.candidate) || d.wanted.atOnce || d.candidate.id == d.current.id {
		d.swapTo(d.candidate)
		return
	}
	before := d.canary
	d.canary, d.swapError = vacate(&d.candidate), nil
	d.stage = rolloutStage{began: d.now}
	d.record(Canary, d.canary.id, nil)
	d.updateClaim()     // its jobs are pinned from now on
	d.do(publishView{}) // after that, because now it gets jobs
	d.drop(before)
	d.tellStep()
}

// served says that the current generation has been up, not only a former one that is remembered.
func (d *decision) served() bool { return d.accepted && d.manifest != nil }

// swapTo has a generation claim its categories. All else waits for what comes of it, which may depend on other plugins.
func (d *decision) swapTo(m member) {
	steps := d.claimOf(m, false)
	last := len(steps) - 1
	claim := steps[last].(claimCategories) //nolint:forcetypeassert // it is the last of claimOf
	claim.swap = true
	d.do(append(steps[:last], claim)...)
}

// claimOf waits for the plugin's turn, if it has not had it: its first configuration may be superseded before it is up, so that
// is not only for its first generation. The last step is the claim.
func (d *decision) claimOf(m member, canary bool) []step {
	var steps []step
	if d.turn == turnOpen {
		d.turn = turnHeld
		steps = append(steps, awaitTurn{})
	}
	return append(steps, claimCategories{generation: m.number, manifest: *m.manifest, settings: m.settings, canary: canary})
}

func (o claimed) weigh(d *decision) {
	defer d.passTurn()
	if o.claim.recalled && o.claim.generation == d.current.number {
		d.listed(o.verdict)
		return
	}
	d.judge(o.verdict)
}

func (o judged) weigh(d *decision) {
	if o.generation != 0 {
		d.judge(o.verdict)
	}
}

// judge takes note of what came of a claim.
func (d *decision) judge(v verdict) {
	switch {
	case v.held:
		d.do(publishView{})
	case v.generation == d.current.number:
		d.granted(v)
	case v.generation == d.candidate.number && d.candidate.ready():
		d.swappedOrNot(&d.candidate, v)
	case v.generation == d.canary.number:
		d.swappedOrNot(&d.canary, v)
	case !v.none: // a generation that was retired when its claim took effect
		d.updateClaim()
	}
}

// granted says what the current generation serves.
func (d *decision) granted(v verdict) {
	was := d.refused
	if d.current.first == nil { // it is only remembered what it served
		return
	}
	news := !d.accepted || d.manifest != d.current.manifest
	if unserved := d.unservedOf(v); news || !slices.Equal(unserved, d.unserved) {
		d.unserved, d.refused = unserved, v.refusal()
		if d.refused != nil && was == nil {
			d.since = d.now
		}
		d.accepted, d.manifest = true, d.current.manifest
		d.do(publishView{}, rememberManifest{*d.manifest, runs(d.current.spec)})
		d.tellRefused(was)
	}
}

// unservedOf is what the current generation lists and does not serve.
func (d *decision) unservedOf(v verdict) []route.Unserved {
	unserved := v.unserved
	for _, category := range d.current.beyond {
		unserved = append(slices.Clip(unserved), route.Unserved{Category: category, Plugin: d.current.spec.Name, Why: route.NotOfGeneration})
	}
	return unserved
}

// tellRefused tells what the plugin does not serve, and when it has nothing to serve or, at last, something.
func (d *decision) tellRefused(was error) {
	switch {
	case d.refused != nil:
		d.emit(Event{Generation: d.current.id, State: Refused, Was: Running, Cause: d.refused.Error()}, true)
	case len(d.unserved) > 0:
		d.do(logWarning{"task types that the plugin lists are not served by it", errors.New(summary(d.unserved))})
	}
	if was != nil && d.refused == nil {
		d.emit(Event{Generation: d.current.id, State: Running, Was: Refused, Cause: "it has task types to serve"}, false)
	}
}

func (d *decision) swappedOrNot(m *member, v verdict) {
	if err := v.refusal(); err != nil {
		d.swapFailed(m, err)
		return
	}
	d.swapped(vacate(m), v)
}

// swapped makes a generation the current one: calls go to it, and the others drain.
func (d *decision) swapped(m member, v verdict) {
	was := d.refused
	old, canary, candidate := d.current, vacate(&d.canary), vacate(&d.candidate)
	if restarted := old.id == m.id; !restarted {
		if d.swappedAt = d.now; d.served() && old.exists() && !slices.Contains(d.rejected, old.id) {
			d.previous = old.revision
		}
	}
	d.current, d.accepted, d.manifest = m, true, m.manifest
	d.refused, d.swapError = nil, nil
	d.unserved = d.unservedOf(v)
	d.record(Swapped, m.id, nil)
	d.do(publishView{}, rememberManifest{*m.manifest, runs(m.spec)})
	d.drop(old, canary, candidate)
	d.emit(Event{Generation: m.id, State: EventSwapped, Was: EventSwapping, Cause: "it is ready"}, false)
	d.tellRefused(was)
	if d.round == d.wanted.round && !d.target().is(m.revision) {
		d.reconcile() // one that came back has taken the place of a rollout
	}
}

// swapFailed drops a candidate, or a canary that should have become current. What is current serves on. It is tried again
// later; in a conflict only another configuration helps.
func (d *decision) swapFailed(m *member, err error) {
	failed := vacate(m)
	d.swapError = err
	d.record(Failed, failed.id, err)
	d.do(publishView{})
	d.updateClaim()
	d.drop(failed)
	if conflict := (refusal{}); !errors.As(err, &conflict) {
		d.retrying = true
		d.do(scheduleRetry{})
	}
	d.emit(Event{Generation: failed.id, State: EventSwapFailed, Was: EventSwapping, Cause: err.Error()}, true)
}

func (o instanceFailed) weigh(d *decision) {
	switch o.generation {
	case d.current.number:
		d.currentFailed(o)
	case d.candidate.number:
		d.swapFailed(&d.candidate, o.err)
	case d.canary.number:
		if o.looping {
			d.withdraw(fmt.Errorf("generation %s crash-looped as canary and is withdrawn: %w", d.canary.id, o.err))
		}
	}
}

// A plugin that is still being pulled is given up for now: what it served before stays listed, and the others have their turn.
func (o pullLags) weigh(d *decision) {
	if o.generation == d.current.number && d.turn == turnOpen {
		d.turn = turnHeld
		d.do(awaitTurn{}, recallManifest{})
	}
}

func (d *decision) currentFailed(o instanceFailed) {
	settings := d.current.settings
	switch {
	case d.turn == turnOpen && d.givenUp(o):
		d.turn = turnHeld
		d.do(awaitTurn{}, recallManifest{})
	case o.looping && settings.Rollback && d.now.Sub(d.swappedAt) < settings.Probation &&
		d.canFallBack() && d.previous.id != d.current.id && !d.candidate.exists():
		d.fallBack(o.err)
	}
}

// givenUp says that the host shall not wait any longer for a plugin that does not start: trying again does not help, has
// not helped, or has taken start_timeout. A host that is ready without a plugin's task types makes Flyte send the plugin's
// jobs elsewhere, so one process that died is no reason to be.
func (d *decision) givenUp(o instanceFailed) bool {
	if failed := (*plugin.StartError)(nil); errors.As(o.err, &failed) {
		switch failed.Step {
		case plugin.StepPull, plugin.StepPrepare, plugin.StepLaunch, plugin.StepConfigure:
			return true
		}
	}
	return o.looping || d.now.Sub(d.born) > d.wanted.spec.StartTimeout
}

// What the plugin served before the host was restarted is listed, now that it does not start: calls wait for it, as they do for
// one that crashed while the host ran.
func (o recalled) weigh(d *decision) {
	if o.manifest == nil || !d.current.exists() {
		d.passTurn()
		return
	}
	d.current.manifest = o.manifest
	d.do(claimCategories{generation: d.current.number, manifest: *o.manifest, settings: d.current.settings, recalled: true})
}

// listed is what came of a claim with a remembered manifest.
func (d *decision) listed(v verdict) {
	if err := v.refusal(); err != nil {
		d.current.manifest, d.accepted = nil, false
		d.do(logWarning{notListed, err})
		return
	}
	d.accepted = true
	d.do(logWarning{"the plugin does not start: what it served before the host was restarted stays listed, and calls wait for it", nil})
}

// fallBack brings back what the current generation was swapped for.
func (d *decision) fallBack(err error) {
	failed := d.current.id
	d.reject(failed)
	d.swapError = fmt.Errorf("generation %s crash-looped within its probation; the one before it is coming back: %w", failed, err)
	d.candidate = d.start(d.previous)
	d.do(publishView{}, countRollback{})
	d.emit(Event{Generation: failed, State: EventRolledBack, Was: CrashLooping, Cause: d.swapError.Error()}, true)
}

// withdraw ends a rollout. What is current gets all calls again.
func (d *decision) withdraw(why error) {
	failed := vacate(&d.canary)
	d.reject(failed.id)
	if d.current.exists() && !slices.Contains(d.rejected, d.current.id) {
		d.previous = d.current.revision
	}
	d.swapError = why
	d.do(publishView{})
	d.updateClaim()
	d.drop(failed)
	d.do(countRollback{})
	d.emit(Event{Generation: failed.id, State: EventRolledBack, Was: EventCanary, Cause: d.swapError.Error()}, true)
}

func (d *decision) reject(id string) {
	if !slices.Contains(d.rejected, id) {
		d.rejected = append(slices.Clip(d.rejected), id)
	}
}

// remove takes the plugin's categories out of the table and then drains it.
func (d *decision) remove() {
	d.round = d.wanted.round
	if d.turn == turnOpen { // nobody waits for its first start any more
		d.turn = turnOver
		d.do(skipTurn{})
	}
	d.passTurn()
	switch {
	case d.stopping:
	case d.wanted.hostStops:
		d.stop()
	default:
		d.do(withdrawClaim{})
	}
}

func (left) weigh(d *decision) {
	d.do(forgetManifest{})
	d.stop()
}

// stop drains the plugin.
func (d *decision) stop() {
	d.stopping, d.since = true, d.now
	d.do(publishView{})
	d.drop(d.current, d.canary, d.candidate) // Status shows them until they are gone
	d.do(awaitDrain{})
}

func (drained) weigh(d *decision) {
	d.round, d.stopped, d.since = d.wanted.round, true, d.now
	d.record(Removed, "", nil)
	d.do(publishView{})
	d.emit(Event{State: Stopped, Was: Draining, Cause: "it is no longer wanted"}, false)
}

func (d *decision) do(steps ...step) { d.steps = append(d.steps, steps...) }

func (d *decision) emit(event Event, bad bool) { d.do(emitEvent{event, bad}) }

func (d *decision) start(r revision) member {
	d.started++
	r.edition = d.wanted.edition
	d.do(startGeneration{d.started, r})
	return member{revision: r, number: d.started}
}

// drop retires those generations that exist. One that calls can see is dropped after the state without it was published.
func (d *decision) drop(members ...member) {
	for _, m := range members {
		if m.exists() {
			d.do(retireGeneration{m.number})
		}
	}
}

// vacate takes a generation out of its role.
func vacate(role *member) member {
	m := *role
	*role = member{}
	return m
}

func (d *decision) adjust(m *member, settings config.Plugin) {
	m.settings = settings
	m.up = slices.DeleteFunc(slices.Clone(m.up), func(instance int) bool { return instance >= m.instances() })
	d.do(adjustGeneration{m.number, settings})
}

// updateClaim puts what has changed of the current generation's settings, or about the canary, into the route table.
func (d *decision) updateClaim() { d.updateClaimWith(d.canary.exists()) }

// updateClaimWith is updateClaim where there is a canary, or is not, for calls that go by the view that is published.
func (d *decision) updateClaimWith(canary bool) {
	if d.accepted && d.current.exists() {
		d.do(updateClaim{claimCategories{generation: d.current.number, manifest: *d.current.manifest, settings: d.current.settings, canary: canary}})
	}
}

func (d *decision) passTurn() {
	if d.turn == turnHeld {
		d.turn = turnOver
		d.do(passTurn{})
	}
}

// record notes what came of the round.
func (d *decision) record(action Action, id string, err error) {
	d.outcome = Outcome{Action: action, Generation: id, Err: err, round: d.round}
}

// recordFirst is record for a round that has no outcome yet: what holds already is none of a later look's doing.
func (d *decision) recordFirst(action Action, id string) {
	if d.outcome.round != d.round {
		d.record(action, id, nil)
	}
}

// sameAgents says whether two manifests list the same.
func sameAgents(a, b plugin.Manifest) bool {
	return reflect.DeepEqual(a.Agents, b.Agents) && slices.Equal(a.Capabilities, b.Capabilities) &&
		maps.EqualFunc(a.CategoryCapabilities, b.CategoryCapabilities, slices.Equal)
}
