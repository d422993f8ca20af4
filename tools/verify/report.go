package verify

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/agenthost/agenthost/tools/terminal"
)

// Report is what came of all checks.
type Report struct {
	Command []string `json:"command"`
	// Name, Version and Agents are the plugin's own words; empty where it did not say.
	Name    string   `json:"name,omitempty"`
	Version string   `json:"version,omitempty"`
	Agents  string   `json:"agents,omitempty"`
	Checks  []Result `json:"checks"`
	Seconds float64  `json:"seconds"`
}

// describe adds what the plugin said of itself.
func (r *Report) describe(k *kit) {
	r.Name, r.Version = k.describeAnswer.GetName(), k.describeAnswer.GetVersion()
	if k.agentList != nil {
		r.Agents = describeAgents(k.agentList)
	}
}

// Count is how many checks have a status.
func (r *Report) Count(status Status) int {
	n := 0
	for _, check := range r.Checks {
		if check.Status == status {
			n++
		}
	}
	return n
}

// OK says that no check failed.
func (r *Report) OK() bool { return r.Count(Failed) == 0 }

// Title is the plugin in few words.
func (r *Report) Title() string {
	if r.Name != "" {
		return terminal.Line(r.Name + " " + r.Version)
	}
	return r.Command[0]
}

// Summary is the result in one line.
func (r *Report) Summary() string {
	return fmt.Sprintf("%d passed, %d failed, %d warnings, %d skipped in %.1f s",
		r.Count(Passed), r.Count(Failed), r.Count(Warned), r.Count(Skipped), r.Seconds)
}

// maxCell is the width of the column with what was seen.
const maxCell = 100

// Table writes the report for people: all checks, then what is wrong, why it matters and what to do.
func (r *Report) Table(out io.Writer) {
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Options.SeparateRows = false
	w.Style().Format.Header = text.FormatDefault
	w.AppendHeader(table.Row{"check", "result", "seen"})
	for _, check := range r.Checks {
		w.AppendRow(table.Row{check.Name, check.Status, cell(check.Detail)})
	}
	fmt.Fprintln(out, w.Render())
	for _, check := range r.Checks {
		if check.Status != Failed && check.Status != Warned {
			continue
		}
		fmt.Fprintf(out, "\n%s %s: %s\n  why:  %s\n  what to do: %s\n", check.Status, check.Name, check.Detail, check.Reason, check.Advice)
	}
	fmt.Fprintf(out, "\n%s: %s\n", r.Title(), r.Summary())
}

func cell(detail string) string {
	runes := []rune(terminal.Line(detail))
	if len(runes) > maxCell {
		runes = append(runes[:maxCell-1], '…')
	}
	return string(runes)
}
