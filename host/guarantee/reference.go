package guarantee

import (
	"fmt"
	"strings"
)

// Reference is docs/reference/guarantees.md.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(`# Guarantees

<!-- Generated from host/guarantee/guarantee.go: go test ./host/guarantee -update -->

What Flyte can rely on, whatever plugins do. The lines of the host that act for a guarantee are marked with its ID:
` + "`grep -rn G7 host`" + `. ` + "`make chaos-guarantees`" + ` runs a host without each, and shows what is lost then.

` + "`agenthost_guarantee_total{guarantee, plugin, task_type}`" + ` counts how often each saved a call.

| ID | guarantee | the promise | one more in the metric |
|---|---|---|---|
`)
	for _, g := range table {
		counts := g.Counts
		if counts == "" {
			counts = "not counted: " + g.Uncounted
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", g.ID, g.Name, g.Promise, counts)
	}
	return []byte(b.String())
}
