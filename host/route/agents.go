package route

import (
	"cmp"
	"slices"

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
// versions stands once for each.
func (t *Table) Agents() []Agent { return t.agents }

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
