package fleet

import (
	"errors"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// asking is a target that counts how often it is asked for its name. A table asks once as it is built, where another plugin serves
// the same category and a rule tells them apart.
type asking struct {
	route.Target
	name  string
	asked int
}

func (a *asking) Plugin() string {
	a.asked++
	return a.name
}

func claimOf(target route.Target, rate float64, categories ...string) route.Claim {
	claim := route.Claim{Target: target, Policy: route.Policy{Rate: rate}}
	for _, category := range categories {
		claim.Manifest.Agents = append(claim.Manifest.Agents, asyncAgentOf(category))
	}
	return claim
}

func TestTheRouteTableIsBuiltOnceAChange(t *testing.T) {
	a, b, c := &asking{name: "a"}, &asking{name: "b"}, &asking{name: "c"}
	apart := route.Rules{{Task: "x", Plugin: "b", Domain: "development"}}
	r := routes{current: &route.Current{}}
	r.setRules(apart)
	if err := errors.Join(r.claim(claimOf(a, 1, "x")), r.claim(claimOf(b, 1, "x"))); err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct {
		what              string
		do                func() error
		builds            int
		publishes, failed bool
	}{
		{"the same claim", func() error { return r.claim(claimOf(a, 1, "x")) }, 0, false, false},
		{"another policy", func() error { return r.claim(claimOf(a, 2, "x")) }, 1, true, false},
		{"another plugin", func() error { return r.claim(claimOf(c, 1, "y")) }, 1, true, false},
		{"another category", func() error { return r.claim(claimOf(c, 1, "y", "z")) }, 1, true, false},
		{"a conflict", func() error { return r.claim(claimOf(c, 1, "x")) }, 1, false, true},
		{"the same rules", func() error { r.setRules(route.Rules{apart[0]}); return nil }, 0, false, false},
		{"other rules", func() error { r.setRules(append(apart, route.Rule{Task: "y", Plugin: "c"})); return nil }, 1, true, false},
		{"a plugin goes", func() error { r.withdraw(c, time.Minute); return nil }, 1, true, false},
		{"it has gone", func() error { r.withdraw(c, time.Minute); return nil }, 0, false, false},
	} {
		before := r.current.Table()
		b.asked = 0
		if err := change.do(); (err != nil) != change.failed {
			t.Errorf("%s: %v", change.what, err)
		}
		if published := r.current.Table() != before; b.asked != change.builds || published != change.publishes {
			t.Errorf("%s: %d tables were built, want %d; published: %v", change.what, b.asked, change.builds, published)
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

// A rule goes that told two plugins apart. The older one serves on, and the settings of all but the other one can still change.
func TestAConflictThatARuleLeavesConcernsNobodyElse(t *testing.T) {
	a, b, c := &asking{name: "a"}, &asking{name: "b"}, &asking{name: "c"}
	r := routes{current: &route.Current{}}
	r.setRules(rulesOf(&config.Config{Routes: []config.Route{{Task: "x", Plugin: "b", Domain: "development"}}}))
	if err := errors.Join(r.claim(claimOf(a, 1, "x")), r.claim(claimOf(b, 1, "x")), r.claim(claimOf(c, 1, "y"))); err != nil {
		t.Fatal(err)
	}
	r.setRules(nil)
	if err := errors.Join(r.claim(claimOf(a, 2, "x")), r.claim(claimOf(c, 2, "y"))); err != nil {
		t.Errorf("the settings of others are not in effect: %v", err)
	}
	for category, target := range map[string]route.Target{"x": a, "y": c} {
		if found, _ := r.current.Table().Lookup(plugin.Category{Name: category}); found.Target != target || found.Policy.Rate != 2 {
			t.Errorf("%s goes to %+v", category, found)
		}
	}
	conflict := route.Conflict{}
	if err := r.claim(claimOf(b, 2, "x")); !errors.As(err, &conflict) || conflict.Owner != "a" || conflict.Claims != "b" {
		t.Errorf("the other one hears %v", err)
	}
	// The one that serves takes no category of a third.
	if err := r.claim(claimOf(a, 2, "x", "y")); !errors.As(err, &conflict) {
		t.Errorf("it takes y: %v", err)
	}
}
