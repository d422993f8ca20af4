package page

import (
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
)

// pluginView is the page of one plugin.
type pluginView struct{ name string }

func (v *pluginView) plugins(*snapshot) []string { return []string{v.name} }

func (v *pluginView) show(s *snapshot) shown {
	what := shown{template: "plugin.html", title: v.name, current: "", fixed: v.name}
	p := s.plugin(v.name)
	if p == nil {
		what.missing = true
		return what
	}
	what.title = v.name + " · " + p.State
	what.parts = []part{
		{id: "state", template: "part-state", data: stateOf(*p)}, chartsPart(*p, s), waitingPart(*p), rolloutPart(*p), generationsPart(*p), jobsOfPart(*p), happeningTo(s, p.Name), {id: "lines", template: "part-lines", data: s.linesOf(p.Name)}, categoriesPart(*p), s.keysPart(p.Name),
		{id: "operations", template: "part-operations", data: operationsOf(*p)},
	}
	return what
}

// pluginState is what a plugin is doing.
type pluginState struct {
	Name, State, Version, SDK, Reason, SwapError string
	Since                                        time.Time
	Restarts, MemoryRestarts, InFlight           int
	Notes, ChangedFiles, SecretErrors, Missing   []string
	RolledBack                                   bool
	Pulling                                      string
	Removed                                      bool
	OOMKills                                     int64
	NextStart, ReasonAt                          time.Time
	Concurrency, Rate                            string
}

func stateOf(p admin.PluginStatus) pluginState {
	state := pluginState{
		Name: p.Name, State: p.State, Version: p.Version, SDK: p.SDK, Reason: cut(4000, p.Reason), SwapError: cut(4000, p.SwapError), Since: p.Since.Round(time.Second),
		Restarts: p.Restarts, MemoryRestarts: p.MemoryRestarts, InFlight: p.InFlight, ChangedFiles: p.ChangedFiles, SecretErrors: p.SecretErrors,
		RolledBack: p.RolledBack, Pulling: p.Pulling,
	}
	state.Removed, state.OOMKills = p.Removed, p.OOMKills
	if p.NextStart != nil {
		state.NextStart = p.NextStart.Round(time.Second)
	}
	if p.ReasonAt != nil {
		state.ReasonAt = p.ReasonAt.Round(time.Second)
	}
	if l := p.Limits; l != nil {
		if l.Concurrency > 0 {
			state.Concurrency = fmt.Sprintf("%d of %d under way", l.UnderWay, l.Concurrency)
		}
		if l.Rate > 0 {
			state.Rate = fmt.Sprintf("%s, %d at once", inRate(l.Rate), l.Burst)
		}
	}
	if p.Sandbox != nil {
		state.Missing = p.Sandbox.Missing
	}
	return state
}

// charts are the last minutes of a plugin.
type charts struct {
	Calls, Errors, Mean, P95, Memory, Limit, InFlight string
	CallsChart, P95Chart, MemoryChart, InFlightChart  chart
	Failing                                           bool
}

func chartsPart(p admin.PluginStatus, s *snapshot) part {
	line := s.lines[p.Name]
	c := charts{
		Calls: inRate(lately(line.Calls)), Errors: inRate(lately(line.Errors)), Failing: lately(line.Errors) > 0, Mean: inSeconds(latest(line.Mean)), P95: inSeconds(latest(line.P95)),
		Memory: inBytes(last(line.Memory)), InFlight: count(int(last(line.InFlight))),
		CallsChart: wide("calls per second, and errors", line.Calls, line.Errors, inRate), P95Chart: wide("time of calls: 95th percentile, and mean", line.P95, line.Mean, inSeconds),
		MemoryChart: wide("memory", line.Memory, nil, inBytes), InFlightChart: wide("calls in flight", line.InFlight, nil, figure),
	}
	if p.MemoryLimit > 0 {
		c.Limit = inBytes(float64(p.MemoryLimit))
	}
	return part{id: "charts", template: "part-charts", data: c}
}

// generationRow is a generation in the table.
type generationRow struct {
	ID, State, Role, Version, Reason string
	Calls, ErrorRate, Ninth          string // empty: it has had none
	Percent                          int
	Instances                        []instanceRow
}

// instanceRow is a process in the table.
type instanceRow struct {
	State, Memory, CPU      string
	PID, Restarts, InFlight int
	Started                 time.Time
}

func generationsPart(p admin.PluginStatus) part {
	var all []generationRow
	for _, g := range p.Generations {
		row := generationRow{ID: short(g.ID), State: g.State, Role: "candidate", Version: g.Version, Reason: cut(1000, g.Reason), Percent: g.Percent}
		switch {
		case g.Current:
			row.Role = "current"
		case g.Percent > 0:
			row.Role = "canary"
		}
		if g.Role != "" {
			row.Role = g.Role
		}
		if g.Calls.Calls > 0 {
			row.Calls, row.ErrorRate, row.Ninth = count(int(g.Calls.Calls)), inPercent(g.Calls.ErrorRate), inSeconds(g.Calls.P99Seconds)
		}
		for _, i := range g.Instances {
			instance := instanceRow{State: i.State, Memory: inBytes(float64(i.MemoryBytes)), CPU: fmt.Sprintf("%.1f s", i.CPUSeconds), PID: i.PID, Restarts: i.Restarts, InFlight: i.InFlight}
			if i.Started != nil {
				instance.Started = i.Started.Round(time.Second)
			}
			row.Instances = append(row.Instances, instance)
		}
		all = append(all, row)
	}
	return part{id: "generations", template: "part-generations", data: all}
}

// categories are what a plugin serves, and what it lists and does not.
type categories struct {
	Served    []admin.Category
	NotServed []admin.NotServed
	More      int
}

// categoriesShown is how many of each are shown.
const categoriesShown = 100

func categoriesPart(p admin.PluginStatus) part {
	c := categories{Served: p.Categories, NotServed: p.NotServed}
	c.More = max(0, len(c.Served)-categoriesShown) + max(0, len(c.NotServed)-categoriesShown)
	c.Served, c.NotServed = c.Served[:min(len(c.Served), categoriesShown)], c.NotServed[:min(len(c.NotServed), categoriesShown)]
	return part{id: "categories", template: "part-categories", data: c}
}

// operations are those that there are something to do for.
type operations struct {
	Name string
	Can  []string
}

func operationsOf(p admin.PluginStatus) operations {
	o := operations{Name: p.Name}
	switch p.State {
	case string(fleet.StateDisabled):
		o.Can = []string{string(fleet.Enable)}
	case string(fleet.Stopped):
		o.Can = []string{string(fleet.Start), string(fleet.Disable)}
	default:
		o.Can = []string{string(fleet.Restart), string(fleet.Stop), string(fleet.Kill), string(fleet.Rollback), string(fleet.Disable)}
	}
	return o
}

// waitRow is calls that wait.
type waitRow struct {
	On, Why string
	Calls   int
	Oldest  time.Time
}

// waitsFor says what calls wait for, as the status names it.
var waitsFor = map[string]string{
	"concurrency": "a place within limits.concurrency", "rate": "their turn within limits.rate", "plugin": "a process that takes calls", "gate": "others before them, while the plugin is in trouble",
	"job": "the job of their task, which is being made", "retry": "the pause before it is tried again", "memory": "room within limits.memory", "start": "the start of the host",
}

func waitingPart(p admin.PluginStatus) part {
	var rows []waitRow
	for _, w := range p.Waiting {
		// Since when, to the second: else the part changed at every look.
		since := time.Now().Add(-time.Duration(w.OldestSeconds * float64(time.Second))).Round(time.Second)
		rows = append(rows, waitRow{w.On, waitsFor[w.On], w.Calls, since})
	}
	return part{id: "waiting", template: "part-waiting", data: rows}
}

// linesShown is how many of the last lines of a plugin are shown, and maxLine how much of each.
const linesShown, maxLine = 40, 500

// printed is a line that a plugin has printed.
type printed struct {
	Time           time.Time
	Level, Message string
}

func (s *snapshot) linesOf(plugin string) []printed {
	if s.printed == nil {
		return nil
	}
	var all []printed
	for _, line := range s.printed(plugin, linesShown) {
		all = append(all, printed{line.Time.Round(time.Second), line.Level, cut(maxLine, line.Message)})
	}
	return all
}

// keyRow is a key of a plugin's configuration.
type keyRow struct{ Key, Value, Origin string }

// pluginKeys are the keys of a plugin's configuration that were set.
type pluginKeys struct {
	Rows []keyRow
	More int
}

// keysShown is how many keys are shown, and maxKey how much of the name of each, and of where it was set.
const keysShown, maxKey = 200, 300

func (s *snapshot) keysPart(plugin string) part {
	var shown pluginKeys
	if s.keys != nil {
		all := s.keys(plugin)
		shown.More = max(0, len(all)-keysShown)
		for _, k := range all[:min(len(all), keysShown)] {
			shown.Rows = append(shown.Rows, keyRow{cut(maxKey, k.Key), k.Value, cut(maxKey, k.Origin)})
		}
	}
	return part{id: "configuration", template: "part-configuration", data: shown}
}
