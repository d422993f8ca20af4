package route

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/agenthost/agenthost/host/plugin"
)

// Decision is what LookupNew finds, and why.
type Decision struct {
	Route Route
	// Rule is the route of the configuration that decided; nil where the owner of the task type serves.
	Rule *Rule
	// Because is why the owner owns it; 0 where a rule decided.
	Because Because
	// Others are the plugins that list the task type and do not serve this task.
	Others []Other
}

// Other is a plugin that lists a task type and does not serve a task of it.
type Other struct {
	Plugin string
	// Why is the reason, in words.
	Why string
}

// Explain is LookupNew for who asks why. Where ok is false there are the Others alone.
func (t *Table) Explain(category plugin.Category, project, domain string) (d Decision, ok bool) {
	found, rule, ok := t.lookupNew(category, project, domain)
	serves := ""
	if ok {
		d.Route, serves, d.Because = found, found.Target.Plugin(), t.because[category.Name]
		if rule >= 0 {
			d.Rule, d.Because = &t.rules[rule], 0
		}
	}
	other := func(name, why string) {
		if name != serves && !slices.ContainsFunc(d.Others, func(o Other) bool { return o.Plugin == name }) {
			d.Others = append(d.Others, Other{Plugin: name, Why: why})
		}
	}
	for _, u := range t.unserved {
		if u.Category.Name == category.Name {
			other(u.Plugin, u.Error())
		}
	}
	for i := range t.byName[category.Name] {
		name := t.byName[category.Name][i].Target.Plugin()
		other(name, t.notHere(name, category))
	}
	slices.SortFunc(d.Others, func(a, b Other) int { return cmp.Compare(a.Plugin, b.Plugin) })
	return d, ok
}

// notHere is why a plugin that serves tasks of a type does not serve one of them.
func (t *Table) notHere(name string, category plugin.Category) string {
	if t.owners[category.Name] == name {
		return fmt.Sprintf("plugin %q has what no route takes of task type %q", name, category.Name)
	}
	for i := range t.rules {
		if r := &t.rules[i]; r.Plugin == name && r.Task == category.Name {
			return fmt.Sprintf("plugin %q has a route for other tasks: %s", name, r)
		}
	}
	return fmt.Sprintf("plugin %q serves other tasks of type %q", name, category.Name)
}

// String says which tasks the rule is for, and where it stands.
func (r *Rule) String() string {
	text := "task " + r.Task
	if r.Version != nil {
		text += fmt.Sprintf(", version %d", *r.Version)
	}
	if r.Project != "" {
		text += ", project " + r.Project
	}
	if r.Domain != "" {
		text += ", domain " + r.Domain
	}
	if r.At != "" {
		text += " (" + r.At + ")"
	}
	return text
}
