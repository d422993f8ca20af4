package plugin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
)

func TestAListThatIsTooLongOrHasTooLongNamesIsRefused(t *testing.T) {
	types := func(n int) []string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("type-", i)
		}
		return names
	}
	categories := func(names []string) (all []*admin.TaskCategory) {
		for _, name := range names {
			all = append(all, &admin.TaskCategory{Name: name})
		}
		return all
	}
	long := strings.Repeat("x", maxName+1)
	for name, test := range map[string]struct {
		agent *admin.Agent
		max   int
		says  string
	}{
		"as many as by default":      {&admin.Agent{Name: "a", SupportedTaskCategories: categories(types(1000))}, 0, ""},
		"one more":                   {&admin.Agent{Name: "a", SupportedTaskCategories: categories(types(1001))}, 0, "it lists 1001 task types, and one plugin may list 1000"},
		"as deprecated types":        {&admin.Agent{Name: "a", SupportedTaskTypes: types(1001)}, 0, "it lists 1001 task types"},
		"as many as are allowed":     {&admin.Agent{Name: "a", SupportedTaskTypes: types(1001)}, 1001, ""},
		"60,000":                     {&admin.Agent{Name: "a", SupportedTaskCategories: categories(types(60_000))}, 0, "it lists 60000 task types"},
		"the longest name":           {&admin.Agent{Name: "a", SupportedTaskTypes: []string{long[1:]}}, 0, ""},
		"a longer type":              {&admin.Agent{Name: "a", SupportedTaskTypes: []string{long}}, 0, "a name of 256 bytes"},
		"a longer category":          {&admin.Agent{Name: "a", SupportedTaskCategories: categories([]string{long})}, 0, "a name of 256 bytes"},
		"an agent with a longer one": {&admin.Agent{Name: long, SupportedTaskTypes: types(1)}, 0, "a name of 256 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := agentsOf([]*admin.Agent{test.agent}, test.max)
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}
