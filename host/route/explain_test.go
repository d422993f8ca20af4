package route

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// decided is a decision in short: whose the task is, why, and who else lists its type.
func decided(a Assignment, name string, version int32, project, domain string) string {
	d, ok := a.Table.Explain(category(name, version), project, domain)
	if !ok {
		return fmt.Sprint("nobody", d.Others)
	}
	text := fmt.Sprint(d.Route.Target.Plugin(), d.Route.Category.Version, " ", d.Because)
	if d.Rule != nil {
		text += " " + d.Rule.String()
	}
	for _, o := range d.Others {
		text += "; " + o.Why
	}
	return text
}

func TestWhoAsksWhyIsTold(t *testing.T) {
	x, x2 := category("x", 0), category("x", 2)
	dev := Rules{{Task: "x", Domain: "development", Plugin: "dev", At: "host.yaml:7"}}
	two := int32(2)
	for promise, c := range map[string]struct {
		rules           Rules
		before          Owners
		claims          []Claim
		version         int32
		project, domain string
		want            string
	}{
		"nobody else lists it": {claims: []Claim{claim("a", agent("A", x))}, want: "a0 5"},
		"another lists it, and comes later in the alphabet": {
			claims: []Claim{claim("a", agent("A", x)), claim("b", agent("B", x))},
			want:   `a0 4; plugin "b" does not serve task category "x": the task type belongs to plugin "a"; say in task_types: which of the two serves it, or in routes: which project or domain goes to "b"`,
		},
		"who had it before has it": {
			before: Owners{"x": "b"}, claims: []Claim{claim("a", agent("A", x)), claim("b", agent("B", x))},
			want: `b0 3; plugin "a" does not serve task category "x": the task type belongs to plugin "b"; say in task_types: which of the two serves it, or in routes: which project or domain goes to "a"`,
		},
		"its task_types names it": {
			before: Owners{"x": "a"}, claims: []Claim{claim("a", agent("A", x)), allowed(claim("b", agent("B", x)), "x")},
			want: `b0 2; plugin "a" does not serve task category "x": the task type belongs to plugin "b"; say in task_types: which of the two serves it, or in routes: which project or domain goes to "a"`,
		},
		"a route gives it everything": {
			rules: Rules{{Task: "x", Plugin: "b"}}, claims: []Claim{claim("a", agent("A", x)), claim("b", agent("B", x))},
			want: `b0 0 task x; plugin "a" does not serve task category "x": routes: gives all tasks of that type to "b"`,
		},
		"a route gives it the domain": {
			rules: dev, claims: []Claim{claim("dev", agent("D", x)), claim("prod", agent("P", x))}, project: "shop", domain: "development",
			want: `dev0 0 task x, domain development (host.yaml:7); plugin "prod" has what no route takes of task type "x"`,
		},
		"a route gives another domain to another": {
			rules: dev, claims: []Claim{claim("dev", agent("D", x)), claim("prod", agent("P", x))}, project: "shop", domain: "production",
			want: `prod0 5; plugin "dev" has a route for other tasks: task x, domain development (host.yaml:7)`,
		},
		"every plugin has a route, and none fits": {
			rules: dev, claims: []Claim{claim("dev", agent("D", x))}, domain: "production",
			want: `nobody[{dev plugin "dev" has a route for other tasks: task x, domain development (host.yaml:7)}]`,
		},
		"a version of its own": {
			rules:  Rules{{Task: "x", Version: &two, Plugin: "b"}},
			claims: []Claim{claim("a", agent("A", x)), claim("b", agent("B", x2))}, version: 2,
			want: `b2 0 task x, version 2; plugin "a" has what no route takes of task type "x"`,
		},
	} {
		t.Run(promise, func(t *testing.T) {
			a := c.rules.Assign(c.before, nil, each(c.claims))
			if got := decided(a, "x", c.version, c.project, c.domain); got != c.want {
				t.Errorf(" got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTheExplanationIsOfTheRouteThatCallsTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawnRules(t)
		table := rules.Assign(nil, nil, each(drawnClaims(t))).Table
		asked := category(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "type"), rapid.Int32Range(0, 3).Draw(t, "version"))
		project, domain := rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "project"), rapid.SampledFrom([]string{"", "d", "e"}).Draw(t, "domain")
		found, ok := table.LookupNew(asked, project, domain)
		d, explained := table.Explain(asked, project, domain)
		switch {
		case ok != explained:
			t.Fatalf("a call finds a plugin: %v, and the explanation: %v", ok, explained)
		case !ok:
		case found.Target != d.Route.Target || found.Category != d.Route.Category:
			t.Fatalf("a call goes to %v, and the explanation says %v", found.Target, d.Route.Target)
		case (d.Rule == nil) == (d.Because == 0):
			t.Fatalf("neither a rule nor ownership is the reason, or both are: %+v", d)
		case d.Rule != nil && d.Rule.Plugin != found.Target.Plugin():
			t.Fatalf("a rule for %s sends it to %s", d.Rule.Plugin, found.Target.Plugin())
		}
		for _, o := range d.Others {
			if ok && o.Plugin == found.Target.Plugin() {
				t.Fatalf("%s serves it, and does not: %s", o.Plugin, o.Why)
			}
		}
	})
}
