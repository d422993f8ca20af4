// Package route says which plugin answers for a task category.
//
// A Table is immutable. The fleet builds a new one whenever a plugin's manifest is accepted and publishes it; the
// gateway reads the current one for every call. Neither ever waits for the other.
package route

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/plugin"
)

// Target is a plugin as the gateway sees it: something that, now or shortly, has a connection for a call.
type Target interface {
	// Plugin is the plugin's name in the configuration.
	Plugin() string
	// TryAcquire returns a connection to a running instance, if there is one now. The caller releases the lease when
	// its call is over.
	TryAcquire(Want) (lease Lease, ok bool)
	// Acquire is TryAcquire, but waits for an instance while the plugin starts or restarts, until ctx ends. The error
	// then says what the plugin is busy with.
	Acquire(context.Context, Want) (Lease, error)
	// Trouble says why no instance could take a call now; ok is false where one could. It waits for nothing.
	Trouble() (trouble Trouble, ok bool)
}

// Trouble is why a plugin can take no call.
type Trouble struct {
	// Since is when it last could or, where it never could, when it was first wanted.
	Since time.Time
	// Reason names the plugin and what is the matter, in equal words where that is equal: Flyte groups errors by their text.
	Reason string
}

func (t Trouble) Error() string { return t.Reason }

// Want says which of a plugin's generations a call should go to. The zero value is any call about a job that is not
// pinned: the current generation.
type Want struct {
	// Generation is the generation that made the job, as its Lease said. While it lives the call goes there; once it is
	// gone, to the current one.
	Generation string
	// New says that the call makes a job: a rollout may send it to the canary.
	New bool
	// Call is what kind of call it is, for the tally of a generation that had no instance for it.
	Call Call
}

// Lease is the right to make one call on one instance. The instance is not stopped while leases on it are held, up to
// the plugin's drain timeout.
type Lease struct {
	// Generation names the generation of the instance: the same for equal specs, on every host.
	Generation string
	// Pin says that a job made there has to be polled there, whatever the Route says that the call came by: the generation is
	// the canary, and may have become so in between.
	Pin bool
	// Instance says which it is, for people; nil where that is not known.
	Instance *Instance
	// Tally is the generation's, which is told what the call comes to. Nil: nobody counts.
	Tally *Tally
	// Conn is the connection to the instance.
	Conn grpc.ClientConnInterface
	// Remote is set where the instance is servers elsewhere. A process of the host's can be reached as long as it lives.
	Remote Remote
	// Watched knows whether the instance answers; nil: nobody does.
	Watched Watched
	// Ended is closed when the instance's process has ended: an error of a call may then be put down to that.
	Ended <-chan struct{}
	// Release gives the lease back. It must be called exactly once.
	Release func()
}

// Instance names an instance: the same one for all leases on it.
type Instance struct {
	Generation string
	// PID is its process; 0 where it runs elsewhere.
	PID int
}

// Watched is somebody of whom it is known whether he answers.
type Watched interface {
	// Silent says since when and in what he does not answer; ok is false where he does. It waits for nothing.
	Silent() (trouble Trouble, ok bool)
}

// Reachable says whether a call would find a connection now.
func (l Lease) Reachable() bool { return l.Remote == nil || l.Remote.Reachable() }

// Remote is servers that can be out of reach for a while.
type Remote interface {
	// Reachable says whether one of them can be reached now.
	Reachable() bool
	// Reach waits until one of them can be, and says why none can when ctx or the instance ends first.
	Reach(ctx context.Context) error
}

// Route is what the table knows of one task category.
type Route struct {
	Category plugin.Category
	// Sync says that ExecuteTaskSync is the way to call it, and no method of the async service.
	Sync bool
	// ByTaskType says that the agent listed the category only under the deprecated supported_task_types, so that it
	// looks for the deprecated task_type in requests.
	ByTaskType bool
	// IdempotentCreate says that CreateTask may be repeated under one idempotency key.
	IdempotentCreate bool
	// FindByKey says that the plugin finds the job of an attempt by its idempotency key, and gives attempts up.
	FindByKey bool
	// KeepsUnclaimed says that a job stays whose creation nobody got the answer to.
	KeepsUnclaimed bool
	// Pinned says that a job has to be polled where it was made: the gateway wraps its resource_meta with the plugin's
	// name and the generation.
	Pinned bool
	Policy Policy
	// Agent is the name under which the plugin lists the category.
	Agent  string
	Target Target
}

// Policy is what a plugin's configuration says of calls to it. All categories of a plugin have the same. The zero value
// asks for nothing.
type Policy struct {
	// MinInterval is for how long the answer to a poll stands: repeated polls of a job within it are answered without the
	// plugin. Zero: every poll goes to the plugin.
	MinInterval time.Duration
	// MaxStale is for how long failing polls of a job are answered with its last known status. Zero: errors pass.
	MaxStale time.Duration

	// Concurrency is how many calls of CreateTask and ExecuteTaskSync may be under way. Zero: any number.
	Concurrency int
	// Wait is how long such a call may wait for its place, within its deadline. Zero: it is refused at once.
	Wait time.Duration
	// Rate is how many calls of any kind the plugin gets in a second. Zero: any number.
	Rate float64
	// Burst is how many of them may come at once. Less than one counts as one.
	Burst int
}

// Claim is one plugin's say: these are my agents. Policy becomes that of its routes.
type Claim struct {
	Target   Target
	Manifest plugin.Manifest
	Policy   Policy
	// Pinned pins the plugin's jobs. NeverPinned keeps them from being pinned, which rules would ask for.
	Pinned, NeverPinned bool
	// Only is what the configuration lets the plugin serve of what it lists; nil: all.
	Only []TaskType
	// Expected says that the plugin has not said yet what it serves, and Manifest is what it served before: what it owns is held
	// for it, and not served meanwhile.
	Expected bool
}

// Removed is a plugin that was taken out of the configuration a short while ago: its categories are not unknown, and it may
// have been a mistake. Or it is one that lists some of its categories no longer.
type Removed struct {
	// Plugin is the plugin's name, Manifest what it served.
	Plugin   string
	Manifest plugin.Manifest
	// Dropped says that the plugin is there, and has dropped what Manifest lists.
	Dropped bool
	// At is when it was taken out, and Until for how long it counts as just removed.
	At, Until time.Time
}

// Reason is why the plugin can take no call, in the same words for all.
func (r Removed) Reason() string {
	if r.Dropped {
		return fmt.Sprintf("plugin %q does not list it any more", r.Plugin)
	}
	return fmt.Sprintf("plugin %q was taken out of the configuration", r.Plugin)
}

// Table maps task categories to plugins. The zero value is an empty table.
type Table struct {
	removed []Removed          // the latest last
	byName  map[string][]Route // ascending by version
	rules   Rules
	owners  Owners
	agents  []Agent
	// because is why the owners own, and unserved what plugins list in vain: for who asks why.
	because  map[string]Because
	unserved []Unserved
}

// NewTable builds a table without rules.
func NewTable(claims ...Claim) (*Table, []Unserved) { return Rules(nil).Table(claims...) }

// Table builds a table from claims. Where two plugins claim one task type and nothing tells them apart, it belongs to the first by
// name.
func (rs Rules) Table(claims ...Claim) (*Table, []Unserved) { return rs.TableAfter(nil, claims...) }

// TableAfter is Table where plugins were removed before, the latest last.
func (rs Rules) TableAfter(removed []Removed, claims ...Claim) (*Table, []Unserved) {
	a := rs.Assign(nil, removed, each(claims))
	return a.Table, a.Unserved
}

func each(claims []Claim) []*Claim {
	all := make([]*Claim, len(claims))
	for i := range claims {
		all[i] = &claims[i]
	}
	return all
}

func (t *Table) add(claim *Claim, agent *plugin.Agent, category plugin.Category) {
	t.byName[category.Name] = append(t.byName[category.Name], Route{
		Category:         category,
		Sync:             agent.Sync,
		ByTaskType:       agent.ByTaskType,
		IdempotentCreate: claim.Manifest.IdempotentCreate(category),
		FindByKey:        claim.Manifest.FindByKey(category),
		KeepsUnclaimed:   claim.Manifest.KeepsUnclaimed(category),
		Pinned:           !claim.NeverPinned && (claim.Pinned || t.rules.about(category.Name)),
		Policy:           claim.Policy,
		Agent:            agent.Name,
		Target:           claim.Target,
	})
}

// finish makes what calls read of what was added.
func (t *Table) finish() {
	for _, routes := range t.byName {
		slices.SortStableFunc(routes, func(a, b Route) int { return cmp.Compare(a.Category.Version, b.Category.Version) })
	}
	t.agents = list(t.byName)
}

// Lookup finds who answers for a category: the plugin that the task type belongs to, or to which a rule gives all of the
// category's tasks, with the exact version, else the highest version of the name. FlytePropeller forgets all versions of a name
// but one and still asks for what the task says, so the choice of version has to be made here.
func (t *Table) Lookup(category plugin.Category) (Route, bool) {
	if name := t.rules.decider(category); name != "" {
		if found, ok := t.LookupIn(name, category); ok {
			return found, true
		}
	}
	if found, ok := t.LookupIn(t.owners[category.Name], category); ok || !t.rules.about(category.Name) {
		return found, ok
	}
	return t.best(category, func(*Route) bool { return true })
}

// LookupNew is Lookup for a task that is to begin in a project and domain: the first rule that fits it says
// where it goes. ok is false also where rules fit other tasks of the category only.
func (t *Table) LookupNew(category plugin.Category, project, domain string) (Route, bool) {
	found, _, ok := t.lookupNew(category, project, domain)
	return found, ok
}

// lookupNew is LookupNew, and gives the rule that decided; -1 where none did.
func (t *Table) lookupNew(category plugin.Category, project, domain string) (found Route, rule int, ok bool) {
	for i, r := range t.rules {
		if !r.fits(category, project, domain) {
			continue
		}
		if found, ok := t.LookupIn(r.Plugin, category); ok {
			return found, i, true
		}
	}
	found, ok = t.LookupIn(t.owners[category.Name], category)
	return found, -1, ok
}

// LookupIn is Lookup among the routes of one plugin: for jobs that say which plugin made them.
func (t *Table) LookupIn(pluginName string, category plugin.Category) (Route, bool) {
	return t.best(category, func(r *Route) bool { return r.Target.Plugin() == pluginName })
}

func (t *Table) best(category plugin.Category, eligible func(*Route) bool) (Route, bool) {
	var best *Route
	routes := t.byName[category.Name] // ascending by version
	for i := range routes {
		if !eligible(&routes[i]) {
			continue
		}
		best = &routes[i] // G2
		if best.Category.Version == category.Version {
			break
		}
	}
	if best == nil {
		return Route{}, false
	}
	return *best, true
}

// Removed finds the plugin that served a category, in whatever version, until it was removed. It is for categories that Lookup
// does not find.
func (t *Table) Removed(category plugin.Category) (Removed, bool) {
	for _, removed := range slices.Backward(t.removed) {
		for _, agent := range removed.Manifest.Agents {
			served := slices.ContainsFunc(agent.Categories, func(c plugin.Category) bool { return c.Name == category.Name })
			if served && time.Now().Before(removed.Until) {
				return removed, true
			}
		}
	}
	return Removed{}, false
}

// Each calls f with every route of the table, in no order.
func (t *Table) Each(f func(Route)) {
	for _, routes := range t.byName {
		for _, r := range routes {
			f(r)
		}
	}
}

// AllRemoved are the plugins that were taken out a short while ago, and those that have dropped some of their categories, the latest
// last.
func (t *Table) AllRemoved() []Removed {
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(t.removed), func(r Removed) bool { return !now.Before(r.Until) })
}

// Names returns the names of all categories, sorted.
func (t *Table) Names() []string {
	names := make([]string, 0, len(t.byName))
	for name := range t.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Current is the place where the fleet publishes and the gateway reads. The zero value has an empty table.
type Current struct {
	table atomic.Pointer[Table]

	mu      sync.Mutex
	changed chan struct{} // closed by the next Publish; nil where nobody waits for it
}

// Publish makes table the one that calls see from now on.
func (c *Current) Publish(table *Table) {
	c.table.Store(table)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// Table returns the table of this moment; an empty one before the first Publish.
func (c *Current) Table() *Table {
	if table := c.table.Load(); table != nil {
		return table
	}
	return &Table{}
}

// Changed returns a channel that the next Publish closes. Whoever looks at the Table after that misses no change.
func (c *Current) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}
