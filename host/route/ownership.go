package route

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/plugin"
)

// A task type, whatever its versions, belongs to one plugin, unless rules give single tasks of it to others. Whose it is depends on
// the configuration, on whose it was and on what plugins list, and on nothing else: neither on who was first, nor on who shouts
// loudest. So nobody takes a task type from the plugin that has it, by whatever version or kind of agent.

// Owners says which plugin each task type belongs to, by names.
type Owners map[string]string

// Because is why a task type belongs to its owner.
type Because int

// The reasons, the strongest first.
const (
	// ByRoute: a route gives it all tasks of the type.
	ByRoute Because = iota + 1
	// ByTaskTypes: its task_types names the type, and no other's does.
	ByTaskTypes
	// AsBefore: it has had the type before the others that list it.
	AsBefore
	// FirstByName: of those that list the type it is the first by name.
	FirstByName
	// Alone: no other plugin lists it.
	Alone
)

// TaskType is one entry of what the configuration lets a plugin serve: a task type, in one version or in all.
type TaskType struct {
	Name    string
	Version *int32
}

// ParseTaskType reads "name" or "name@version".
func ParseTaskType(text string) TaskType {
	if at := strings.LastIndexByte(text, '@'); at > 0 {
		if n, err := strconv.ParseInt(text[at+1:], 10, 32); err == nil {
			version := int32(n)
			return TaskType{Name: text[:at], Version: &version}
		}
	}
	return TaskType{Name: text}
}

// ParseTaskTypes reads several; of none it makes nil.
func ParseTaskTypes(texts []string) []TaskType {
	var types []TaskType
	for _, text := range texts {
		types = append(types, ParseTaskType(text))
	}
	return types
}

// Holds says whether a category is of the task type.
func (t TaskType) Holds(c plugin.Category) bool {
	return t.Name == c.Name && (t.Version == nil || *t.Version == c.Version)
}

// Why is why a category that a plugin lists is not served by it.
type Why int

// The reasons.
const (
	// Owned: the task type belongs to another plugin.
	Owned Why = iota
	// Routed: a route gives all tasks of the type to another plugin.
	Routed
	// NotAllowed: the plugin's task_types leaves it out.
	NotAllowed
	// OtherKind: by rules the plugin serves tasks of a type of another plugin, but its agent is sync where that one's is not, or the
	// other way round. Flyte 1 takes a task type for one or the other.
	OtherKind
	// NotOfGeneration: a process that was started again lists more than the first of its generation did.
	NotOfGeneration
	// ListTooLong: with all that the plugin lists, the list of all plugins would be longer than Flyte's clients can read.
	ListTooLong
)

// Unserved is a category that a plugin lists and does not serve. What else it lists it does.
type Unserved struct {
	Category plugin.Category
	Plugin   string
	Why      Why
	// Owner is the plugin that the task type belongs to; empty where it is nobody's.
	Owner string
}

func (u Unserved) Error() string {
	switch u.Why {
	case Routed:
		return fmt.Sprintf("plugin %q does not serve task category %s: routes: gives all tasks of that type to %q", u.Plugin, u.Category, u.Owner)
	case ListTooLong:
		return fmt.Sprintf("plugin %q serves nothing of what it lists, such as %s: with it ListAgents would have more than %d bytes, and Flyte's clients take no answer of more than 4 MiB; let it list fewer task types, or such with shorter names",
			u.Plugin, u.Category, MaxListSize)
	case NotAllowed:
		return fmt.Sprintf("plugin %q does not serve task category %s: its task_types: leaves it out", u.Plugin, u.Category)
	case OtherKind:
		return fmt.Sprintf("plugin %q does not serve task category %s: one of the agents of %q and %q is a sync one, the other is not, and Flyte takes a task type for one or the other",
			u.Plugin, u.Category, u.Plugin, u.Owner)
	case NotOfGeneration:
		return fmt.Sprintf("plugin %q does not serve task category %s: the process lists it since it was started again, and its generation did not; 'agenthost restart %s' takes it up",
			u.Plugin, u.Category, u.Plugin)
	default:
		return fmt.Sprintf("plugin %q does not serve task category %s: the task type belongs to plugin %q; say in task_types: which of the two serves it, or in routes: which project or domain goes to %q",
			u.Plugin, u.Category, u.Owner, u.Plugin)
	}
}

// Assignment is who serves what.
type Assignment struct {
	Table    *Table
	Owners   Owners
	Unserved []Unserved
}

// Of are those of one plugin.
func (a Assignment) Of(pluginName string) []Unserved {
	var own []Unserved
	for _, u := range a.Unserved {
		if u.Plugin == pluginName {
			own = append(own, u)
		}
	}
	return own
}

// listing is one category that a plugin lists.
type listing struct {
	claim    *Claim
	plugin   string
	agent    *plugin.Agent
	category plugin.Category
}

// Assign says who serves what, where task types belonged to before until now. Of plugins between which nothing decides, the first
// by name gets a task type. The order of claims does not matter.
func (rs Rules) Assign(before Owners, removed []Removed, claims []*Claim) Assignment {
	types := len(before) // or few more or less: a host that starts many plugins builds a table for each
	a := Assignment{Owners: make(Owners, types), Table: &Table{
		byName: make(map[string][]Route, types), rules: rs, removed: removed, owners: make(Owners, types), because: make(map[string]Because, types),
	}}
	claims = slices.SortedStableFunc(slices.Values(claims), func(a, b *Claim) int { return cmp.Compare(a.Target.Plugin(), b.Target.Plugin()) })
	claiming := make(map[string]bool, len(claims))
	byName := make(map[string][]listing, types)
	for _, claim := range claims {
		name := claim.Target.Plugin()
		claiming[name] = true
		for n := range claim.Manifest.Agents {
			agent := &claim.Manifest.Agents[n]
			for _, category := range agent.Categories {
				if !claim.allows(category) {
					a.leaveOut(claim, Unserved{category, name, NotAllowed, ""})
					continue
				}
				byName[category.Name] = append(byName[category.Name], listing{claim, name, agent, category})
			}
		}
	}
	for name, owner := range before {
		if !claiming[owner] && len(byName[name]) == 0 { // it may still claim it
			a.Owners[name] = owner
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		a.assign(name, byName[name], before[name])
	}
	a.Table.unserved = a.Unserved
	a.Table.finish()
	return a
}

func (c *Claim) allows(category plugin.Category) bool {
	return c.Only == nil || slices.ContainsFunc(c.Only, func(t TaskType) bool { return t.Holds(category) })
}

// assign is Assign for one task type.
func (a *Assignment) assign(name string, listings []listing, before string) {
	rs := a.Table.rules
	owner, because := rs.owner(name, listings, before)
	if owner != "" {
		a.Owners[name], a.Table.owners[name], a.Table.because[name] = owner, owner, because
	}
	chief := rs.chief(owner, listings) // whose kind of agent counts
	for _, l := range listings {
		switch {
		case l.plugin != owner && !rs.reaches(l.category, l.plugin):
			if all := rs.all(name); all != "" {
				a.leaveOut(l.claim, Unserved{l.category, l.plugin, Routed, all})
			} else {
				a.leaveOut(l.claim, Unserved{l.category, l.plugin, Owned, owner})
			}
		case l.claim.Expected:
		case chief != nil && l.plugin != chief.plugin && l.agent.Sync != chief.agent.Sync:
			a.leaveOut(l.claim, Unserved{l.category, l.plugin, OtherKind, chief.plugin})
		default:
			a.Table.add(l.claim, l.agent, l.category)
		}
	}
}

func (a *Assignment) leaveOut(claim *Claim, u Unserved) {
	if !claim.Expected {
		a.Unserved = append(a.Unserved, u)
	}
}

// owner is the plugin that a task type belongs to, and why: it serves what no rule gives to another. First the configuration decides:
// a route for all tasks of the type, then task_types. Then it stays whose it was. Empty: it is nobody's.
func (rs Rules) owner(name string, listings []listing, before string) (string, Because) {
	if all := rs.all(name); all != "" {
		switch {
		case slices.ContainsFunc(listings, func(l listing) bool { return l.plugin == all && !l.claim.Expected }):
			return all, ByRoute
		case slices.ContainsFunc(listings, func(l listing) bool { return l.plugin == before }): // until that one lists it
			return before, AsBefore
		}
		return "", 0
	}
	eligible := slices.DeleteFunc(slices.Clone(listings), func(l listing) bool { return rs.reaches(l.category, l.plugin) })
	because := Alone
	if slices.ContainsFunc(eligible, func(l listing) bool { return l.plugin != eligible[0].plugin }) {
		because = FirstByName
	}
	mentioned := func(l listing) bool {
		return slices.ContainsFunc(l.claim.Only, func(t TaskType) bool { return t.Name == name })
	}
	if slices.ContainsFunc(eligible, mentioned) {
		eligible = slices.DeleteFunc(eligible, func(l listing) bool { return !mentioned(l) })
		if because == FirstByName && !slices.ContainsFunc(eligible, func(l listing) bool { return l.plugin != eligible[0].plugin }) {
			because = ByTaskTypes
		}
	}
	if slices.ContainsFunc(eligible, func(l listing) bool { return l.plugin == before }) {
		if because == FirstByName {
			because = AsBefore
		}
		return before, because
	}
	for _, l := range eligible {
		if !l.claim.Expected {
			return l.plugin, because
		}
	}
	return "", 0
}

// chief is the listing whose kind of agent all others of the task type must have: the owner's, in the version that Flyte 1 keeps;
// where rules name every plugin, the first one's.
func (rs Rules) chief(owner string, listings []listing) *listing {
	var chief *listing
	for i := range listings {
		switch l := &listings[i]; {
		case owner != "" && l.plugin != owner, owner == "" && !rs.reaches(l.category, l.plugin):
		case chief == nil || l.plugin == chief.plugin && l.category.Version > chief.category.Version:
			chief = l
		}
	}
	return chief
}
