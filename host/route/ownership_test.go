package route

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/plugin"
)

func category(name string, version int32) plugin.Category {
	return plugin.Category{Name: name, Version: version}
}

func syncOf(name string, categories ...plugin.Category) plugin.Agent {
	return plugin.Agent{Name: name, Sync: true, Categories: categories}
}

func allowed(c Claim, texts ...string) Claim {
	c.Only = ParseTaskTypes(texts)
	return c
}

func expected(c Claim) Claim {
	c.Expected = true
	return c
}

// servers says which plugin serves each of some categories to tasks of no project in particular, and what is not served.
func servers(a Assignment, asked ...plugin.Category) string {
	text := ""
	for _, c := range asked {
		name := "nobody"
		if found, ok := a.Table.Lookup(c); ok {
			name = fmt.Sprint(found.Target.Plugin(), found.Category.Version)
		}
		if found, ok := a.Table.LookupNew(c, "p", "d"); ok && fmt.Sprint(found.Target.Plugin(), found.Category.Version) != name {
			name += "/" + fmt.Sprint(found.Target.Plugin(), found.Category.Version)
		}
		text += name + " "
	}
	for _, u := range a.Unserved {
		text += fmt.Sprintf("-%s:%s%d(%d %s) ", u.Plugin, u.Category.Name, u.Category.Version, u.Why, u.Owner)
	}
	return text
}

func TestATaskTypeBelongsToOnePlugin(t *testing.T) {
	x, x7, y := category("x", 0), category("x", 7), category("y", 0)
	seven := int32(7)
	good := claim("good", agent("G", x))
	for promise, c := range map[string]struct {
		rules  Rules
		before Owners
		claims []Claim
		asked  []plugin.Category
		want   string
	}{
		"a higher version takes no calls from it": {
			nil, Owners{"x": "good"}, []Claim{claim("evil", agent("E", x7, y)), good}, []plugin.Category{x, x7, y},
			"good0 good0 evil0 -evil:x7(0 good) ",
		},
		"a sync agent takes none either": {
			nil, Owners{"x": "good"}, []Claim{claim("evil", syncOf("E", x)), good}, []plugin.Category{x}, "good0 -evil:x0(0 good) ",
		},
		"where nobody had it, the first has it": {
			nil, nil, []Claim{claim("a", agent("A", x)), claim("b", agent("B", x))}, []plugin.Category{x}, "a0 -b:x0(0 a) ",
		},
		"who had it keeps it": {
			nil, Owners{"x": "b"}, []Claim{claim("a", agent("A", x)), claim("b", agent("B", x))}, []plugin.Category{x}, "b0 -a:x0(0 b) ",
		},
		"it is held for who had it and has not said yet what it serves": {
			nil, Owners{"x": "good"}, []Claim{claim("evil", agent("E", x, y)), expected(good)}, []plugin.Category{x, y},
			"nobody evil0 -evil:x0(0 good) ",
		},
		"nothing else is held for such a one": {
			nil, nil, []Claim{claim("other", agent("O", x)), expected(good)}, []plugin.Category{x}, "other0 ",
		},
		"who had it and lists it no longer has it no longer": {
			nil, Owners{"x": "a"}, []Claim{claim("a", agent("A", y)), claim("b", agent("B", x))}, []plugin.Category{x}, "b0 ",
		},
		"task_types leaves out what it does not name": {
			nil, nil, []Claim{allowed(claim("a", agent("A", x, x7, y)), "x@7"), claim("b", agent("B", y))}, []plugin.Category{x7, y},
			"a7 b0 -a:x0(2 ) -a:y0(2 ) ",
		},
		"a plugin whose task_types names it has it, whoever had it": {
			nil, Owners{"x": "a"}, []Claim{claim("a", agent("A", x)), allowed(claim("b", agent("B", x)), "x")}, []plugin.Category{x}, "b0 -a:x0(0 b) ",
		},
		"a route for all of it decides for everyone": {
			Rules{{Task: "x", Plugin: "b"}}, Owners{"x": "a"},
			[]Claim{claim("a", agent("A", x)), claim("b", agent("B", x)), claim("c", agent("C", x7, y))}, []plugin.Category{x, x7, y},
			"b0 b0 c0 -a:x0(1 b) -c:x7(1 b) ",
		},
		"until that plugin lists it, it stays where it was, and nobody else has it": {
			Rules{{Task: "x", Plugin: "b"}}, Owners{"x": "a"}, []Claim{claim("a", agent("A", x)), claim("b", agent("B", y)), claim("c", agent("C", x))},
			[]plugin.Category{x}, "a0 -c:x0(1 b) ",
		},
		"a narrower route comes before it": {
			Rules{{Task: "x", Domain: "d", Plugin: "dev"}, {Task: "x", Plugin: "b"}}, nil,
			[]Claim{claim("a", agent("A", x)), claim("b", agent("B", x)), claim("dev", agent("D", x))}, []plugin.Category{x},
			"b0/dev0 -a:x0(1 b) ",
		},
		"a route gives a version to another, and no more than that": {
			Rules{{Task: "x", Version: &seven, Plugin: "b"}}, nil,
			[]Claim{claim("a", agent("A", x)), claim("b", agent("B", category("x", 9), x7))}, []plugin.Category{x, x7, category("x", 9)},
			"a0 b7 a0 -b:x9(0 a) ",
		},
		"one kind of agent serves it in all projects": {
			Rules{{Task: "x", Domain: "d", Plugin: "dev"}}, nil, []Claim{claim("a", agent("A", x)), claim("dev", syncOf("D", x))},
			[]plugin.Category{x}, "a0 -dev:x0(3 a) ",
		},
	} {
		t.Run(promise, func(t *testing.T) {
			if got := servers(c.rules.Assign(c.before, nil, each(c.claims)), c.asked...); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// FlytePropeller 1 keeps the last of a name that it reads, with its kind of agent.
func TestFlytePropellerReadsOneKindOfAgentOfATaskType(t *testing.T) {
	a := Rules(nil).Assign(Owners{"x": "good"}, nil, each([]Claim{claim("good", agent("G", category("x", 0))), claim("evil", syncOf("E", category("x", 7), category("y", 0)))}))
	for _, a := range a.Table.Agents() {
		for _, c := range a.Categories {
			if c.Name == "x" && (a.Sync || a.Target.Plugin() != "good") {
				t.Errorf("it reads %+v", a)
			}
		}
	}
}

func TestTaskTypesAreReadWithTheirVersions(t *testing.T) {
	for text, want := range map[string]string{"x": "x -", "x@2": "x 2", "x@-1": "x -1", "@2": "@2 -", "a@b": "a@b -", "x@99999999999": "x@99999999999 -"} {
		got := ParseTaskType(text)
		version := "-"
		if got.Version != nil {
			version = fmt.Sprint(*got.Version)
		}
		if got := got.Name + " " + version; got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// drawn is what may be listed, by whom, and what the configuration says of it.
func drawnClaims(t *rapid.T) (claims []Claim) {
	for _, name := range []string{"a", "b", "c"} {
		if !rapid.Bool().Draw(t, "claims "+name) {
			continue
		}
		drawn := claim(name, plugin.Agent{
			Name: name, Sync: rapid.Bool().Draw(t, "sync"),
			Categories: rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) plugin.Category {
				return category(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name"), rapid.Int32Range(0, 2).Draw(t, "version"))
			}), 1, 4, rapid.ID).Draw(t, "categories"),
		})
		if rapid.IntRange(0, 3).Draw(t, "restricted") == 0 {
			drawn.Only = ParseTaskTypes([]string{rapid.SampledFrom([]string{"x", "y", "x@1"}).Draw(t, "task type")})
		}
		claims = append(claims, drawn)
	}
	return claims
}

func drawnRules(t *rapid.T) Rules {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Rule {
		rule := Rule{
			Task: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "task"), Domain: rapid.SampledFrom([]string{"", "d"}).Draw(t, "domain"),
			Plugin: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "plugin"),
		}
		if version := rapid.Int32Range(-2, 2).Draw(t, "version"); version >= 0 {
			rule.Version = &version
		}
		return rule
	}), 0, 3).Draw(t, "rules")
}

// Whatever is listed and configured: one plugin answers each task, the same one however often it is asked and in whatever order
// plugins came; a task type is of one kind for Flyte; and nobody loses one to another without the configuration, or without
// having ceased to list it.
func TestOwnershipIsAFunctionOfTheConfigurationTheOwnersAndTheLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, claims := drawnRules(t), drawnClaims(t)
		before := rules.Assign(nil, nil, each(rapid.Permutation(claims).Draw(t, "first order")))
		shuffled := rapid.Permutation(claims).Draw(t, "order")
		again := rules.Assign(before.Owners, nil, each(shuffled))
		if !maps.Equal(before.Owners, again.Owners) {
			t.Fatalf("owners are %v, then %v", before.Owners, again.Owners)
		}
		for _, name := range []string{"x", "y"} {
			for version := range int32(4) {
				for _, domain := range []string{"", "d"} {
					one, _ := before.Table.LookupNew(category(name, version), "", domain)
					other, _ := again.Table.LookupNew(category(name, version), "", domain)
					if one.Target != other.Target || one.Category != other.Category {
						t.Fatalf("%s@%d in %q: %v, then %v", name, version, domain, one, other)
					}
				}
			}
		}
		kinds := map[string]map[bool]bool{}
		plugins := map[string]map[string]bool{}
		for _, a := range before.Table.Agents() {
			for _, c := range a.Categories {
				for _, m := range []map[string]map[bool]bool{kinds} {
					if m[c.Name] == nil {
						m[c.Name], plugins[c.Name] = map[bool]bool{}, map[string]bool{}
					}
					m[c.Name][a.Sync] = true
				}
				plugins[c.Name][a.Target.Plugin()] = true
			}
		}
		for name, kind := range kinds {
			if len(kind) > 1 {
				t.Fatalf("Flyte reads two kinds of agents for %s", name)
			}
			if len(plugins[name]) > 1 && !rules.about(name) {
				t.Fatalf("without a rule %s is served by %v", name, plugins[name])
			}
		}

		// Others come and go, list more and less: owners keep what they list.
		next := drawnClaims(t)
		after := rules.Assign(before.Owners, nil, each(next))
		for name, owner := range before.Owners {
			lists := slices.ContainsFunc(next, func(c Claim) bool {
				return c.Target.Plugin() == owner && slices.ContainsFunc(c.Manifest.Agents[0].Categories, func(of plugin.Category) bool {
					return of.Name == name && c.allows(of) && !rules.reaches(of, owner)
				})
			})
			configured := rules.all(name) != "" || slices.ContainsFunc(next, func(c Claim) bool { return c.Only != nil })
			if now := after.Owners[name]; lists && !configured && now != owner {
				t.Fatalf("%s went from %s to %q", name, owner, now)
			}
		}
	})
}
