package route

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/plugin"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// named is a target that only has a name: tables never call their targets.
type named string

func (n named) Plugin() string                               { return string(n) }
func (n named) TryAcquire(Want) (Lease, bool)                { panic("a table called its target") }
func (n named) Acquire(context.Context, Want) (Lease, error) { panic("a table called its target") }
func (n named) Trouble() (Trouble, bool)                     { panic("a table called its target") }

func claim(name string, agents ...plugin.Agent) Claim {
	return Claim{Target: named(name), Manifest: plugin.Manifest{Agents: agents}}
}

func agent(name string, categories ...plugin.Category) plugin.Agent {
	return plugin.Agent{Name: name, Categories: categories}
}

func TestAnExactVersionIsFoundAndAnyOtherGoesToTheHighest(t *testing.T) {
	table, _ := NewTable(claim("p", agent("Spark", plugin.Category{Name: "spark", Version: 1}, plugin.Category{Name: "spark", Version: 3})))
	for version, want := range map[int32]int32{1: 1, 3: 3, 0: 3, 2: 3, 9: 3} {
		found, ok := table.Lookup(plugin.Category{Name: "spark", Version: version})
		if !ok || found.Category.Version != want {
			t.Errorf("version %d: got version %d (%v), want %d", version, found.Category.Version, ok, want)
		}
	}
	if _, ok := table.Lookup(plugin.Category{Name: "ray"}); ok {
		t.Error("a category nobody serves was found")
	}
}

// Whatever the plugins serve, FlytePropeller 1, which overwrites the versions of a name as it reads the list, ends up
// with the highest one; and nothing of what is served is missing from the list.
func TestFlytePropellerKeepsTheHighestVersionOfTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		category := rapid.Custom(func(t *rapid.T) plugin.Category {
			return plugin.Category{Name: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name"), Version: rapid.Int32Range(0, 4).Draw(t, "version")}
		})
		served := map[plugin.Category]bool{}
		owner := map[string]int{}
		highest := map[string]int32{}
		var claims []Claim
		for i, categories := range rapid.SliceOfN(rapid.SliceOfN(category, 1, 4), 0, 6).Draw(t, "agents") {
			var own []plugin.Category
			for _, c := range categories {
				if first, owned := owner[c.Name]; !served[c] && (!owned || first == i) {
					served[c], owner[c.Name] = true, i
					highest[c.Name] = max(highest[c.Name], c.Version)
					own = append(own, c)
				}
			}
			if len(own) > 0 {
				claims = append(claims, claim(fmt.Sprint("plugin", i), agent(fmt.Sprint("agent", i), own...)))
			}
		}
		table, conflicts := NewTable(claims...)
		if len(conflicts) > 0 {
			t.Fatalf("conflicts: %v", conflicts)
		}

		propeller := map[string]int32{} // its registry: the last version read
		listed := map[plugin.Category]bool{}
		for _, a := range table.Agents() {
			for _, c := range a.Categories {
				propeller[c.Name] = c.Version
				listed[c] = true
			}
		}
		if fmt.Sprint(propeller) != fmt.Sprint(highest) {
			t.Fatalf("FlytePropeller would keep %v, the highest are %v", propeller, highest)
		}
		if fmt.Sprint(listed) != fmt.Sprint(served) {
			t.Fatalf("listed %v, served %v", listed, served)
		}
		for c := range served {
			if found, ok := table.Lookup(c); !ok || found.Category != c {
				t.Fatalf("%v is served and routed to %v (%v)", c, found.Category, ok)
			}
		}
	})
}

func TestADuplicateCostsAPluginThatTaskTypeAndTheMessageNamesBoth(t *testing.T) {
	table, unserved := NewTable(
		claim("first", agent("A", plugin.Category{Name: "sql"})),
		claim("second", agent("B", plugin.Category{Name: "sql"}), agent("C", plugin.Category{Name: "other"})),
	)
	if len(unserved) != 1 {
		t.Fatalf("not served: %v", unserved)
	}
	for _, part := range []string{`"first"`, `"second"`, `"sql"`} {
		if !strings.Contains(unserved[0].Error(), part) {
			t.Errorf("%q does not name %s", unserved[0].Error(), part)
		}
	}
	if found, _ := table.Lookup(plugin.Category{Name: "sql"}); found.Target.Plugin() != "first" {
		t.Errorf("sql went to %s", found.Target.Plugin())
	}
	if found, ok := table.Lookup(plugin.Category{Name: "other"}); !ok || found.Target.Plugin() != "second" {
		t.Error("it has lost another one, too")
	}
}

func TestARouteCarriesWhatThePluginSaidOfItself(t *testing.T) {
	table, _ := NewTable(Claim{Target: named("p"), Manifest: plugin.Manifest{
		Capabilities: []string{pluginv1.CapabilityIdempotentCreate},
		Agents:       []plugin.Agent{{Name: "Old", Sync: true, ByTaskType: true, Categories: []plugin.Category{{Name: "x"}}}},
	}})
	found, _ := table.Lookup(plugin.Category{Name: "x"})
	if !found.IdempotentCreate || !found.Sync || !found.ByTaskType || found.Agent != "Old" {
		t.Errorf("got %+v", found)
	}
}

func TestACreationMayBeRepeatedWhereThePluginPromisesItForTheCategory(t *testing.T) {
	sql, shell := plugin.Category{Name: "sql", Version: 2}, plugin.Category{Name: "shell"}
	table, _ := NewTable(Claim{Target: named("p"), Manifest: plugin.Manifest{
		CategoryCapabilities: map[plugin.Category][]string{sql: {pluginv1.CapabilityIdempotentCreate}, shell: {"other"}},
		Agents:               []plugin.Agent{agent("SQL", plugin.Category{Name: "sql"}, sql), agent("Shell", shell)},
	}})
	for category, want := range map[plugin.Category]bool{sql: true, {Name: "sql"}: false, shell: false} {
		if found, _ := table.Lookup(category); found.IdempotentCreate != want {
			t.Errorf("%v: %v, want %v", category, found.IdempotentCreate, want)
		}
	}
}

func TestAJobFindsThePluginThatMadeItWhoeverElseServesItsCategory(t *testing.T) {
	three := int32(3)
	table, conflicts := Rules{{Task: "spark", Version: &three, Plugin: "new"}}.Table(
		claim("old", agent("Spark", plugin.Category{Name: "spark", Version: 1}, plugin.Category{Name: "spark", Version: 2})),
		claim("new", agent("Spark", plugin.Category{Name: "spark", Version: 3})),
	)
	if len(conflicts) != 0 {
		t.Fatalf("conflicts: %v", conflicts)
	}
	for _, c := range []struct {
		plugin        string
		version, want int32
	}{{"old", 1, 1}, {"old", 2, 2}, {"old", 3, 2}, {"new", 1, 3}} {
		found, ok := table.LookupIn(c.plugin, plugin.Category{Name: "spark", Version: c.version})
		if !ok || found.Target.Plugin() != c.plugin || found.Category.Version != c.want {
			t.Errorf("version %d in %s: got version %d of %v (%v)", c.version, c.plugin, found.Category.Version, found.Target, ok)
		}
	}
	if found, ok := table.LookupIn("gone", plugin.Category{Name: "spark"}); ok {
		t.Errorf("a plugin that is gone was found: %+v", found)
	}
	if found, ok := table.LookupIn("old", plugin.Category{Name: "ray"}); ok {
		t.Errorf("a category that the plugin does not serve was found: %+v", found)
	}
}

func TestARouteCarriesWhatThePluginsConfigurationAsksFor(t *testing.T) {
	asked := claim("p", agent("A", plugin.Category{Name: "x"}))
	asked.Pinned, asked.Policy = true, Policy{MinInterval: time.Second, MaxStale: time.Minute, Concurrency: 3}
	table, _ := NewTable(asked)
	if found, _ := table.Lookup(plugin.Category{Name: "x"}); !found.Pinned || found.Policy != asked.Policy {
		t.Errorf("got %+v", found)
	}
}

func TestThePublishedTableIsTheOneRead(t *testing.T) {
	var current Current
	if agents := current.Table().Agents(); len(agents) != 0 {
		t.Fatalf("before the first table: %v", agents)
	}
	table, _ := NewTable(claim("p", agent("A", plugin.Category{Name: "x"})))
	current.Publish(table)
	if current.Table() != table {
		t.Error("another table came back")
	}
}

// Flyte 1 hands what is not listed to its container plugin, and a plugin may have been taken out by mistake.
func TestWhatAPluginServedThatWasJustRemovedStaysListed(t *testing.T) {
	sql, shell, old := plugin.Category{Name: "sql"}, plugin.Category{Name: "shell"}, plugin.Category{Name: "old"}
	now := time.Now()
	manifest := func(name string, categories ...plugin.Category) plugin.Manifest {
		return plugin.Manifest{Agents: []plugin.Agent{agent(name, categories...)}}
	}
	table, _ := Rules(nil).TableAfter([]Removed{
		{Plugin: "ended", Manifest: manifest("Ended", old), At: now.Add(-time.Hour), Until: now.Add(-time.Second)},
		{Plugin: "earlier", Manifest: manifest("Earlier", sql), At: now, Until: now.Add(time.Minute)},
		{Plugin: "later", Manifest: manifest("Later", sql, shell), At: now, Until: now.Add(time.Minute)},
	}, claim("serves", agent("Serves", shell)))
	var listed []string
	for _, a := range table.Agents() {
		listed = append(listed, fmt.Sprint(a.Target.Plugin(), " ", a.Name, " ", a.Categories))
	}
	if want := fmt.Sprint([]string{fmt.Sprint("later Later ", []plugin.Category{sql}), fmt.Sprint("serves Serves ", []plugin.Category{shell})}); fmt.Sprint(listed) != want {
		t.Errorf("listed are %v, want %v", listed, want)
	}
	if _, found := table.Lookup(sql); found {
		t.Error("a call goes to a plugin that was removed")
	}
}
