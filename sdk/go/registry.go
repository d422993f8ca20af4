package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// registration is one agent with the categories that it serves. Exactly one of async and sync is set.
type registration struct {
	name       string
	categories []Category
	async      asyncHandler
	sync       SyncAgent
	// capabilities are what is promised for its categories.
	capabilities []string
}

func (r *registration) kind() string {
	if r.sync != nil {
		return "synchronous"
	}
	return "asynchronous"
}

// register makes the option for an agent. handler is what serves it, impl what the author wrote.
func register(category string, handler, impl any, options []RegisterOption) Option {
	return optionFunc(func(s *Server) error {
		if impl == nil {
			return fmt.Errorf("the agent for task category %q is nil", category)
		}
		r := &registration{name: category, categories: []Category{{Name: category}}}
		r.async, _ = handler.(asyncHandler)
		if r.async == nil {
			r.sync, _ = handler.(SyncAgent)
		}
		for _, option := range options {
			option.applyTo(r)
		}
		if r.async != nil && r.async.finds() {
			r.capabilities = append(r.capabilities, pluginv1.CapabilityFindByKey)
		}
		if closing, ok := impl.(Closer); ok {
			s.addAgentCloser(r.name, closing)
		}
		return s.registry.add(r)
	})
}

// registry is the table of agents by category. It is written before serving and only read afterwards.
type registry struct {
	all []*registration
	// byName holds, for every category name, its registrations by version.
	byName map[string]map[int32]*registration
}

func (r *registry) add(added *registration) error {
	if added.name == "" {
		return fmt.Errorf("an agent needs a name")
	}
	for _, other := range r.all {
		if other.name == added.name && other.kind() != added.kind() {
			return fmt.Errorf("the agent %q is registered as %s and as %s: give them two names with agent.Named", added.name, other.kind(), added.kind())
		}
	}
	for _, category := range added.categories {
		if category.Name == "" {
			return fmt.Errorf("the agent %q needs a task category", added.name)
		}
		versions := r.byName[category.Name]
		if taken := versions[category.Version]; taken != nil {
			return fmt.Errorf("task category %q version %d has two agents, %q and %q", category.Name, category.Version, taken.name, added.name)
		}
		for _, other := range versions {
			if other.kind() != added.kind() {
				return fmt.Errorf("task category %q has agents of both kinds, the %s %q and the %s %q: Flyte keeps one kind per name",
					category.Name, other.kind(), other.name, added.kind(), added.name)
			}
		}
		if versions == nil {
			versions = map[int32]*registration{}
			r.byName[category.Name] = versions
		}
		versions[category.Version] = added
	}
	r.all = append(r.all, added)
	return nil
}

// find returns the agent for a category: that of its version, or else that of the highest version of the name.
func (r *registry) find(category Category) (*registration, error) {
	versions := r.byName[category.Name]
	if len(versions) == 0 {
		return nil, NotFound("no agent here serves task category %q; there are agents for %s", category.Name, r.names())
	}
	if exact := versions[category.Version]; exact != nil {
		return exact, nil
	}
	return versions[slices.Max(slices.Collect(maps.Keys(versions)))], nil
}

func (r *registry) names() string {
	quoted := []string{}
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	if len(quoted) == 0 {
		return "nothing"
	}
	return strings.Join(quoted, ", ")
}

// agents describes the agents as ListAgents does, sorted by name. Within an agent the highest version of a category comes last,
// which is the one that Flyte 1 keeps.
func (r *registry) agents() []*admin.Agent {
	byName := map[string]*admin.Agent{}
	for _, registered := range r.all {
		listed := byName[registered.name]
		if listed == nil {
			listed = &admin.Agent{Name: registered.name, IsSync: registered.sync != nil}
			byName[registered.name] = listed
		}
		for _, category := range registered.categories {
			listed.SupportedTaskCategories = append(listed.SupportedTaskCategories,
				&admin.TaskCategory{Name: category.Name, Version: category.Version})
		}
	}
	agents := []*admin.Agent{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		listed := byName[name]
		slices.SortFunc(listed.SupportedTaskCategories, func(a, b *admin.TaskCategory) int {
			return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetVersion(), b.GetVersion()))
		})
		types := []string{}
		for _, category := range listed.SupportedTaskCategories {
			types = append(types, category.GetName())
		}
		listed.SupportedTaskTypes = slices.Compact(types)
		agents = append(agents, listed)
	}
	return agents
}
