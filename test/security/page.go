package main

import (
	"fmt"
	"slices"
	"strings"
)

const pageIntro = `# Attempts

<!-- Generated from test/security/table.go: go test ./test/security -run TestThePublishedAttemptsAreUpToDate -update -->

What ` + "`make security-test`" + ` tries, and what has to come of it. A plugin's attempt is made by one in Go and by one in Python, which hold
the process ids, paths and addresses that they would have to find out. The host runs as root or as an ordinary user, with sandboxes or without; in the
sandboxes of a host that is root each plugin has a user of its own. ✗: must be refused, on a kernel with Landlock's ABI 6 or newer. A number: may succeed, for the
reason below. Whatever is tried, the host lives, in a cgroup of 512 MiB, and all calls of another plugin succeed. [security.md](../security.md) says what follows.

`

// page is docs/reference/attempts.md.
func page() string {
	var b strings.Builder
	b.WriteString(pageIntro)
	var reasons []string
	for _, k := range kinds {
		fmt.Fprintf(&b, "## %s\n\n| attempt | what | root, sandbox | root, none | user, sandbox | user, none |\n|---|---|---|---|---|---|\n", k)
		for _, r := range table {
			if r.kind != k {
				continue
			}
			fmt.Fprintf(&b, "| `%s` | %s |", r.name, r.what)
			for _, p := range places {
				mark := "✗"
				if reason, conceded := r.concededIn(p); conceded {
					if !slices.Contains(reasons, reason) {
						reasons = append(reasons, reason)
					}
					mark = fmt.Sprint(slices.Index(reasons, reason) + 1)
				}
				fmt.Fprintf(&b, " %s |", mark)
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	b.WriteString("## Reasons\n\n")
	for i, reason := range reasons {
		fmt.Fprintf(&b, "%d. %s\n", i+1, reason)
	}
	return b.String()
}
