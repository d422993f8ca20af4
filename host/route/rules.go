package route

import (
	"cmp"
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

// Rules are tried from the most specific to the least, equally specific ones in their order.
type Rules []Rule

// fits says whether the rule is for these tasks.
func (r Rule) fits(category plugin.Category, project, domain string) bool {
	return r.covers(category) && (r.Project == "" || r.Project == project) && (r.Domain == "" || r.Domain == domain)
}

func (r Rule) covers(category plugin.Category) bool {
	return r.Task == category.Name && (r.Version == nil || *r.Version == category.Version)
}

// specificity ranks rules: a project says more than a domain, and that more than a version.
func (r Rule) specificity() int {
	rank := 0
	if r.Version != nil {
		rank++
	}
	if r.Domain != "" {
		rank += 2
	}
	if r.Project != "" {
		rank += 4
	}
	return rank
}

// fitting returns the plugins that the rules name for a task, the most specific rule's first.
func (rs Rules) fitting(category plugin.Category, project, domain string) []string {
	var fitting Rules
	for _, r := range rs {
		if r.fits(category, project, domain) {
			fitting = append(fitting, r)
		}
	}
	slices.SortStableFunc(fitting, func(a, b Rule) int { return cmp.Compare(b.specificity(), a.specificity()) })
	names := make([]string, len(fitting))
	for i, r := range fitting {
		names[i] = r.Plugin
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
