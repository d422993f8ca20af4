package report

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table writes the rows for a terminal.
func (r Result) Table(to io.Writer) {
	w := table.NewWriter()
	w.SetOutputMirror(to)
	w.SetStyle(table.StyleLight)
	w.AppendHeader(table.Row{"row", "what", "measured", "spread", "target", "met"})
	w.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: 60, WidthMaxEnforcer: text.WrapSoft}, {Number: 3, WidthMax: 40, WidthMaxEnforcer: text.WrapSoft}})
	for _, row := range r.Rows {
		w.AppendRow(table.Row{row.Name, row.What, row.Said(), row.Range(), row.Wanted(), row.Verdict()})
	}
	w.Render()
}

// Said is what was measured, with its unit.
func (r Row) Said() string {
	if r.Measured == nil {
		return "failed: " + firstLine(r.Error)
	}
	return strings.TrimSpace(Number(r.Measured.Median) + " " + r.Unit)
}

// Range is the lowest and highest of the rounds; empty where there was one.
func (r Row) Range() string {
	if r.Measured == nil || r.Measured.Low == r.Measured.High {
		return ""
	}
	return Number(r.Measured.Low) + " to " + Number(r.Measured.High)
}

// Wanted is the target; empty where there is none.
func (r Row) Wanted() string {
	if r.Target == nil {
		return ""
	}
	return r.Target.String()
}

// Verdict says whether the target is met.
func (r Row) Verdict() string {
	switch {
	case r.Error != "":
		return "failed"
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	default:
		return "not met"
	}
}

// Number writes a quantity as finely as it is of interest.
func Number(value float64) string {
	switch size := math.Abs(value); {
	case size >= 100:
		return fmt.Sprintf("%.0f", value)
	case size >= 10:
		return fmt.Sprintf("%.1f", value)
	default:
		return fmt.Sprintf("%.2f", value)
	}
}

// Lines are what a comparison found, a line each contender.
func (c Comparison) Lines() []string {
	lines := make([]string, 0, len(c.Contenders))
	for _, one := range c.Contenders {
		lines = append(lines, fmt.Sprintf("%-16s %-12s median %6.0f calls/s (%6.0f to %6.0f); p50 %s, p99 %s, p99.9 %s ms; processor time a call: %3.0f µs (client %.0f, host %.0f, plugin %.0f)",
			c.Name, one.Name, one.CallsPerSecond.Median, one.CallsPerSecond.Low, one.CallsPerSecond.High,
			Number(one.P50.Median), Number(one.P99.Median), Number(one.P999.Median), one.CPU.All(), one.CPU.Client, one.CPU.Host, one.CPU.Plugin))
	}
	return lines
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
