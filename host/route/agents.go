package route

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
)

// Agent is one entry of ListAgents.
type Agent struct {
	Name       string
	Sync       bool
	Categories []plugin.Category // sorted by name; all of one version
	Target     Target
}

// Agents lists what Flyte's discovery is told, in the order in which it must hear it: FlytePropeller 1 keeps only the
// version of a name that comes last, so versions ascend through the whole list. An agent with categories in several
// versions stands once for each. What a plugin served that was removed a short while ago is listed too, unless another serves it: a
// type that is not listed Flyte 1 hands to its container plugin, new tasks and jobs in flight alike.
func (t *Table) Agents() []Agent {
	now, all := time.Now(), t.byName
	for _, removed := range slices.Backward(t.removed) {
		if !now.Before(removed.Until) {
			continue
		}
		gone := &Table{byName: map[string][]Route{}}
		for i := range removed.Manifest.Agents {
			agent := &removed.Manifest.Agents[i]
			for _, category := range agent.Categories {
				gone.add(&Claim{Target: &absent{removed}, Manifest: removed.Manifest}, agent, category)
			}
		}
		for name, routes := range gone.byName {
			if _, served := all[name]; served {
				continue
			}
			if len(all) == len(t.byName) {
				all = maps.Clone(t.byName)
			}
			all[name] = routes
		}
	}
	if len(all) == len(t.byName) {
		return t.agents
	}
	return list(all)
}

// MaxListSize is the largest answer to ListAgents, in bytes: what every client of gRPC takes, with a reserve.
const MaxListSize = 3 << 20

// ListSize is how much of the answer to ListAgents a plugin's agents take at most, in bytes.
func ListSize(manifest plugin.Manifest) int {
	const overhead = 8 // of a field: its tag and its length
	size := 0
	for _, agent := range manifest.Agents {
		for _, category := range agent.Categories { // as a category, which has a version, and as a task type; an agent stands once for each version
			size += 6*overhead + len(agent.Name) + 2*len(category.Name)
		}
	}
	return size
}

// absent stands for a plugin that was removed.
type absent struct{ removed Removed }

func (a *absent) Plugin() string { return a.removed.Plugin }

func (*absent) TryAcquire(Want) (Lease, bool) { return Lease{}, false }

func (a *absent) Acquire(context.Context, Want) (Lease, error) {
	trouble, _ := a.Trouble()
	return Lease{}, trouble
}

func (a *absent) Trouble() (Trouble, bool) {
	return Trouble{Since: a.removed.At, Reason: a.removed.Reason()}, true
}

// list groups routes by agent, kind and version.
func list(byName map[string][]Route) []Agent {
	type group struct {
		target  Target
		name    string
		sync    bool
		version int32
	}
	groups := map[group][]plugin.Category{}
	for _, routes := range byName {
		for _, r := range routes {
			key := group{r.Target, r.Agent, r.Sync, r.Category.Version}
			groups[key] = append(groups[key], r.Category)
		}
	}
	agents := make([]Agent, 0, len(groups))
	for key, categories := range groups {
		slices.SortFunc(categories, func(a, b plugin.Category) int { return cmp.Compare(a.Name, b.Name) })
		agents = append(agents, Agent{Name: key.name, Sync: key.sync, Categories: categories, Target: key.target})
	}
	slices.SortFunc(agents, func(a, b Agent) int {
		return cmp.Or(
			cmp.Compare(a.Categories[0].Version, b.Categories[0].Version),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Categories[0].Name, b.Categories[0].Name),
		)
	})
	return agents
}
