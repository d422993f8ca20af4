package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// claiming is a plugin that only claims.
type claiming struct {
	route.Target
	name string
	told int
}

func (c *claiming) Plugin() string { return c.name }
func (c *claiming) heard()         { c.told++ }

// world is a route table and who claims in it.
type world struct {
	routes
	plugins map[string]*claiming
	round   int
}

func newWorld() *world {
	return &world{routes: routes{current: &route.Current{}}, plugins: map[string]*claiming{}}
}

// configure begins a round in which there are these plugins, of which it is not known yet what becomes of them.
func (w *world) configure(rules route.Rules, names ...string) {
	w.round++
	holders := map[string]holder{}
	for _, name := range names {
		if w.plugins[name] == nil {
			w.plugins[name] = &claiming{name: name}
		}
		holders[name] = w.plugins[name]
	}
	w.begin(w.round, rules, time.Minute, holders, names)
	for name, p := range w.plugins {
		if holders[name] == nil {
			w.leave(name, p)
			delete(w.plugins, name)
		}
	}
}

func (w *world) decides(names ...string) {
	for _, name := range names {
		w.decided(name, w.plugins[name], w.round)
	}
}

func claimOf(target route.Target, rate float64, categories ...string) route.Claim {
	claim := route.Claim{Target: target, Policy: route.Policy{Rate: rate}}
	for _, category := range categories {
		claim.Manifest.Agents = append(claim.Manifest.Agents, asyncAgentOf(category))
	}
	return claim
}

// claims has a generation of a plugin claim categories; one after the first is to be swapped in.
func (w *world) claims(name string, generation int, categories ...string) verdict {
	p := w.plugins[name]
	return w.claim(p, generation, claimOf(p, 1, categories...), generation > 1)
}

// table is who serves what, and in brackets what is only listed.
func (w *world) table() string {
	var all []string
	for _, a := range w.current.Table().Agents() {
		for _, c := range a.Categories {
			if _, ok := w.current.Table().Lookup(c); ok {
				all = append(all, c.Name+":"+a.Target.Plugin())
			} else {
				all = append(all, "("+c.Name+":"+a.Target.Plugin()+")")
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestTheRouteTableIsPublishedWhenSomethingChanges(t *testing.T) {
	w := newWorld()
	apart := route.Rules{{Task: "x", Plugin: "b", Domain: "development"}}
	w.configure(apart, "a", "b", "c")
	w.claims("a", 1, "x")
	w.claims("b", 1, "x")
	for _, change := range []struct {
		what      string
		do        func()
		publishes bool
	}{
		{"the same claim", func() { w.claims("a", 1, "x") }, false},
		{"another policy", func() { w.claim(w.plugins["a"], 1, claimOf(w.plugins["a"], 2, "x"), false) }, true},
		{"another plugin", func() { w.claims("c", 1, "y") }, true},
		{"another category", func() { w.claims("c", 1, "y", "z") }, true},
		{"the same rules", func() { w.configure(route.Rules{apart[0]}, "a", "b", "c") }, false},
		{"other rules", func() { w.configure(append(apart, route.Rule{Task: "y", Plugin: "c"}), "a", "b", "c") }, true},
		{"it is known what becomes of all", func() { w.decides("a", "b", "c") }, false},
		{"a plugin goes", func() { w.leave("c", w.plugins["c"]) }, true},
		{"it has gone", func() { w.leave("c", w.plugins["c"]) }, false},
	} {
		before := w.current.Table()
		change.do()
		if published := w.current.Table() != before; published != change.publishes {
			t.Errorf("%s: published: %v", change.what, published)
		}
	}
}

func TestAConfigurationThatChangesNothingPublishesNoTable(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	before := f.routes.Table()
	for range 2 { // the second time everything that the first led to is done
		if got := f.apply(t, only(echo("1")))["echo"]; got.Action != Unchanged {
			t.Fatalf("got %+v", got)
		}
	}
	if f.routes.Table() != before {
		t.Error("another table was published")
	}
}

// A rule goes that told two plugins apart. The one that had the type serves on, whichever it is, and the other hears of it.
func TestAConflictThatARuleLeavesConcernsNobodyElse(t *testing.T) {
	w := newWorld()
	w.configure(route.Rules{{Task: "x", Plugin: "a", Domain: "development"}}, "a", "b", "c")
	w.claims("a", 1, "x")
	w.claims("b", 1, "x")
	w.claims("c", 1, "y")
	heard := w.plugins["a"].told
	w.configure(nil, "a", "b", "c")
	if got := w.table(); got != "x:b y:c" {
		t.Errorf("served is %s", got)
	}
	if v, _ := w.verdicts("a", w.plugins["a"]); w.plugins["a"].told == heard || !v.none || v.unserved[0].Owner != "b" {
		t.Errorf("the other one hears %+v", v)
	}
}

// Each step is something that happens, and what is served after it. Generation 1 of each plugin serves its first list.
func TestTaskTypesMoveBetweenPluginsInOneChange(t *testing.T) {
	claims := func(name string, categories ...string) func(*world) {
		return func(w *world) { w.claims(name, 2, categories...) }
	}
	fails := func(name string) func(*world) { return func(w *world) { w.decides(name) } }
	type then struct {
		do    func(*world)
		after string
	}
	for what, c := range map[string]struct {
		before map[string]string
		steps  []then
	}{
		"a type moves, its new plugin is first": {
			map[string]string{"a": "x y", "b": "z"},
			[]then{{claims("b", "x", "z"), "x:a y:a z:b"}, {claims("a", "y"), "x:b y:a z:b"}},
		},
		"a type moves, its old plugin is first": {
			map[string]string{"a": "x y", "b": "z"},
			[]then{{claims("a", "y"), "x:a y:a z:b"}, {claims("b", "x", "z"), "x:b y:a z:b"}},
		},
		"two plugins exchange all they have": {
			map[string]string{"a": "x", "b": "y"},
			[]then{{claims("b", "x"), "x:a y:b"}, {claims("a", "y"), "x:b y:a"}},
		},
		"three do, while a fourth takes its time": {
			map[string]string{"a": "x", "b": "y", "c": "z", "d": "u"},
			[]then{{claims("c", "x"), "u:d x:a y:b z:c"}, {claims("a", "y"), "u:d x:a y:b z:c"}, {claims("b", "z"), "u:d x:c y:a z:b"}},
		},
		"the new plugin does not start": {
			map[string]string{"a": "x y", "b": "z"},
			[]then{{claims("a", "y"), "x:a y:a z:b"}, {fails("b"), "(x:a) y:a z:b"}, {claims("b", "x", "z"), "x:b y:a z:b"}},
		},
		"the old plugin does not start": {
			map[string]string{"a": "x y", "b": "z"},
			[]then{{claims("b", "x", "z"), "x:a y:a z:b"}, {fails("a"), "x:a y:a z:b"}},
		},
		"half of an exchange does not start": {
			map[string]string{"a": "x", "b": "y"},
			[]then{{claims("b", "x"), "x:a y:b"}, {fails("a"), "x:a y:b"}},
		},
		"a new plugin takes one over": {
			map[string]string{"a": "x y", "new": ""},
			[]then{{func(w *world) { w.claims("new", 1, "x") }, "x:a y:a"}, {claims("a", "y"), "x:new y:a"}},
		},
		"a plugin is renamed": {
			map[string]string{"a": "x", "new": ""},
			[]then{
				{func(w *world) { w.leave("a", w.plugins["a"]) }, "x:a"},
				{func(w *world) { w.claims("new", 1, "x") }, "x:new"},
			},
		},
		"a plugin is renamed, and its new one does not start": {
			map[string]string{"a": "x", "new": ""},
			[]then{
				{func(w *world) { w.leave("a", w.plugins["a"]) }, "x:a"},
				{fails("new"), "(x:a)"},
				{func(w *world) { w.claims("new", 1, "x") }, "x:new"},
			},
		},
		"a plugin goes, and another takes its type": {
			map[string]string{"a": "x", "b": "y"},
			[]then{
				{func(w *world) { w.leave("a", w.plugins["a"]) }, "x:a y:b"},
				{claims("b", "x"), "(y:b) x:b"},
			},
		},
		"a plugin goes, and nothing else changes": {
			map[string]string{"a": "x", "b": "y"},
			[]then{{fails("b"), "x:a y:b"}, {func(w *world) { w.leave("a", w.plugins["a"]) }, "(x:a) y:b"}},
		},
		"a plugin of equal types is swapped at once": {
			map[string]string{"a": "x", "b": "y"},
			[]then{{claims("a", "x", "u"), "u:a x:a y:b"}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld()
			names := slices.Sorted(maps.Keys(c.before))
			w.configure(nil, names...)
			for _, name := range names {
				if categories := strings.Fields(c.before[name]); len(categories) > 0 {
					w.claims(name, 1, categories...)
				}
				w.decides(name)
			}
			w.configure(nil, names...)
			for i, step := range c.steps {
				step.do(w)
				if got := w.table(); got != step.after {
					t.Fatalf("after step %d served is %s, want %s", i+1, got, step.after)
				}
			}
		})
	}
}

// A plugin gives a type up by its settings, task_types, and so without another generation.
func TestATypeThatIsGivenUpByASettingHasNobodyAtNoTime(t *testing.T) {
	w := newWorld()
	w.configure(nil, "a", "b")
	w.claims("a", 1, "x", "y")
	w.claims("b", 1, "z")
	w.decides("a", "b")
	w.configure(nil, "a", "b")
	if w.claims("b", 2, "x", "z"); w.table() != "x:a y:a z:b" {
		t.Errorf("b waits for a, and served is %s", w.table())
	}
	if w.claim(w.plugins["a"], 1, claimOf(w.plugins["a"], 1, "y"), false); w.table() != "x:b y:a z:b" {
		t.Errorf("a gave it up, and served is %s", w.table())
	}
	if len(w.removed) > 0 {
		t.Errorf("a table was published in which nobody served %+v", w.removed)
	}
}

func TestAPluginThatGetsNothingInASwapHearsWhoHasItAndKeepsWhatItHad(t *testing.T) {
	w := newWorld()
	w.configure(nil, "a", "b")
	w.claims("a", 1, "x")
	w.claims("b", 1, "y")
	w.decides("a", "b")
	w.configure(nil, "a", "b")
	w.decides("b") // it stays as it is
	v := w.claims("a", 2, "y")
	if !v.none || v.unserved[0].Owner != "b" || v.unserved[0].Plugin != "a" || w.table() != "x:a y:b" {
		t.Errorf("%+v; served is %s", v, w.table())
	}
}

func TestWhatAPluginOwnedIsHeldForItUntilItHasSaidWhatItServes(t *testing.T) {
	w := newWorld()
	w.owners = route.Owners{"x": "good"}
	w.configure(nil, "evil", "good")
	w.expect("good", nil, w.plugins["good"])
	if v := w.claims("evil", 1, "x"); !v.none || !v.held || w.table() != "" {
		t.Errorf("%+v; served is %s", v, w.table())
	}
	w.claims("good", 1, "x")
	w.decides("good", "evil")
	if v, _ := w.verdicts("evil", w.plugins["evil"]); w.table() != "x:good" || v.held {
		t.Errorf("%+v; served is %s", v, w.table())
	}

	w = newWorld()
	w.owners = route.Owners{"x": "good"}
	w.configure(nil, "evil", "good")
	w.expect("good", nil, w.plugins["good"])
	w.claims("evil", 1, "x")
	w.unexpect("good", w.plugins["good"])
	if w.table() != "x:evil" {
		t.Errorf("it does not say: served is %s", w.table())
	}
}

func TestWhatAPluginDropsStaysListedForAWhile(t *testing.T) {
	w := newWorld()
	w.configure(nil, "a")
	w.claims("a", 1, "x", "y")
	for range 100 { // a process that lists less whenever it comes back
		w.claims("a", 1, "y")
		if w.table() != "(x:a) y:a" {
			t.Fatalf("served is %s", w.table())
		}
		w.claims("a", 1, "x", "y")
	}
	if len(w.removed) != 1 {
		t.Errorf("%d are remembered", len(w.removed))
	}
	if gone, ok := w.current.Table().Removed(plugin.Category{Name: "x"}); !ok || gone.Reason() != `plugin "a" does not list it any more` {
		t.Errorf("%+v, %v", gone, ok)
	}
}

// Whatever configurations come, and whatever plugins list, fail to list and list again, in whatever order: the table is a function of
// the rules, of who had what and of the claims in force; nobody loses a type without the configuration or without ceasing to
// claim it; what was served is served or listed as long as any plugin claims it; and once it is known of all plugins what becomes
// of them, no claim waits.
func TestOwnersChangeByTheConfigurationOrTheEndOfTheirClaim(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		names, types := []string{"a", "b", "c"}, []string{"x", "y", "z"}
		generations := map[string]int{}
		list := func(t *rapid.T) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(types), 1, 3, rapid.ID).Draw(t, "lists")
		}
		rules := func(t *rapid.T) (rules route.Rules) {
			if rapid.IntRange(0, 2).Draw(t, "has a rule") == 0 {
				rules = append(rules, route.Rule{
					Task: rapid.SampledFrom(types).Draw(t, "task"), Plugin: rapid.SampledFrom(names).Draw(t, "plugin"),
					Domain: rapid.SampledFrom([]string{"", "d"}).Draw(t, "domain"),
				})
			}
			return rules
		}
		w.configure(nil, names...)
		some := func(t *rapid.T) string { return rapid.SampledFrom(slices.Sorted(maps.Keys(w.plugins))).Draw(t, "name") }
		configured := true // in this step
		owners := w.owners
		t.Repeat(map[string]func(*rapid.T){
			"a configuration": func(t *rapid.T) {
				configured = true
				w.configure(rules(t), rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "plugins")...)
			},
			"a new generation": func(t *rapid.T) {
				name := some(t)
				generations[name]++
				w.claim(w.plugins[name], generations[name], claimOf(w.plugins[name], 1, list(t)...), true)
			},
			"another list": func(t *rapid.T) {
				if name := some(t); generations[name] > 0 && w.routes.plugins[name].claim != nil {
					w.claim(w.plugins[name], w.routes.plugins[name].generation, claimOf(w.plugins[name], 1, list(t)...), false)
				}
			},
			"a failure": func(t *rapid.T) { w.decides(some(t)) },
			"a release": func(t *rapid.T) { name := some(t); w.release(name, w.plugins[name], generations[name]) },
			"a removal": func(t *rapid.T) {
				if len(w.plugins) > 1 {
					name := some(t)
					w.leave(name, w.plugins[name])
					delete(w.plugins, name)
					configured = true
				}
			},
			"": func(t *rapid.T) {
				again := w.assign(nil)
				if !maps.Equal(again.Owners, w.owners) {
					t.Fatalf("owners are %v, and by what is claimed %v", w.owners, again.Owners)
				}
				if waits := slices.ContainsFunc(slices.Collect(maps.Values(w.routes.plugins)), func(st *standing) bool { return st.held != nil }); waits && !w.moving() {
					t.Fatal("a claim waits for nobody")
				}
				for task, owner := range owners {
					claims := w.routes.plugins[owner] != nil && w.routes.plugins[owner].claim != nil && claimsTask(*w.routes.plugins[owner].claim, task)
					given := slices.ContainsFunc(w.rules, func(r route.Rule) bool { return r.Task == task && r.Domain == "" && r.Plugin == w.owners[task] })
					if now := w.owners[task]; !configured && !given && claims && now != owner {
						t.Fatalf("%s went from %s to %q without a configuration", task, owner, now)
					}
					if _, ok := w.current.Table().Lookup(plugin.Category{Name: task}); !ok && !configured {
						if _, listed := w.current.Table().Removed(plugin.Category{Name: task}); !listed {
							t.Fatalf("%s of %s is not listed any more", task, owner)
						}
					}
				}
				owners, configured = maps.Clone(w.owners), false
			},
		})
		for name := range w.plugins {
			w.decides(name)
		}
		for name, st := range w.routes.plugins {
			if st.held != nil {
				t.Fatalf("%s waits, and nothing moves", name)
			}
			for _, agent := range tasksOf(st) {
				if w.owners[agent] == "" && w.rules == nil {
					t.Fatalf("%s is claimed by %s and nobody's", agent, name)
				}
			}
		}
	})
}

func claimsTask(c route.Claim, task string) bool {
	return slices.ContainsFunc(c.Manifest.Agents, func(a plugin.Agent) bool {
		return slices.ContainsFunc(a.Categories, func(of plugin.Category) bool { return of.Name == task })
	})
}

func tasksOf(st *standing) (tasks []string) {
	if st.claim == nil {
		return nil
	}
	for _, a := range st.claim.Manifest.Agents {
		tasks = append(tasks, fmt.Sprint(a.Categories[0].Name))
	}
	return tasks
}
