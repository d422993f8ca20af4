package route

import (
	"slices"

	"github.com/agenthost/agenthost/host/plugin"
)

// Rule sends the tasks of one type, in some project and domain, to a plugin, so that a production and a development
// build of an agent can live behind one endpoint.
type Rule struct {
	Task string
	// Version restricts the rule to one version of the task type; nil: all.
	Version *int32
	// Project and Domain restrict the rule; empty: all.
	Project, Domain string
	Plugin          string
}

// Rules are tried in their order: the first that fits decides.
type Rules []Rule

// fits says whether the rule is for these tasks.
func (r Rule) fits(category plugin.Category, project, domain string) bool {
	return r.covers(category) && (r.Project == "" || r.Project == project) && (r.Domain == "" || r.Domain == domain)
}

func (r Rule) covers(category plugin.Category) bool {
	return r.Task == category.Name && (r.Version == nil || *r.Version == category.Version)
}

// fitting returns the plugins that the rules name for a task, the first rule's first.
func (rs Rules) fitting(category plugin.Category, project, domain string) []string {
	var names []string
	for _, r := range rs {
		if r.fits(category, project, domain) {
			names = append(names, r.Plugin)
		}
	}
	return names
}

// about says whether there is a rule for a task type.
func (rs Rules) about(task string) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Task == task })
}

// names says whether a plugin serves a category only where a rule says so.
func (rs Rules) names(category plugin.Category, pluginName string) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Plugin == pluginName && r.covers(category) })
}

// tellApart says whether two plugins may both serve a category: at most one of them serves what no rule speaks of.
func (rs Rules) tellApart(category plugin.Category, a, b string) bool {
	return rs.names(category, a) || rs.names(category, b)
}
