package page

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
)

// overview is the page of the host and all of its plugins.
type overview struct {
	// Search is a part of names, and State a state or inTrouble; empty: all.
	Search, State string
	Page          int
}

// inTrouble stands for all states but those of plugins that do as they should.
const inTrouble = "trouble"

func (o *overview) path(state string, page int) string {
	query := url.Values{}
	for name, value := range map[string]string{"q": o.Search, "state": state} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	if len(query) == 0 {
		return "/"
	}
	return "/?" + query.Encode()
}

// selected are the plugins that are looked for.
func (o *overview) selected(s *snapshot) []admin.PluginStatus {
	var all []admin.PluginStatus
	for _, p := range s.status.Plugins {
		matches := o.Search == "" || strings.Contains(strings.ToLower(p.Name), o.Search) || slices.ContainsFunc(p.Categories, func(c admin.Category) bool { return strings.Contains(strings.ToLower(c.Name), o.Search) })
		if matches && (o.State == "" || p.State == o.State || o.State == inTrouble && troubleOf(p) != "") {
			all = append(all, p)
		}
	}
	return all
}

// onPage are those of them that the page has.
func (o *overview) onPage(s *snapshot) []admin.PluginStatus {
	all := o.selected(s)
	from := min((o.Page-1)*rowsShown, len(all))
	return all[from:min(from+rowsShown, len(all))]
}

func (o *overview) plugins(s *snapshot) []string {
	var names []string
	for _, p := range o.onPage(s) {
		names = append(names, p.Name)
	}
	return names
}

func (o *overview) show(s *snapshot) shown {
	title := "Overview"
	if n := len(troubled(s)); n > 0 {
		title = fmt.Sprintf("(%d) Overview", n)
	}
	return shown{
		template: "overview.html", title: title, current: "/", fixed: o,
		parts: []part{hostPart(s), figuresPart(s), warningsPart(s), attentionPart(s), statesPart(s, o), pluginsPart(s, o), jobsPart(s), happeningPart(s)},
	}
}

// hostFacts are what the host is.
type hostFacts struct {
	Ready                         bool
	Why                           string
	Version, GRPC, Probe, Config  string
	Started                       time.Time
	PID                           int
	WaitsFor, Without, TaskTypes  int
	Categories, Running, Disabled int
}

func hostPart(s *snapshot) part {
	h := s.status.Host
	facts := hostFacts{Ready: h.Ready, Why: h.NotReady, Version: h.Version, GRPC: h.GRPC, Probe: h.Probe, Config: h.ConfigHash, Started: h.Started.Round(time.Second), PID: h.PID, WaitsFor: len(h.WaitsFor)}
	types := map[string]bool{}
	for _, p := range s.status.Plugins {
		for _, c := range p.Categories {
			types[c.Name] = true
		}
	}
	facts.TaskTypes = len(types)
	return part{id: "host", template: "part-host", data: facts}
}

// figures are sums over all plugins.
type figures struct {
	Calls, Errors, P95, Memory, InFlight, Pending string
	CallsChart, P95Chart, MemoryChart             chart
	Failing                                       bool
}

func figuresPart(s *snapshot) part {
	t, pending := s.total, 0
	for _, tasks := range s.pending {
		pending += tasks
	}
	f := figures{
		Calls: inRate(lately(t.Calls)), Errors: inRate(lately(t.Errors)), P95: inSeconds(latest(t.P95)), Memory: inBytes(last(t.Memory)), InFlight: count(int(last(t.InFlight))),
		Pending: count(pending), Failing: lately(t.Errors) > 0,
		CallsChart: spark("calls per second", t.Calls, t.Errors, inRate), P95Chart: spark("95th percentile of the time of calls", t.P95, nil, inSeconds),
		MemoryChart: spark("memory of plugins", t.Memory, nil, inBytes),
	}
	return part{id: "figures", template: "part-figures", data: f}
}

// lately is the mean of the last few figures.
func lately(figures []float64) float64 {
	recent := figures[max(0, len(figures)-recentSteps):]
	if len(recent) == 0 {
		return 0
	}
	sum := 0.
	for _, f := range recent {
		sum += f
	}
	return sum / float64(len(recent))
}

// latest is the last of the last few figures that is not zero.
func latest(figures []float64) float64 {
	for _, f := range slices.Backward(figures[max(0, len(figures)-recentSteps):]) {
		if f != 0 {
			return f
		}
	}
	return 0
}

func last(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	return figures[len(figures)-1]
}

// warning is something about the host that somebody has to see to.
type warning struct{ Title, Text string }

func warningsPart(s *snapshot) part {
	h := s.status.Host
	var all []warning
	add := func(title, text string) {
		if text != "" {
			all = append(all, warning{title, cut(2000, text)})
		}
	}
	if !h.Ready {
		add("Flyte sends no work here: the host is not ready", h.NotReady)
	}
	add("The configuration's files are not in effect; the last sound configuration is", h.ConfigError)
	if h.ConfigLastSound != nil {
		add("The host was started with its last sound configuration", "It was kept at "+iso(*h.ConfigLastSound)+", and the files hold none.")
	}
	if len(h.ReadyWithout) > 0 {
		add("The host is ready without plugins of its configuration", strings.Join(h.ReadyWithout, ", "))
	}
	add("Changes of the configuration's files are seen late", h.ConfigWatchError)
	if h.LogLinesLost > 0 {
		add("Lines of the host's log were lost", fmt.Sprintf("%d lines. %s", h.LogLinesLost, h.LogError))
	}
	add("What has happened may not be known after the host's end", h.HistoryError)
	add("What the host keeps may not outlive it", h.StateWarning)
	add("Tasks may not be accepted as they should be", h.CreateWarning)
	return part{id: "warnings", template: "part-warnings", data: all}
}

// troubleOf is what is wrong with a plugin, in a few words; empty: nothing.
func troubleOf(p admin.PluginStatus) string {
	switch p.State {
	case string(fleet.Running), string(fleet.StateDisabled), string(fleet.Draining), string(fleet.Starting):
	default:
		return p.State
	}
	switch {
	case p.SwapError != "":
		return "its newest configuration does not serve"
	case len(p.SecretErrors) > 0:
		return "a secret cannot be read"
	case p.Sandbox != nil && len(p.Sandbox.Missing) > 0:
		return "its sandbox is degraded"
	}
	return ""
}

// troubleWhy is why, in the words of the plugin, of the host or of what they ran into.
func troubleWhy(p admin.PluginStatus) string {
	switch {
	case p.SwapError != "" && p.State == string(fleet.Running):
		return p.SwapError
	case len(p.SecretErrors) > 0 && p.State == string(fleet.Running):
		return p.SecretErrors[0]
	case p.Sandbox != nil && len(p.Sandbox.Missing) > 0 && p.State == string(fleet.Running):
		return strings.Join(p.Sandbox.Missing, "; ")
	}
	return p.Reason
}

func troubled(s *snapshot) []admin.PluginStatus {
	var all []admin.PluginStatus
	for _, p := range s.status.Plugins {
		if troubleOf(p) != "" {
			all = append(all, p)
		}
	}
	return all
}

// attention is the plugins that somebody has to see to.
type attention struct {
	Rows []troubleRow
	More int
}

type troubleRow struct {
	Name, State, What, Why string
	Since                  time.Time
}

// attentionShown is how many of them are shown.
const attentionShown = 8

func attentionPart(s *snapshot) part {
	all := troubled(s)
	a := attention{More: max(0, len(all)-attentionShown)}
	for _, p := range all[:min(len(all), attentionShown)] {
		a.Rows = append(a.Rows, troubleRow{p.Name, p.State, troubleOf(p), cut(400, troubleWhy(p)), p.Since.Round(time.Second)})
	}
	return part{id: "attention", template: "part-attention", data: a}
}

// stateCount is how many plugins are in a state, and where these are shown.
type stateCount struct {
	State, Path string
	Count       int
	Current     bool
}

func statesPart(s *snapshot, o *overview) part {
	counts := map[string]int{}
	for _, p := range s.status.Plugins {
		counts[p.State]++
	}
	all := []stateCount{{"all", o.path("", 1), len(s.status.Plugins), o.State == ""}}
	if n := len(troubled(s)); n > 0 || o.State == inTrouble {
		all = append(all, stateCount{inTrouble, o.path(inTrouble, 1), n, o.State == inTrouble})
	}
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, stateCount{state, o.path(state, 1), counts[state], o.State == state})
	}
	return part{id: "states", template: "part-states", data: all}
}

// pluginList is what is around the rows of plugins.
type pluginList struct {
	From, To, Of, All  int
	Previous, Next     string // paths; empty: none
	Search, State      string
	Page, Pages, Empty int
}

func pluginsPart(s *snapshot, o *overview) part {
	all, rows := len(o.selected(s)), o.onPage(s)
	list := pluginList{Of: all, All: len(s.status.Plugins), Search: o.Search, State: o.State, Page: o.Page, Pages: max(1, (all+rowsShown-1)/rowsShown)}
	if len(rows) > 0 {
		list.From = (o.Page-1)*rowsShown + 1
		list.To = list.From + len(rows) - 1
	}
	if o.Page > 1 {
		list.Previous = o.path(o.State, o.Page-1)
	}
	if o.Page < list.Pages {
		list.Next = o.path(o.State, o.Page+1)
	}
	p := part{id: "plugins", template: "part-plugins", data: list, list: true}
	seen := map[string]bool{}
	for _, status := range rows {
		row := rowOf(status, s)
		if seen[row.ID] { // a former life that drains still
			row.ID += "-former"
		}
		seen[row.ID] = true
		p.rows = append(p.rows, part{id: row.ID, template: "part-row", data: row})
	}
	return p
}

// row is a plugin in the table.
type row struct {
	ID, Name, State, Version string
	Since                    time.Time
	Generation               string
	Canary                   string // the share of new jobs that another generation gets; empty: there is none
	Moving                   bool   // a candidate is on its way
	Memory, Limit            string
	Calls, Errors, P95       string
	Failing                  bool
	InFlight, Pending        int
	Waiting                  int
	Restarts                 int
	Notes                    []string
	CallsChart, P95Chart     chart
}

func rowOf(p admin.PluginStatus, s *snapshot) row {
	recent, line := s.recent[p.Name], s.lines[p.Name]
	r := row{
		ID: "p-" + p.Name, Name: p.Name, State: p.State, Version: p.Version, Since: p.Since.Round(time.Second), Memory: inBytes(last(recent.Memory)),
		Calls: inRate(lately(recent.Calls)), Errors: inRate(lately(recent.Errors)), Failing: lately(recent.Errors) > 0, P95: inSeconds(latest(recent.P95)),
		InFlight: p.InFlight, Pending: s.pending[p.Name], Restarts: p.Restarts, Notes: notesOf(p),
		CallsChart: spark("calls per second", line.Calls, line.Errors, inRate), P95Chart: spark("95th percentile of the time of calls", line.P95, nil, inSeconds),
	}
	if p.MemoryLimit > 0 {
		r.Limit = inBytes(float64(p.MemoryLimit))
	}
	for _, w := range p.Waiting {
		r.Waiting += w.Calls
	}
	for _, g := range p.Generations {
		switch {
		case g.Current:
			r.Generation = short(g.ID)
		case g.Percent > 0:
			r.Canary = fmt.Sprintf("%d %%", g.Percent)
		case g.Role == string(fleet.RoleCandidate):
			r.Moving = true
		}
	}
	return r
}

// notesOf are what is to be known of a plugin besides its state.
func notesOf(p admin.PluginStatus) []string {
	var notes []string
	add := func(is bool, note string) {
		if is {
			notes = append(notes, note)
		}
	}
	add(p.Removed, "removed")
	add(p.OOMKills > 0, "out of memory")
	add(p.Pulling != "", "pulling its image")
	add(p.SwapError != "", "swap failed")
	add(p.RolledBack, "rolled back")
	add(len(p.ChangedFiles) > 0, "file changed")
	add(len(p.SecretErrors) > 0, "secret unread")
	add(p.Sandbox != nil && len(p.Sandbox.Missing) > 0, "sandbox degraded")
	add(len(p.NotServed) > 0, "types not served")
	add(p.MemoryRestarts > 0, "over memory")
	return notes
}
