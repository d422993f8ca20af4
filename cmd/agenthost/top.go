package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

// topReport is one look of `agenthost top`.
type topReport struct {
	// When.
	Time time.Time `json:"time"`
	// The plugins, in the order asked for.
	Plugins []topPlugin `json:"plugins"`
}

// topPlugin is what one plugin does and takes. Calls are those of the last ten seconds, of which the host keeps steps; the processor's time
// is that between two looks.
type topPlugin struct {
	Name            string  `json:"name"`
	State           string  `json:"state"`
	CallsPerSecond  float64 `json:"calls_per_second"`
	ErrorsPerSecond float64 `json:"errors_per_second"`
	MeanSeconds     float64 `json:"mean_seconds"`
	P95Seconds      float64 `json:"p95_seconds"`
	InFlight        int     `json:"in_flight"`
	Waiting         int     `json:"waiting"`
	MemoryBytes     uint64  `json:"memory_bytes"`
	// Processors is how many processors it keeps busy.
	Processors float64 `json:"processors"`
	Restarts   int     `json:"restarts"`
}

// topSteps is how many of the host's steps the calls are of: the last has only just ended.
const topSteps = 2

// topOrders are the columns to sort by, the most first; the name comes first in the alphabet.
var topOrders = map[string]func(topPlugin) float64{
	"calls":     func(p topPlugin) float64 { return p.CallsPerSecond },
	"errors":    func(p topPlugin) float64 { return p.ErrorsPerSecond },
	"latency":   func(p topPlugin) float64 { return p.P95Seconds },
	"in-flight": func(p topPlugin) float64 { return float64(p.InFlight) },
	"waiting":   func(p topPlugin) float64 { return float64(p.Waiting) },
	"memory":    func(p topPlugin) float64 { return float64(p.MemoryBytes) },
	"cpu":       func(p topPlugin) float64 { return p.Processors },
	"restarts":  func(p topPlugin) float64 { return float64(p.Restarts) },
	"name":      func(topPlugin) float64 { return 0 },
}

var topOrderNames = []string{"calls", "errors", "latency", "in-flight", "waiting", "memory", "cpu", "restarts", "name"}

func newTopCommand() *cobra.Command {
	var output string
	var once bool
	order := topOrderNames[0]
	var looks int
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show which plugins of a running host are busy, and with what",
		Long: `Shows the plugins of a running host, the busiest first: calls and errors per second and how long calls took, over the last ten
seconds; calls in flight and waiting; memory, and processors kept busy since the look before. On a terminal it stays in one place, shows
as many plugins as fit, and goes on until interrupted.

With --once, or -n, it ends after so many looks, each after an interval.`,
		Example: `  agenthost top
  agenthost top --sort memory
  agenthost top --once -o json | jq '.plugins[] | select(.errors_per_second > 0)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			switch {
			case interval < 100*time.Millisecond:
				return usageError(fmt.Errorf("--interval %v: expected 100ms or more", interval))
			case looks < 0:
				return usageError(fmt.Errorf("-n %d: expected how many times, or 0 for until interrupted", looks))
			case once && cmd.Flags().Changed("looks"):
				return usageError(errors.New("--once and -n: only one of them can be given"))
			case once:
				looks = 1
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			err = top(ctx, host, topView{output, order, looks, interval}, cmd.OutOrStdout())
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
	bindAdminFlags(cmd, answerTimeout)
	bindOutput(cmd, &output, outputTable, outputJSON, outputYAML)
	cmd.Flags().Var(&choice{&order, topOrderNames}, "sort", "the `column` that comes first: "+oneOf(topOrderNames))
	completeFlag(cmd, "sort", cobra.FixedCompletions(topOrderNames, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder))
	cmd.Flags().BoolVar(&once, "once", false, "look once, and end")
	cmd.Flags().IntVarP(&looks, "looks", "n", 0, "look so `many` times, and end; 0: until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how `long` to wait between two looks")
	return cmd
}

// topView is how it is shown.
type topView struct {
	output, order string
	looks         int // 0: without end
	interval      time.Duration
}

// top looks again and again. On a terminal a host that does not answer is shown as such: it may come back.
func top(ctx context.Context, host adminclient.Client, view topView, out io.Writer) error {
	const home, clear = "\x1b[H", "\x1b[J"
	inPlace := !isData(view.output) && isTerminal(out) && view.looks == 0
	before, err := lookTop(ctx, host)
	if err != nil && !inPlace {
		return err
	}
	if inPlace {
		terminal.Control(out, home+clear)
	}
	ticker := time.NewTicker(view.interval)
	defer ticker.Stop()
	for look := 0; view.looks == 0 || look < view.looks; look++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := lookTop(ctx, host)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !inPlace {
			return err
		}
		var screen string
		if err != nil {
			screen = err.Error() + "\n"
		} else {
			report := now.since(before, view.order)
			before = now
			if isData(view.output) {
				if err := printLine(out, view.output, report); err != nil {
					return err
				}
				continue
			}
			rows := len(report.Plugins)
			if inPlace {
				rows = rowsOf(out)
			}
			screen = renderTop(now.status, report, rows)
		}
		if inPlace {
			terminal.Control(out, home+strings.ReplaceAll(terminal.Clean(screen), "\n", "\x1b[K\n")+clear)
		} else if _, err := io.WriteString(out, screen); err != nil {
			return err
		}
	}
	return nil
}

// topLook is what a host says at one moment.
type topLook struct {
	at      time.Time
	status  admin.Status
	waiting map[string]int // calls, by plugin
	series  admin.Series
}

func lookTop(ctx context.Context, host adminclient.Client) (topLook, error) {
	look := topLook{at: time.Now(), waiting: map[string]int{}}
	status, raw, err := host.Status(ctx)
	if err != nil {
		return look, err
	}
	look.status = status
	var more struct { // what hosts of some versions say besides
		Plugins []struct {
			Name    string `json:"name"`
			Waiting []struct {
				Calls int `json:"calls"`
			} `json:"waiting"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal(raw, &more); err == nil {
		for _, p := range more.Plugins {
			for _, on := range p.Waiting {
				look.waiting[p.Name] += on.Calls
			}
		}
	}
	look.series, err = host.Series(ctx, topSteps)
	return look, err
}

// since is what the host has done since the look before.
func (l topLook) since(before topLook, order string) topReport {
	report := topReport{Time: l.at, Plugins: []topPlugin{}}
	cpu := map[string]float64{}
	for _, p := range before.status.Plugins {
		cpu[p.Name] = p.CPUSeconds
	}
	series := map[string]admin.PluginSeries{}
	for _, s := range l.series.Plugins {
		series[s.Name] = s
	}
	for _, p := range l.status.Plugins {
		s := series[p.Name]
		row := topPlugin{
			Name: p.Name, State: p.State, InFlight: p.InFlight, Waiting: l.waiting[p.Name], MemoryBytes: p.MemoryBytes, Restarts: p.Restarts,
			CallsPerSecond: mean(s.Calls), ErrorsPerSecond: mean(s.Errors), P95Seconds: largest(s.P95),
		}
		took := 0.0
		for i := range min(len(s.Calls), len(s.Mean)) {
			took += s.Calls[i] * s.Mean[i]
		}
		if row.CallsPerSecond > 0 {
			row.MeanSeconds = took / float64(len(s.Calls)) / row.CallsPerSecond
		}
		if was, known := cpu[p.Name]; known && p.CPUSeconds >= was { // a new process begins at nothing
			row.Processors = (p.CPUSeconds - was) / l.at.Sub(before.at).Seconds()
		}
		report.Plugins = append(report.Plugins, row)
	}
	by := topOrders[order]
	slices.SortStableFunc(report.Plugins, func(a, b topPlugin) int { return cmp.Or(cmp.Compare(by(b), by(a)), strings.Compare(a.Name, b.Name)) })
	return report
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, value := range values {
		sum += value
	}
	return sum / math.Max(float64(len(values)), 1)
}

func largest(values []float64) float64 {
	most := 0.0
	for _, value := range values {
		most = math.Max(most, value)
	}
	return most
}

// rowsOf is for how many plugins a terminal has room.
func rowsOf(out io.Writer) int {
	const others = 5 // lines, the last one among them where the cursor is
	if file, ok := terminal.Behind(out).(interface{ Fd() uintptr }); ok {
		if _, height, err := term.GetSize(int(file.Fd())); err == nil {
			return max(height-others, 1)
		}
	}
	return 20
}

func renderTop(status admin.Status, report topReport, rows int) string {
	var b strings.Builder
	calls, failed, inFlight, processors, bytes := 0.0, 0.0, 0, 0.0, uint64(0)
	for _, p := range report.Plugins {
		calls, failed, inFlight, processors, bytes = calls+p.CallsPerSecond, failed+p.ErrorsPerSecond, inFlight+p.InFlight, processors+p.Processors, bytes+p.MemoryBytes
	}
	fmt.Fprintf(&b, "agenthost %s  up %s  %s: %.1f calls/s, %.1f errors/s, %d in flight, %s, %.0f%% CPU\n",
		terminal.Line(status.Host.Version), uptime(status.Host.UptimeSeconds), countPlugins(len(report.Plugins)), calls, failed, inFlight, memory(bytes), 100*processors)
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	w.Style().Options = table.OptionsNoBordersAndSeparators
	w.AppendHeader(table.Row{"PLUGIN", "STATE", "CALLS/S", "ERRORS/S", "MEAN", "P95", "IN FLIGHT", "WAITING", "MEMORY", "CPU", "RESTARTS"})
	for _, p := range report.Plugins[:min(rows, len(report.Plugins))] {
		isCalled := p.CallsPerSecond > 0
		w.AppendRow(table.Row{
			terminal.Line(p.Name), terminal.Line(p.State), fmt.Sprintf("%.1f", p.CallsPerSecond), fmt.Sprintf("%.1f", p.ErrorsPerSecond), orDash(isCalled, shortly(p.MeanSeconds)), orDash(isCalled, shortly(p.P95Seconds)),
			p.InFlight, p.Waiting, memory(p.MemoryBytes), fmt.Sprintf("%.0f%%", 100*p.Processors), p.Restarts,
		})
	}
	for line := range strings.SplitSeq(w.Render(), "\n") {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if more := len(report.Plugins) - rows; more > 0 {
		fmt.Fprintf(&b, "and %s more\n", countPlugins(more))
	}
	return b.String()
}
