package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/test/bench/report"
)

// page is the whole text. Plots are in a folder beside it.
func page(r report.Result, drawn []drawing, why notes, folder string) (string, error) {
	var p strings.Builder
	line := func(format string, values ...any) { fmt.Fprintf(&p, format+"\n", values...) }
	line("# What the host costs")
	line("")
	line("<!-- Generated from docs/benchmarks/result.json by go run ./test/bench/page; `make bench-docs` measures anew -->")
	line("")
	line("`make bench` measures this, side by side and in alternating rounds, because machines are noisy: what counts are ratios of medians of one run. The")
	line("contenders: the plugin hello (in Go) straight and behind the host (*forwarded*); behind a plain typed gRPC *proxy*, for reference; *flytekit*, which is `pyflyte")
	line("serve connector` with a connector that does the same; *adapter*, the same connector in `agenthost-flytekit` behind the host, and *adapter-2*, two instances of it.")
	line("All share the processors with the client that measures.")
	line("")
	line("Measured %s in %.0f min, on %d cores of %s with %.0f GiB, Linux %s, load %.1f before.", r.Taken.Format("2006-01-02"), r.Seconds/60,
		r.Machine.Cores, r.Machine.CPU, r.Machine.MemoryMiB/1024, r.Machine.Kernel, r.Machine.Load)
	if r.Scale != "full" {
		line("**This was a %s run, whose figures are to be compared with nothing.**", r.Scale)
	}
	line("")
	line("| | version |")
	line("|---|---|")
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		line("| %s | %s |", name, cell(r.Versions[name]))
	}
	line("")
	line("## Targets")
	line("")
	line("%s.", r.Summary())
	line("")
	line("| row | what | measured | spread | target | met |")
	line("|---|---|---|---|---|---|")
	for _, row := range r.Rows {
		line("| [%s](#%s) | %s | %s | %s | %s | %s |", row.Name, anchor(row.Name), cell(row.What), cell(row.Said()), row.Range(), row.Wanted(), row.Verdict())
	}
	line("")
	line("## Plots")
	for _, one := range drawn {
		line("")
		line("![%s](%s/%s)", one.title, folder, one.file)
	}
	line("")
	line("## Where the time goes")
	for _, row := range r.Rows {
		line("")
		line("### %s", row.Name)
		line("")
		said, err := paragraph(r, row)
		if err != nil {
			return "", fmt.Errorf("%s: %w", row.Name, err)
		}
		line("%s", said)
		if note := why[row.Name]; note != "" {
			line("")
			line("%s", note)
		}
	}
	return p.String(), nil
}

// paragraph says what was measured of one row, and of what it is made.
func paragraph(r report.Result, row report.Row) (string, error) {
	if row.Measured == nil {
		return fmt.Sprintf("%s: could not be measured: %s.", sentence(row.What), strings.ReplaceAll(row.Error, "\n", " ")), nil
	}
	said := []string{sentence(row.What) + ": " + row.Said() + missed(row) + "."}
	if row.Comparison != "" {
		compared, err := compared(r, row)
		if err != nil {
			return "", err
		}
		said = append(said, compared...)
	}
	if len(row.Detail) > 0 {
		var all []string
		for _, what := range slices.Sorted(maps.Keys(row.Detail)) {
			all = append(all, what+": "+report.Number(row.Detail[what]))
		}
		said = append(said, sentence(strings.Join(all, "; "))+".")
	}
	for _, series := range r.Series {
		if series.Name == row.Series {
			var points []string
			for _, point := range series.Points {
				points = append(points, fmt.Sprintf("%s with %.0f", report.Number(point.Y), point.X))
			}
			said = append(said, fmt.Sprintf("Of %s, by %s: %s.", series.Y, series.X, strings.Join(points, ", ")))
		}
	}
	return strings.Join(said, " "), nil
}

// missed says by how much a target is.
func missed(row report.Row) string {
	if row.Met == nil || *row.Met {
		return ""
	}
	by := row.Measured.Median - row.Target.Value
	if !row.Target.AtMost {
		by = -by
	}
	return fmt.Sprintf(", which misses %s by %s", row.Target, strings.TrimSpace(report.Number(by)+" "+row.Unit))
}

// compared says who took which time for the calls of a row's two contenders.
func compared(r report.Result, row report.Row) ([]string, error) {
	comparison, ok := r.Comparison(row.Comparison)
	of, hasOf := comparison.Contender(row.Of)
	to, hasTo := comparison.Contender(row.To)
	if !ok || !hasOf || !hasTo {
		return nil, fmt.Errorf("the result has no comparison %s of %s and %s", row.Comparison, row.Of, row.To)
	}
	var said []string
	for _, one := range []report.Contender{of, to} {
		said = append(said, fmt.Sprintf("%s: %.0f calls/s; p50 %s, p99 %s, p99.9 %s ms; %.0f µs of processor time a call (client %.0f, between %.0f, answering %.0f).",
			sentence(one.Name), one.CallsPerSecond.Median, report.Number(one.P50.Median), report.Number(one.P99.Median), report.Number(one.P999.Median),
			one.CPU.All(), one.CPU.Client, one.CPU.Host, one.CPU.Plugin))
	}
	return append(said, fmt.Sprintf("The difference of %+.0f µs: client %+.0f, between %+.0f, answering %+.0f.", of.CPU.All()-to.CPU.All(),
		of.CPU.Client-to.CPU.Client, of.CPU.Host-to.CPU.Host, of.CPU.Plugin-to.CPU.Plugin)), nil
}

// sentence begins with a capital letter.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// cell is text that a table's cell can hold.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// anchor is a heading's, which has no dots.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }
