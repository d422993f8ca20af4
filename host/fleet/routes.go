package fleet

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// routes is who serves which task category: what the route table is built from. A change builds the table once, and publishes
// what it built; where nothing changes, nothing is built.
//
// A plugin claims what it lists, and keeps claiming what another owns (package route says who does): when that one's claim ends,
// it has it at once. A generation that is about to be swapped in may list other task types than the one before, and those that come
// and go may be another plugin's that is about to be swapped too: its claim is held until it is known what comes of the others, and
// those that belong together take effect in one table. Until then the generations before serve, so no call falls between two.
type routes struct {
	current *route.Current
	// keep remembers the owners until the next start of the host; it may be nil.
	keep func(route.Owners)

	mu      sync.Mutex
	rules   route.Rules
	owners  route.Owners
	plugins map[string]*standing    // by name
	removed []route.Removed         // the latest last
	grace   time.Duration           // for what a plugin drops
	last    route.Assignment        // of the published table
	inForce map[string]*route.Claim // what that was built from, by plugin
}

// standing is what is known of one plugin.
type standing struct {
	holder     holder
	claim      *route.Claim // in force; nil: none
	generation int          // whose it is
	held       *route.Claim // that of a generation that is ready, and waits for other plugins
	heldBy     int          // the generation
	leaving    bool         // it was removed, and waits for other plugins
	moving     int          // the round of which it is not known yet what it does to the plugin; 0: it is
	verdict    verdict      // on the claim in force
	refused    verdict      // on the last claim that waited, where nothing would have been left
}

// holder is who claims: a supervisor.
type holder interface {
	// heard says that there is a verdict which the holder has not been given.
	heard()
}

// verdict is what came of a claim.
type verdict struct {
	generation int
	// held says that more depends on what comes of other plugins; a verdict follows.
	held bool
	// unserved is what others serve of what was claimed, or nobody may; none says that nothing is left.
	unserved []route.Unserved
	none     bool
}

func (v verdict) same(as verdict) bool {
	return v.generation == as.generation && v.held == as.held && v.none == as.none && slices.Equal(v.unserved, as.unserved)
}

// refusal is the error of a plugin that has nothing to serve.
func (v verdict) refusal() error {
	if !v.none {
		return nil
	}
	return refusal{v.unserved}
}

// refusal is why a plugin serves nothing at all.
type refusal struct{ unserved []route.Unserved }

func (r refusal) Error() string { return summary(r.unserved) }

func (r refusal) Unwrap() []error {
	errs := make([]error, len(r.unserved))
	for i, u := range r.unserved {
		errs[i] = u
	}
	return errs
}

// summary names some of what is not served.
func summary(unserved []route.Unserved) string {
	const shown = 3
	var texts []string
	for _, u := range unserved[:min(shown, len(unserved))] {
		texts = append(texts, u.Error())
	}
	if more := len(unserved) - shown; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

// begin says that a round begins, of which it is not known yet what it does to the plugins of these names. Rules take effect at once.
func (r *routes) begin(round int, rules route.Rules, grace time.Duration, holders map[string]holder, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grace = grace
	for name, holder := range holders {
		st := r.plugins[name]
		if st == nil || st.holder != holder {
			if st != nil { // that one leaves
				r.end(name)
			}
			st = &standing{holder: holder}
			if r.plugins == nil {
				r.plugins = map[string]*standing{}
			}
			r.plugins[name] = st
		}
		if slices.Contains(names, name) {
			st.moving = round
		}
	}
	for name, st := range r.plugins {
		if holders[name] == nil { // it is to go
			st.moving = round
		}
	}
	if !reflect.DeepEqual(r.rules, rules) {
		r.rules = rules
		r.publish(nil)
	}
}

// decided says that it is known what a round did to a plugin.
func (r *routes) decided(name string, of holder, round int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.plugins[name]; st != nil && st.holder == of && st.moving != 0 && st.moving <= round {
		st.moving = 0
		r.commit()
		r.judge()
	}
}

// expect holds what a plugin owned for it that has not said yet what it serves.
func (r *routes) expect(name string, only []route.TaskType, target route.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var agent plugin.Agent
	for task, owner := range r.owners {
		if owner == name {
			agent.Categories = append(agent.Categories, plugin.Category{Name: task})
		}
	}
	if st := r.plugins[name]; st != nil && st.claim == nil && len(agent.Categories) > 0 {
		st.claim = &route.Claim{Target: target, Only: only, Expected: true, Manifest: plugin.Manifest{Agents: []plugin.Agent{agent}}}
		r.publish(nil)
	}
}

// unexpect ends that: the plugin has had its time to say so.
func (r *routes) unexpect(name string, of holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.plugins[name]; st != nil && st.holder == of && st.claim != nil && st.claim.Expected && st.held == nil {
		r.disown(name)
		st.claim = nil
		r.publish(nil)
		r.commit()
	}
}

// claim puts a plugin's claim in the place of its last one: at once or, in a swap, when it is known what comes of the plugins that
// have to do with it. Generation 0 is one that is only remembered.
func (r *routes) claim(of holder, generation int, claim route.Claim, swap bool) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := claim.Target.Plugin()
	st := r.plugins[name]
	if st == nil || st.holder != of { // another is in its place: this one leaves
		return verdict{generation: generation}
	}
	if r.tooLong(name, claim) {
		return verdict{generation: generation, none: true, unserved: []route.Unserved{{Category: claim.Manifest.Agents[0].Categories[0], Plugin: name, Why: route.ListTooLong}}}
	}
	if swap && st.generation != 0 && st.generation != generation {
		st.held, st.heldBy, st.refused, st.moving = &claim, generation, verdict{}, 0
		r.commit()
		switch {
		case st.held != nil:
			return verdict{generation: generation, held: true}
		case st.refused.none:
			return st.refused
		}
		return st.verdict
	}
	if st.claim == nil || st.generation != generation || !sameClaim(*st.claim, claim) {
		st.claim, st.generation = &claim, generation
		if !r.commit() { // a claim that waited for what this one gives up takes effect in the same table
			r.publish(nil)
		}
	}
	return st.verdict
}

// tooLong says that a claim makes the list of all task types longer than Flyte's clients can read, and the plugin's own longer than it was.
func (r *routes) tooLong(name string, claim route.Claim) bool {
	size, former := route.ListSize(claim.Manifest), 0
	all := size
	for other, st := range r.plugins {
		switch {
		case st.claim == nil:
		case other == name:
			former = route.ListSize(st.claim.Manifest)
		default:
			all += route.ListSize(st.claim.Manifest)
		}
	}
	return all > route.MaxListSize && size > former && len(claim.Manifest.Agents) > 0
}

func sameClaim(a, b route.Claim) bool {
	if a.Target != b.Target {
		return false
	}
	a.Target, b.Target = nil, nil
	return reflect.DeepEqual(a, b)
}

// release ends the waiting of a generation that is retired.
func (r *routes) release(name string, of holder, generation int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.plugins[name]; st != nil && st.holder == of && st.heldBy == generation && st.held != nil {
		st.held = nil
		r.commit()
		r.judge()
	}
}

// verdicts are those on a plugin's claim in force and on its last one that waited.
func (r *routes) verdicts(name string, of holder) (inForce, refused verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.plugins[name]; st != nil && st.holder == of {
		return st.verdict, st.refused
	}
	return verdict{}, verdict{}
}

// leave takes the claim of a removed plugin out of the table, which remembers it for a while. It returns true where that waits for what
// comes of plugins that may take its task types over: then the plugin is told, and serves meanwhile.
func (r *routes) leave(name string, of holder) (waits bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.plugins[name]
	if st == nil || st.holder != of {
		return false
	}
	st.leaving, st.held, st.moving = true, nil, 0
	r.commit()
	r.judge()
	return r.plugins[name] == st
}

// end is leave that waits for nobody, while mu is held.
func (r *routes) end(name string) {
	st := r.plugins[name]
	st.leaving, st.held = true, nil
	r.publish([]string{name})
}

// part drops a plugin that leaves, and notes what it served.
func (r *routes) part(name string) {
	served, claim, st := r.served(name), r.inForce[name], r.plugins[name]
	delete(r.plugins, name)
	r.disown(name)
	st.holder.heard()
	now := time.Now()
	r.removed = slices.DeleteFunc(slices.Clone(r.removed), func(gone route.Removed) bool {
		return !now.Before(gone.Until) || gone.Plugin == name
	})
	if claim == nil {
		return
	}
	if manifest := restricted(claim.Manifest, func(c plugin.Category) bool { return served[c] }); len(manifest.Agents) > 0 {
		r.removed = append(r.removed, route.Removed{Plugin: name, Manifest: manifest, At: now, Until: now.Add(r.grace)})
	}
}

// disown ends what a plugin owns.
func (r *routes) disown(name string) {
	r.owners = maps.Clone(r.owners)
	maps.DeleteFunc(r.owners, func(_, owner string) bool { return owner == name })
}

// served is what a plugin serves by the published table.
func (r *routes) served(name string) map[plugin.Category]bool {
	served := map[plugin.Category]bool{}
	claim := r.inForce[name]
	if claim == nil || claim.Expected {
		return served
	}
	for _, agent := range claim.Manifest.Agents {
		for _, category := range agent.Categories {
			if r.serves(name, category) {
				served[category] = true
			}
		}
	}
	return served
}

// serves says that a plugin serves a category by the published table.
func (r *routes) serves(name string, category plugin.Category) bool {
	found, ok := r.last.Table.LookupIn(name, category)
	return ok && found.Category == category
}

// restricted is a manifest with some of its categories.
func restricted(m plugin.Manifest, keep func(plugin.Category) bool) plugin.Manifest {
	remaining, _ := split(m, keep)
	return remaining
}

// split is a manifest with those of its categories that are to stay, and the others.
func split(m plugin.Manifest, keep func(plugin.Category) bool) (remaining plugin.Manifest, others []plugin.Category) {
	remaining = m
	remaining.Agents = nil
	for _, agent := range m.Agents {
		categories := agent.Categories
		agent.Categories = nil
		for _, category := range categories {
			if keep(category) {
				agent.Categories = append(agent.Categories, category)
			} else {
				others = append(others, category)
			}
		}
		if len(agent.Categories) > 0 {
			remaining.Agents = append(remaining.Agents, agent)
		}
	}
	return remaining, others
}

// assign says who serves what if the held claims of some plugins take effect.
func (r *routes) assign(committed []string) route.Assignment {
	return r.rules.Assign(r.owners, r.removed, slices.Collect(maps.Values(r.claims(committed))))
}

// claims are those in force if the held ones of some plugins take effect.
func (r *routes) claims(committed []string) map[string]*route.Claim {
	claims := make(map[string]*route.Claim, len(r.plugins))
	for name, st := range r.plugins {
		switch {
		case slices.Contains(committed, name) && st.leaving:
		case slices.Contains(committed, name):
			claims[name] = st.held
		case st.claim != nil:
			claims[name] = st.claim
		}
	}
	return claims
}

// commit lets the held claims take effect that need not wait any longer, and returns whether there were some.
func (r *routes) commit() bool {
	var held []string
	for name, st := range r.plugins {
		if st.held != nil || st.leaving {
			held = append(held, name)
		}
	}
	if len(held) == 0 {
		return false
	}
	slices.Sort(held)
	ready := slices.Clone(held)
	next := r.assign(ready)
	for len(ready) > 0 {
		waiting := slices.DeleteFunc(slices.Clone(ready), func(name string) bool { return !r.waits(name, ready, next) })
		if len(waiting) == 0 {
			break
		}
		ready = slices.DeleteFunc(ready, func(name string) bool { return slices.Contains(waiting, name) })
		next = r.assign(ready)
	}
	if len(ready) < len(held) && !r.moving() {
		ready = held // it does not get better
		next = r.assign(ready)
	}
	if ready, next = r.refuse(ready, next); len(ready) > 0 {
		r.put(ready, next)
		return true
	}
	return false
}

// moving says that there are plugins of which it is not known yet what the round does to them.
func (r *routes) moving() bool {
	for _, st := range r.plugins {
		if st.moving != 0 {
			return true
		}
	}
	return false
}

// waits says that a held claim has to do with plugins of which it is not known yet what comes of them: one of them has what it
// claims, or may be about to claim what it drops.
func (r *routes) waits(name string, ready []string, next route.Assignment) bool {
	undecided := func(other string) bool {
		return other != name && !slices.Contains(ready, other) && r.undecided(other)
	}
	for _, u := range next.Of(name) {
		if u.Why != route.NotAllowed && undecided(u.Owner) {
			return true
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(r.plugins)), undecided) {
		return false
	}
	for category := range r.served(name) {
		if _, ok := next.Table.Lookup(plugin.Category{Name: category.Name}); !ok {
			return true
		}
	}
	return false
}

// undecided says that it is not known yet what a plugin claims in this round.
func (r *routes) undecided(name string) bool {
	st := r.plugins[name]
	return st != nil && (st.moving != 0 || st.held != nil || st.leaving)
}

// refuse leaves out of the claims that are to take effect those by which a generation that serves would be swapped for one with
// nothing to serve, and gives them their verdict. next is what the claims make of the table.
func (r *routes) refuse(ready []string, next route.Assignment) ([]string, route.Assignment) {
	for again := true; again; {
		again = false
		for _, name := range ready {
			st := r.plugins[name]
			if st.leaving {
				continue
			}
			v := verdictIn(next, *st.held, st.heldBy)
			if !v.none {
				continue
			}
			st.held, st.refused = nil, v
			st.holder.heard()
			ready = slices.DeleteFunc(slices.Clone(ready), func(other string) bool { return other == name })
			next, again = r.assign(ready), true
			break
		}
	}
	return ready, next
}

func verdictIn(a route.Assignment, claim route.Claim, generation int) verdict {
	v := verdict{generation: generation, unserved: a.Of(claim.Target.Plugin())}
	listed := 0
	for _, agent := range claim.Manifest.Agents {
		listed += len(agent.Categories)
	}
	v.none = len(v.unserved) >= listed
	return v
}

// publish builds the table, with the held claims of some plugins in effect and those that leave gone, and publishes it.
func (r *routes) publish(committed []string) { r.put(committed, r.assign(committed)) }

// put publishes what assign made of the held claims of some plugins.
func (r *routes) put(committed []string, next route.Assignment) {
	parted := false
	for _, name := range committed {
		if st := r.plugins[name]; st.leaving {
			r.part(name)
			parted = true
		} else {
			st.claim, st.generation, st.held = st.held, st.heldBy, nil
		}
	}
	dropped := r.dropped(next.Table)
	if len(dropped) > 0 && r.grace > 0 {
		r.removed = append(r.withoutOld(dropped), dropped...)
	}
	if parted || len(dropped) > 0 {
		next = r.assign(nil)
	}
	if !maps.Equal(r.owners, next.Owners) && r.keep != nil {
		r.keep(next.Owners)
	}
	r.owners, r.last, r.inForce = next.Owners, next, r.claims(nil)
	r.current.Publish(next.Table)
	r.judge()
}

// judge gives the verdicts on the claims in force, where they have changed.
func (r *routes) judge() {
	for _, st := range r.plugins {
		if st.claim == nil || st.claim.Expected {
			continue
		}
		v := verdictIn(r.last, *st.claim, st.generation)
		v.held = v.none && slices.ContainsFunc(v.unserved, func(u route.Unserved) bool { return r.undecided(u.Owner) })
		if !v.same(st.verdict) {
			st.verdict = v
			st.holder.heard()
		}
	}
}

// dropped is what plugins that are there serve now and, by the next table, nobody does: it stays listed for a while.
func (r *routes) dropped(next *route.Table) (dropped []route.Removed) {
	now := time.Now()
	for name := range r.plugins {
		claim := r.inForce[name]
		if claim == nil || claim.Expected {
			continue
		}
		gone := restricted(claim.Manifest, func(category plugin.Category) bool {
			_, listed := next.Lookup(plugin.Category{Name: category.Name})
			return !listed && r.serves(name, category)
		})
		if len(gone.Agents) > 0 {
			dropped = append(dropped, route.Removed{Plugin: name, Manifest: gone, Dropped: true, At: now, Until: now.Add(r.grace)})
		}
	}
	slices.SortFunc(dropped, func(a, b route.Removed) int { return strings.Compare(a.Plugin, b.Plugin) })
	return dropped
}

// withoutOld is what was removed before, without what is over or dropped once more.
func (r *routes) withoutOld(dropped []route.Removed) []route.Removed {
	again := map[plugin.Category]bool{}
	for _, d := range dropped {
		for _, agent := range d.Manifest.Agents {
			for _, category := range agent.Categories {
				again[category] = true
			}
		}
	}
	var remaining []route.Removed
	for _, old := range r.removed {
		if old.Dropped {
			old.Manifest, _ = split(old.Manifest, func(c plugin.Category) bool { return !again[c] })
		}
		if time.Now().Before(old.Until) && len(old.Manifest.Agents) > 0 {
			remaining = append(remaining, old)
		}
	}
	return remaining
}

func rulesOf(settings *config.Config) route.Rules {
	var rules route.Rules
	for i, r := range settings.Routes {
		rules = append(rules, route.Rule{
			Task: r.Task, Version: r.Version, Project: r.Project, Domain: r.Domain, Plugin: r.Plugin, At: settings.Origin("routes", strconv.Itoa(i)).String(),
		})
	}
	return rules
}
