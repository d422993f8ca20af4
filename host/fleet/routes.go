package fleet

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/route"
)

// routes is who serves which task category: what the route table is built from. A change builds the table once, and publishes
// what it built; where nothing changes, nothing is built.
type routes struct {
	current *route.Current

	mu    sync.Mutex
	rules route.Rules
	// In the order of acceptance: who holds a category keeps it.
	claims []route.Claim
	// Those of the published table: a rule that is gone can leave two plugins in conflict, of which the older one serves.
	conflicts []route.Conflict
	removed   []route.Removed // the latest last
	// early are those, with their names, whose claims came before their turn, being remembered.
	early map[route.Target]string
}

// setRules makes rules those of the table.
func (r *routes) setRules(rules route.Rules) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reflect.DeepEqual(r.rules, rules) {
		return
	}
	r.rules = rules
	r.publish(r.build(r.claims))
}

// claim puts a plugin's claim in the place of its last one. It fails with a route.Conflict, and changes nothing, where another
// plugin serves one of its categories. A conflict that was there before is no reason: it is between others, or this plugin is
// the one that serves on.
//
// Of two in conflict the same one is to serve on every host, whatever each remembers: a plugin whose claim came before its turn
// gives way to one whose turn is before its own.
func (r *routes) claim(claim route.Claim) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	claims := slices.Clone(r.claims)
	if i := slices.IndexFunc(claims, func(c route.Claim) bool { return c.Target == claim.Target }); i < 0 {
		claims = append(claims, claim)
	} else if claims[i] = claim; reflect.DeepEqual(r.claims[i], claim) {
		return nil
	}
	next := r.build(claims)
	for {
		conflict, ok := r.newConflict(next, claim)
		if !ok {
			break
		}
		rivals := r.yielding(conflict, claim.Target)
		if len(rivals) == 0 {
			return conflict
		}
		for _, rival := range rivals {
			if loser, ok := rival.(*supervisor); ok {
				loser.lose(route.Conflict{Category: conflict.Category, Owner: claim.Target.Plugin(), Claims: loser.name})
			}
			delete(r.early, rival)
		}
		next = r.build(slices.DeleteFunc(next.claims, func(c route.Claim) bool { return slices.Contains(rivals, c.Target) }))
	}
	r.publish(next)
	return nil
}

// claimEarly is claim for a plugin whose turn has not come.
func (r *routes) claimEarly(claim route.Claim) error {
	if err := r.claim(claim); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.early == nil {
		r.early = map[route.Target]string{}
	}
	r.early[claim.Target] = claim.Target.Plugin()
	return nil
}

// confirm says that a plugin's turn has come: it keeps what it claims.
func (r *routes) confirm(target route.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.early, target)
}

// newConflict is one that a claim would bring.
func (r *routes) newConflict(next built, claim route.Claim) (route.Conflict, bool) {
	for _, c := range next.conflicts {
		name := claim.Target.Plugin()
		if c.Claims == name || c.Owner == name && !slices.Contains(r.conflicts, c) {
			return c, true
		}
	}
	return route.Conflict{}, false
}

// yielding are those whose claims give way in a conflict with a plugin.
func (r *routes) yielding(c route.Conflict, with route.Target) (rivals []route.Target) {
	name := with.Plugin()
	for target, rival := range r.early {
		if target != with && rival > name && (rival == c.Owner || rival == c.Claims) {
			rivals = append(rivals, target)
		}
	}
	return rivals
}

// withdraw takes the claim of a removed plugin out of the table, which remembers it for grace.
func (r *routes) withdraw(target route.Target, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.claims, func(c route.Claim) bool { return c.Target == target })
	if i < 0 {
		return
	}
	now := time.Now()
	r.removed = slices.DeleteFunc(slices.Clone(r.removed), func(gone route.Removed) bool {
		return !now.Before(gone.Until) || gone.Plugin == target.Plugin()
	})
	delete(r.early, target)
	r.removed = append(r.removed, route.Removed{Plugin: target.Plugin(), Manifest: r.claims[i].Manifest, At: now, Until: now.Add(grace)})
	r.publish(r.build(slices.Delete(slices.Clone(r.claims), i, i+1)))
}

// built is a table and what it was built from.
type built struct {
	table     *route.Table
	claims    []route.Claim
	conflicts []route.Conflict
}

func (r *routes) build(claims []route.Claim) built {
	table, conflicts := r.rules.TableAfter(r.removed, claims...)
	return built{table, claims, conflicts}
}

func (r *routes) publish(next built) {
	r.claims, r.conflicts = next.claims, next.conflicts
	r.current.Publish(next.table)
}

func rulesOf(settings *config.Config) route.Rules {
	var rules route.Rules
	for _, r := range settings.Routes {
		rules = append(rules, route.Rule{Task: r.Task, Version: r.Version, Project: r.Project, Domain: r.Domain, Plugin: r.Plugin})
	}
	return rules
}
