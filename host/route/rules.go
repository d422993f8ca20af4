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
	// At is where the configuration says so, for people.
	At string
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

// about says whether there is a rule for a task type.
func (rs Rules) about(task string) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Task == task })
}

// reaches says whether a plugin serves a category because a rule says so, and none before it takes all tasks of the category.
func (rs Rules) reaches(category plugin.Category, pluginName string) bool {
	for _, r := range rs {
		switch {
		case !r.covers(category):
		case r.Plugin == pluginName:
			return true
		case r.Project == "" && r.Domain == "":
			return false
		}
	}
	return false
}

// decider is the plugin that gets all tasks of a category which no narrower rule takes; empty: no rule says.
func (rs Rules) decider(category plugin.Category) string {
	for _, r := range rs {
		if r.covers(category) && r.Project == "" && r.Domain == "" {
			return r.Plugin
		}
	}
	return ""
}

// all is decider for a task type in all its versions.
func (rs Rules) all(task string) string {
	for _, r := range rs {
		if r.Task == task && r.Version == nil && r.Project == "" && r.Domain == "" {
			return r.Plugin
		}
	}
	return ""
}
