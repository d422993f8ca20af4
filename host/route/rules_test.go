package route

import (
	"testing"

	"github.com/agenthost/agenthost/host/plugin"
)

func TestRulesSendTasksByProjectAndDomain(t *testing.T) {
	version := int32(2)
	rules := Rules{
		{Task: "sql", Project: "research", Domain: "development", Plugin: "research"},
		{Task: "sql", Domain: "development", Plugin: "dev"},
		{Task: "sql", Version: &version, Plugin: "two"},
	}
	category := plugin.Category{Name: "sql"}
	table, conflicts := rules.Table(
		claim("prod", agent("P", category)), claim("dev", agent("D", category)), claim("research", agent("R", category)),
		claim("two", agent("T", plugin.Category{Name: "sql", Version: 2})),
	)
	if len(conflicts) > 0 {
		t.Fatalf("the rules tell them apart, but: %v", conflicts)
	}
	for _, c := range []struct {
		version         int32
		project, domain string
		want            string
	}{
		{0, "shop", "production", "prod"},
		{0, "shop", "development", "dev"},
		{0, "research", "production", "prod"},
		{0, "research", "development", "research"},
		{2, "shop", "production", "two"},
		{2, "research", "development", "research"}, // the first that fits
		{0, "", "", "prod"},
	} {
		found, ok := table.LookupNew(plugin.Category{Name: "sql", Version: c.version}, c.project, c.domain)
		if !ok || found.Target.Plugin() != c.want {
			t.Errorf("%+v went to %v (%v)", c, found.Target, ok)
		}
		if !found.Pinned {
			t.Errorf("%+v: its jobs are not pinned, and a poll names no project", c)
		}
	}
	if found, ok := table.Lookup(category); !ok || found.Target.Plugin() != "prod" {
		t.Errorf("a job that says nothing went to %v (%v)", found.Target, ok)
	}
}

func TestOfTwoPluginsThatNoRuleTellsApartOneServes(t *testing.T) {
	category := plugin.Category{Name: "sql"}
	rules := Rules{{Task: "sql", Domain: "development", Plugin: "dev"}}
	_, unserved := rules.Table(claim("a", agent("A", category)), claim("dev", agent("D", category)), claim("b", agent("B", category)))
	if want := (Unserved{category, "b", Owned, "a"}); len(unserved) != 1 || unserved[0] != want {
		t.Errorf("not served: %v", unserved)
	}
}

func TestATaskThatNoRuleFitsGoesNowhereWhereAllPluginsAreNamed(t *testing.T) {
	category := plugin.Category{Name: "sql"}
	rules := Rules{{Task: "sql", Domain: "development", Plugin: "dev"}, {Task: "sql", Domain: "production", Plugin: "prod"}}
	table, conflicts := rules.Table(claim("dev", agent("D", category)), claim("prod", agent("P", category)))
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	if found, ok := table.LookupNew(category, "shop", "staging"); ok {
		t.Errorf("it went to %v", found.Target)
	}
	if _, ok := table.Lookup(category); !ok {
		t.Error("a job made before the rules finds nobody at all")
	}
}

func TestJobsAreNotPinnedWhereTheConfigurationForbidsIt(t *testing.T) {
	category := plugin.Category{Name: "sql"}
	never := claim("p", agent("P", category))
	never.NeverPinned = true
	table, _ := Rules{{Task: "sql", Domain: "d", Plugin: "q"}}.Table(never)
	if found, _ := table.Lookup(category); found.Pinned {
		t.Error("it is pinned")
	}
}
