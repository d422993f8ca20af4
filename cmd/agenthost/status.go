package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

func newStatusCommand() *cobra.Command {
	var output string
	var watch, wait bool
	var interval time.Duration
	var hash string
	var probes []string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running host and its plugins are doing",
		Long: `Asks a running host, at its admin address, for the state of each plugin: version, process, uptime, restarts, task categories,
calls in flight, memory; and of each generation and instance where there are several. The address is --admin, else that of the
configuration, else 127.0.0.1:9090. With --watch, what happens shows below.

With --wait it waits instead until the host runs a configuration, with all of its plugins: that of --config-hash ('agenthost check
-o json' gives it), else what this command's own --config, variables and flags say. With --probe it asks hosts elsewhere, all of
them, at their probes (listen.probe): dns:///NAME:PORT is every address that a name leads to. It ends at once where the host
refuses the configuration, and soon where a plugin does. A refusal that was there before counts only where it is known to be of the
same files, which are looked for as ever. Plugins that an operator stopped or disabled count for nothing.

Exits with 1 if the host does not answer. With --wait: 0 if all hosts run the configuration with its plugins; 1 if none has
answered; 3 if it is refused, by a host or a plugin; 4 if it does not run everywhere in time (--timeout, 2m).`,
		Example: `  agenthost status
  agenthost status --wait --config-hash 3fa1b2c4d5e6
  agenthost status --wait --config agenthost.yaml --probe dns:///agenthost-headless:9091
  agenthost status --watch
  agenthost status --admin 10.0.0.7:9090 -o json | jq '.plugins[] | select(.state != "running")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			switch {
			case wait && watch:
				return usageError(errors.New("--wait and --watch: only one of them can be given"))
			case wait:
				return waitForConfig(ctx, cmd, hash, probes, output)
			case hash != "" || len(probes) > 0:
				return usageError(errors.New("--config-hash and --probe are for --wait"))
			}
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			if !watch {
				return showStatus(ctx, host, output, false, cmd.OutOrStdout())
			}
			return watchStatus(ctx, host, output, interval, cmd.OutOrStdout())
		},
	}
	bindAdminFlags(cmd, answerTimeout)
	bindOutput(cmd, &output, outputTable, outputJSON, outputYAML)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until a configuration runs, for up to --timeout (default 2m)")
	cmd.Flags().StringVar(&hash, "config-hash", "", "the `hash` of the configuration to wait for")
	cmd.Flags().StringSliceVar(&probes, "probe", nil, "wait for the hosts at these probes: http://host:port, or dns:///name:port for all of a `name`")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how `long` to wait between two looks with --watch")
	return cmd
}

// showStatus shows it once, for those who watch with the calls of the last minute.
func showStatus(ctx context.Context, host adminclient.Client, output string, watched bool, out io.Writer) error {
	status, raw, err := host.Status(ctx)
	if err != nil {
		return err
	}
	switch output {
	case outputJSON:
		_, err = out.Write(raw)
	case outputYAML:
		err = printYAML(out, raw)
	default:
		var calls map[string][]float64
		if watched {
			calls = callsOf(ctx, host)
		}
		_, err = io.WriteString(out, renderStatus(status, calls))
	}
	return err
}

// watchStatus shows the status until ctx ends, and below it what happens meanwhile. On a terminal it stays in one place;
// elsewhere each look follows the last, as one JSON value, YAML document or table after the other, with the events between tables. A host
// that does not answer is shown as such: it may come back.
func watchStatus(ctx context.Context, host adminclient.Client, output string, interval time.Duration, out io.Writer) error {
	const home, clear = "\x1b[H", "\x1b[J"
	interval = max(interval, 100*time.Millisecond)
	inPlace := !isData(output) && isTerminal(out)
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan admin.Event, 256)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	if !isData(output) {
		following.Go(func() {
			followEvents(ctx, host, interval, func(e admin.Event) {
				select {
				case events <- e:
				case <-ctx.Done():
				}
			})
		})
	}
	if inPlace {
		terminal.Control(out, home+clear)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var latest []string // events
	for {
		screen := lookOnce(ctx, host, output)
		if ctx.Err() != nil {
			return nil
		}
		if inPlace {
			screen += strings.Join(latest, "")
			terminal.Control(out, home+strings.ReplaceAll(terminal.Clean(screen), "\n", "\x1b[K\n")+clear)
		} else if _, err := io.WriteString(out, screen); err != nil {
			return err
		}
		for again := false; !again; {
			select {
			case e := <-events:
				line := eventLine(e) + "\n"
				latest = lastOf(append(latest, line), shownEvents)
				if again = inPlace && len(events) == 0; inPlace { // its state is in the table, too
					break
				}
				if _, err := io.WriteString(out, line); err != nil {
					return err
				}
			case <-ticker.C:
				again = true
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// shownEvents is how many of the latest events stay below the table on a terminal.
const shownEvents = 12

// lastOf keeps the last n, in memory that does not grow.
func lastOf(lines []string, n int) []string {
	if len(lines) <= n {
		return lines
	}
	return slices.Delete(lines, 0, len(lines)-n)
}

// lookOnce gives the status or, in its place, why there is none.
func lookOnce(ctx context.Context, host adminclient.Client, output string) string {
	var screen strings.Builder
	if output == outputYAML {
		screen.WriteString("---\n") // one document after the other
	}
	err := showStatus(ctx, host, output, true, &screen)
	switch {
	case err != nil && isData(output):
		_ = printData(&screen, output, map[string]string{"error": err.Error()}) // to memory
	case err != nil:
		fmt.Fprintf(&screen, "%v\n", err)
	}
	return screen.String()
}

// renderStatus writes the status for people, with the calls of each plugin where they are known.
func renderStatus(status admin.Status, calls map[string][]float64) string {
	ready := "ready"
	if !status.Host.Ready {
		ready = "NOT READY"
	}
	var b strings.Builder
	if saved := status.Host.ConfigLastSound; saved != nil {
		fmt.Fprintf(&b, "STARTED WITH THE LAST SOUND CONFIGURATION, %s of %s: the files hold none\n", status.Host.ConfigHash, saved.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "agenthost %s  %s  pid %d  up %s  grpc %s\n", status.Host.Version, ready, status.Host.PID, uptime(status.Host.UptimeSeconds), status.Host.GRPC)
	if why := status.Host.NotReady; why != "" {
		fmt.Fprintf(&b, "NOT READY: %s%s\n", why, prefixed(": ", strings.Join(status.Host.WaitsFor, ", ")))
	}
	if without := status.Host.ReadyWithout; len(without) > 0 {
		fmt.Fprintf(&b, "READY WITHOUT %s: it has waited for ready.give_up\n", strings.Join(without, ", "))
	}
	if wrong := status.Host.ConfigError; wrong != "" {
		fmt.Fprintf(&b, "THE CONFIGURATION HAS MISTAKES, the last sound one%s is in effect: %s\n", prefixed(", ", status.Host.ConfigHash), wrong)
	}
	if late := status.Host.ConfigWatchError; late != "" {
		fmt.Fprintf(&b, "CHANGES OF THE CONFIGURATION ARE SEEN LATE: %s\n", late)
	}
	if lost := status.Host.LogLinesLost; lost > 0 {
		fmt.Fprintf(&b, "lines of the host's log that were lost: %d%s\n", lost, prefixed("; it cannot be written: ", status.Host.LogError))
	}
	if lost := status.Host.EventsLost; lost > 0 {
		fmt.Fprintf(&b, "events that were lost to the host's history: %d%s\n", lost, prefixed("; none can be kept: ", terminal.Line(status.Host.HistoryError)))
	}
	if warning := status.Host.StateWarning; warning != "" {
		fmt.Fprintf(&b, "what the host keeps may not outlive it: %s\n", warning)
	}
	if status.Host.Cgroups != "" {
		fmt.Fprintf(&b, "plugins' cgroups: %s\n", status.Host.Cgroups)
	}
	for _, w := range status.Host.Waiting {
		fmt.Fprintf(&b, "%s\n", waits(w))
	}
	if warning := status.Host.CreateWarning; warning != "" {
		fmt.Fprintf(&b, "tasks may not be accepted as they should be: %s\n", warning)
	}
	if len(status.Plugins) == 0 {
		b.WriteString("no plugins are configured\n")
		b.WriteString(removed(status))
		return b.String()
	}
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	w.Style().Options = table.OptionsNoBordersAndSeparators
	header := table.Row{"PLUGIN", "STATE", "VERSION", "PID", "UPTIME", "RESTARTS", "IN FLIGHT", "MEMORY", "CPU"}
	if calls != nil {
		header = append(header, "CALLS/S")
	}
	w.AppendHeader(append(header, "TASK TYPES"))
	for _, p := range status.Plugins {
		running := p.PID != 0
		row := table.Row{
			terminal.Line(p.Name), terminal.Line(p.State), orDash(p.Version != "", terminal.Line(p.Version)), orDash(running, p.PID), orDash(running, uptime(p.UptimeSeconds)),
			p.Restarts, p.InFlight, orDash(running, memory(p.MemoryBytes)), orDash(running, fmt.Sprintf("%.1fs", p.CPUSeconds)),
		}
		if calls != nil {
			row = append(row, sparkline(calls[p.Name]))
		}
		w.AppendRow(append(row, categories(p.Categories)))
		for _, row := range generationRows(p) {
			w.AppendRow(row)
		}
	}
	for line := range strings.SplitSeq(w.Render(), "\n") {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, p := range status.Plugins {
		b.WriteString(canaryLines(p.Name, p.Rollout))
		if p.Sandbox != nil && len(p.Sandbox.Missing) > 0 {
			fmt.Fprintf(&b, "%s's SANDBOX IS DEGRADED: %s\n", p.Name, strings.Join(p.Sandbox.Missing, "; "))
		}
		if p.Pulling != "" {
			fmt.Fprintf(&b, "%s's image is being pulled: %s\n", p.Name, terminal.Line(p.Pulling))
		}
		if p.SwapError != "" {
			fmt.Fprintf(&b, "%s DOES NOT RUN AS CONFIGURED: %s\n", p.Name, p.SwapError)
		}
		if p.RolledBack {
			fmt.Fprintf(&b, "%s DOES NOT RUN AS CONFIGURED: an operator rolled it back\n", p.Name)
		}
		for _, problem := range p.SecretErrors {
			fmt.Fprintf(&b, "%s keeps the value that it has: %s\n", terminal.Line(p.Name), terminal.Line(problem))
		}
		for _, file := range p.ChangedFiles {
			fmt.Fprintf(&b, "%s: %s changed since it was started; take it up with: agenthost restart %s\n", terminal.Line(p.Name), terminal.Line(file), terminal.Line(p.Name))
		}
		b.WriteString(unserved(p))
		b.WriteString(waitingFor(p))
		if p.Reason == "" {
			continue
		}
		verb := "is"
		if p.State == "running" {
			verb = "runs now; before" + ago(p.ReasonAt) + ":"
		}
		fmt.Fprintf(&b, "%s %s %s\n", p.Name, verb, reason(p))
	}
	for _, p := range status.Plugins {
		for _, g := range p.Generations {
			if g.Reason != "" && g.Reason != p.Reason {
				fmt.Fprintf(&b, "%s generation %s is %s: %s\n", p.Name, g.ID, g.State, g.Reason)
			}
		}
	}
	b.WriteString(removed(status))
	return b.String()
}

// ago is how long ago something was, in parentheses; empty where that is not known.
func ago(at *time.Time) string {
	if at == nil {
		return ""
	}
	return fmt.Sprintf(" (%s ago)", uptime(time.Since(*at).Seconds()))
}

// waits says how many calls wait, and for what.
func waits(w admin.Waiting) string {
	calls := "1 call waits"
	if w.Calls != 1 {
		calls = fmt.Sprintf("%d calls wait", w.Calls)
	}
	what, ok := map[string]string{
		"concurrency": "for limits.concurrency", "rate": "for limits.rate", "plugin": "for the plugin to take calls", "removed": "for a plugin that was taken out of the configuration",
		"start": "until it is known what the plugins serve", "gate": "for other creations that the plugin may have died of", "job": "for their task's job",
		"retry": "until their job is tried again", "memory": "for room within limits.memory",
	}[w.On]
	if !ok { // of a newer host
		what = "for " + terminal.Line(w.On)
	}
	return fmt.Sprintf("%s %s, the oldest for %s", calls, what, uptime(w.OldestSeconds))
}

// waitingFor are the lines about what a plugin's calls wait for, what drains, and when it is started next.
func waitingFor(p admin.PluginStatus) string {
	var b strings.Builder
	name := terminal.Line(p.Name)
	for _, w := range p.Waiting {
		fmt.Fprintf(&b, "%s: %s\n", name, waits(w))
	}
	for _, g := range p.Generations {
		if g.Role == "draining" && g.InFlight > 0 {
			fmt.Fprintf(&b, "%s generation %s drains: %s under way\n", name, terminal.Line(g.ID), calls(g.InFlight))
		}
	}
	if p.NextStart != nil {
		fmt.Fprintf(&b, "%s is started again in %s\n", name, uptime(max(0, time.Until(*p.NextStart).Seconds())))
	}
	return b.String()
}

func calls(n int) string {
	if n == 1 {
		return "1 call"
	}
	return fmt.Sprintf("%d calls", n)
}

// removed are the lines about plugins that were taken out of the configuration.
func removed(status admin.Status) string {
	var b strings.Builder
	for _, p := range status.Plugins {
		if p.Removed {
			fmt.Fprintf(&b, "%s was taken out of the configuration, and goes when its processes are gone: %s under way\n", terminal.Line(p.Name), calls(p.InFlight))
		}
	}
	for _, r := range status.Removed {
		fmt.Fprintf(&b, "%s was taken out of the configuration; calls that begin %s wait for it until %s\n",
			terminal.Line(r.Plugin), terminal.Line(strings.Join(r.TaskTypes, ", ")), r.Until.Format(time.TimeOnly))
	}
	return b.String()
}

// shownUnserved is how many of the categories that a plugin does not serve are shown.
const shownUnserved = 5

// unserved are the lines about what a plugin lists and does not serve. Where that is all of it, its state says so.
func unserved(p admin.PluginStatus) string {
	var b strings.Builder
	if p.State == "refused" {
		return ""
	}
	for _, n := range p.NotServed[:min(len(p.NotServed), shownUnserved)] {
		fmt.Fprintf(&b, "%s\n", terminal.Line(n.Reason))
	}
	if more := len(p.NotServed) - shownUnserved; more > 0 {
		fmt.Fprintf(&b, "%s does not serve %d more of the task categories that it lists\n", p.Name, more)
	}
	return b.String()
}

// generationRows are the lines below a plugin's own, where it is more than one process.
func generationRows(p admin.PluginStatus) []table.Row {
	several := len(p.Generations) > 1
	var rows []table.Row
	for _, g := range p.Generations {
		if !several && len(g.Instances) < 2 {
			continue
		}
		name := "  " + g.ID
		switch {
		case g.Current:
			name += " current"
		case g.Role == "draining":
			name += " draining"
		case g.Percent > 0:
			name += " canary"
		}
		if several && g.Percent > 0 {
			name += fmt.Sprintf(", %d%% of new jobs", g.Percent)
		}
		version := orDash(g.Version != "", terminal.Line(g.Version))
		if len(g.Instances) == 1 {
			rows = append(rows, instanceRow(name, g.State, version, g.Instances[0]))
			continue
		}
		rows = append(rows, table.Row{name, g.State, version})
		for i, instance := range g.Instances {
			rows = append(rows, instanceRow(fmt.Sprintf("    instance %d", i+1), instance.State, "", instance))
		}
	}
	return rows
}

func instanceRow(name, state, version string, i admin.InstanceStatus) table.Row {
	running := i.PID != 0
	return table.Row{
		name, state, version, orDash(running, i.PID), orDash(running, uptime(i.UptimeSeconds)),
		i.Restarts, i.InFlight, orDash(running, memory(i.MemoryBytes)), orDash(running, fmt.Sprintf("%.1fs", i.CPUSeconds)),
	}
}

func reason(p admin.PluginStatus) string {
	if p.State == "running" {
		return p.Reason
	}
	return p.State + ": " + p.Reason
}

func categories(all []admin.Category) string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = terminal.Line(categoryName(c.Name, c.Version))
		if c.Sync {
			names[i] += " (sync)"
		}
	}
	return orDash(len(names) > 0, strings.Join(names, ", "))
}

func orDash(there bool, value any) string {
	if !there {
		return "-"
	}
	return fmt.Sprint(value)
}

// uptime writes a time span in its two largest units.
func uptime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// memory writes bytes in whole MiB, which is as fine as memory is worth reading.
func memory(bytes uint64) string {
	return fmt.Sprintf("%d MiB", (bytes+(1<<20)/2)>>20)
}
