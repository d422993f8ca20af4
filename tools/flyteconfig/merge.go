package flyteconfig

import (
	"slices"
	"strings"
)

// dotted says below which keys Flyte does not take a dot for a path: their own keys are names of task types and of the like.
func dotted(name string) bool {
	for _, key := range []string{
		"default-for-task-types", "timeouts", "resourceQuotas",
		agentNames.deployments, agentNames.forTypes, connectorNames.deployments, connectorNames.forTypes,
	} {
		if strings.EqualFold(name, key) {
			return true
		}
	}
	return false
}

// undotted makes nested mappings of keys with dots, as Flyte reads them: plugins.connector-service is connector-service in plugins.
func undotted(v *value) *value {
	if v == nil || v.kind != mapping {
		return v
	}
	made := &value{kind: mapping, at: v.at}
	places := map[string]int{}
	for _, e := range v.entries {
		below := e.value
		if !dotted(e.name) {
			below = undotted(e.value)
		}
		name, rest, split := strings.Cut(e.name, ".")
		if split && name != "" && rest != "" && strings.Count(e.name, ".") < maxDepth {
			below = undotted(&value{kind: mapping, at: e.value.at, entries: []*entry{{rest, e.value}}})
		} else {
			name = e.name
		}
		place, there := places[strings.ToLower(name)]
		if there && below.kind == mapping && made.entries[place].value.kind == mapping {
			made.entries[place] = &entry{made.entries[place].name, merge(made.entries[place].value, below, func(_, _ *value) {})}
			continue
		}
		if !there {
			places[strings.ToLower(name)] = len(made.entries)
		}
		made.entries = append(made.entries, &entry{name, below})
	}
	return made
}

// merge puts a file over those before it as Flyte does: mappings become one, and anything else takes the place of what was there. But
// what is no mapping never takes the place of one: Flyte ignores it, and ignored is told of it.
func merge(into, from *value, ignored func(there, lost *value)) *value {
	switch {
	case into == nil:
		return from
	case into.kind != mapping:
		return from
	case from.kind != mapping:
		ignored(into, from)
		return into
	}
	made := &value{kind: mapping, at: into.at, entries: slices.Clone(into.entries)}
	places := map[string]int{}
	for i, e := range made.entries {
		places[strings.ToLower(e.name)] = i
	}
	for _, e := range from.entries {
		place, found := places[strings.ToLower(e.name)]
		if !found {
			places[strings.ToLower(e.name)] = len(made.entries)
			made.entries = append(made.entries, e)
			continue
		}
		there := made.entries[place]
		made.entries[place] = &entry{there.name, merge(there.value, e.value, ignored)}
	}
	return made
}

// overlay puts a values file over those before it as helm does: mappings become one, anything else takes the place of what was
// there, and null takes it away.
func overlay(into, from *value) *value {
	if into == nil || into.kind != mapping || from.kind != mapping {
		return from
	}
	made := &value{kind: mapping, at: from.at}
	over, under := from.byName(), into.byName()
	for _, e := range into.entries {
		switch value := over[e.name]; {
		case value == nil:
			made.entries = append(made.entries, e)
		case value.kind != null:
			made.entries = append(made.entries, &entry{e.name, overlay(e.value, value)})
		}
	}
	for _, e := range from.entries {
		if under[e.name] == nil {
			made.entries = append(made.entries, e)
		}
	}
	return made
}

func (v *value) byName() map[string]*value {
	found := map[string]*value{}
	for _, e := range v.entries {
		found[e.name] = e.value
	}
	return found
}
