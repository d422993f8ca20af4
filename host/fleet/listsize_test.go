package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// FlytePropeller reads one list of all plugins, and none of it where it is larger than its client takes.
func TestAPluginWhoseListIsTooMuchBesideTheOthersIsRefusedByName(t *testing.T) {
	w := newWorld()
	w.configure(nil, "first", "second", "third")
	claimOf := func(name string, types int) verdict {
		agent := plugin.Agent{Name: "agent"}
		for i := range types {
			agent.Categories = append(agent.Categories, plugin.Category{Name: fmt.Sprintf("%s-%d-%s", name, i, strings.Repeat("x", 200))})
		}
		claim := route.Claim{Target: w.plugins[name], Manifest: plugin.Manifest{Agents: []plugin.Agent{agent}}}
		return w.claim(w.plugins[name], 1, claim, false)
	}
	if err := claimOf("first", 4000).refusal(); err != nil {
		t.Fatal(err)
	}
	before := w.current.Table()
	err := claimOf("second", 4000).refusal()
	if err == nil || !strings.Contains(err.Error(), `"second"`) || !strings.Contains(err.Error(), fmt.Sprint(route.MaxListSize)) {
		t.Errorf("got %v", err)
	}
	if w.current.Table() != before {
		t.Error("a table was published all the same")
	}
	if err := claimOf("third", 1).refusal(); err != nil {
		t.Errorf("one that fits beside the first: %v", err)
	}
}
