package page

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/series"
)

// snapshot is what a host is doing at one moment: what pages are made of.
type snapshot struct {
	at      time.Time
	status  admin.Status
	pending map[string]int // tasks on record, by plugin
	events  []history.Event
	total   series.PluginSeries
	recent  map[string]series.PluginSeries // the last steps of every plugin
	lines   map[string]series.PluginSeries // what charts have, of those plugins that are looked at
	source  *series.Recorder
	printed func(plugin string, last int) []admin.LogLine // nil: nobody knows
	keys    func(plugin string) []config.ShownKey         // likewise
}

// recentSteps is over how many steps a figure is told, such as calls per second: one step alone jumps.
const recentSteps = 3

func (p *Page) snapshot() *snapshot {
	s := &snapshot{at: time.Now(), status: p.options.Status(), source: p.options.Series, printed: p.options.Lines, keys: p.options.Keys, recent: map[string]series.PluginSeries{}, lines: map[string]series.PluginSeries{}}
	if p.options.Pending != nil {
		s.pending = p.options.Pending()
	}
	s.events = p.happened.now()
	s.total = s.source.Total(stepsShown)
	for _, line := range s.source.Last(recentSteps, nil).Plugins {
		s.recent[line.Name] = line
	}
	return s
}

// wantSeries has the charts of plugins in the snapshot.
func (s *snapshot) wantSeries(plugins []string) {
	wanted := map[string]bool{}
	for _, name := range plugins {
		if _, known := s.lines[name]; !known {
			wanted[name] = true
		}
	}
	if len(wanted) == 0 {
		return
	}
	for _, line := range s.source.Last(stepsShown, func(name string) bool { return wanted[name] }).Plugins {
		s.lines[line.Name] = line
	}
}

// plugin is one plugin; nil where there is none of that name.
func (s *snapshot) plugin(name string) *admin.PluginStatus {
	i := slices.IndexFunc(s.status.Plugins, func(p admin.PluginStatus) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &s.status.Plugins[i]
}

// view is a page that may be looked at: what it shows depends on its address alone.
type view struct {
	key   string
	kind  viewKind
	used  time.Time
	parts []*made
	// changed is when a part last changed.
	changed uint64
	content content
	news    news
}

// news is what viewers of a view are told who have what it was at from.
type news struct {
	from, to uint64
	text     string
}

// viewKind is what views at similar addresses have in common.
type viewKind interface {
	// plugins are those whose charts it has.
	plugins(s *snapshot) []string
	// show is what it shows.
	show(s *snapshot) shown
}

// shown is what a view shows: a template for the whole, with parts that change.
type shown struct {
	template, title, current string
	parts                    []part
	// fixed is for the template, beside the parts.
	fixed   any
	missing bool
}

// content is a view as it was last made.
type content struct {
	template, title, current string
	host                     hostName
	seq                      uint64
	missing                  bool
	of                       *snapshot
	fixed                    any
	parts                    map[string]template.HTML
}

// body is what the template of a view gets.
type body struct {
	Parts   map[string]template.HTML
	Fixed   any
	Visitor admin.Visitor
}

func (c content) body(v admin.Visitor) body { return body{c.parts, c.fixed, v} }

func (v *view) plugins(s *snapshot) []string { return v.kind.plugins(s) }

func (v *view) refresh(p *Page, s *snapshot, seq uint64) {
	what := v.kind.show(s)
	known := map[string]*made{}
	for _, m := range v.parts {
		known[m.id] = m
	}
	v.parts = nil
	v.content = content{
		template: what.template, title: what.title, current: what.current, host: nameOf(s.status.Host), seq: seq, missing: what.missing, of: s, fixed: what.fixed,
	}
	for _, fresh := range what.parts {
		m, err := p.make(fresh, known[fresh.id], seq)
		if err != nil {
			m = broken(fresh.id, seq, err)
		}
		v.parts = append(v.parts, m)
		if len(m.since(seq-1)) > 0 {
			v.changed = seq
		}
	}
}

// broken says in the place of a part why it cannot be made.
func broken(id string, seq uint64, err error) *made {
	return &made{part: part{id: id}, seq: seq, html: fmt.Sprintf("<p id=%q>%s</p>", id, template.HTMLEscapeString("this part cannot be shown: "+err.Error()))}
}

// whole is the view with all of its parts.
func (v *view) whole(p *Page) content {
	v.content.parts = map[string]template.HTML{}
	for i, m := range v.parts {
		if m.html == "" {
			if err := m.render(p); err != nil {
				m = broken(m.id, m.seq, err)
				v.parts[i] = m
			}
		}
		v.content.parts[m.id] = template.HTML(m.html) //nolint:gosec // made by our templates
	}
	return v.content
}

// since is what has changed after seq.
func (v *view) since(seq uint64) []change {
	var all []change
	for _, m := range v.parts {
		all = append(all, m.since(seq)...)
	}
	return all
}

const (
	// rowsShown is how many plugins a page has.
	rowsShown = 50
	// maxQuery is how long what is looked for may be.
	maxQuery = 100
)

// viewAt is the view at an address.
func (p *Page) viewAt(at *url.URL) (*view, error) {
	query := at.Query()
	if at.Path == "/" {
		o := &overview{Search: strings.ToLower(strings.TrimSpace(query.Get("q"))), State: query.Get("state"), Page: 1}
		if given := query.Get("page"); given != "" {
			var err error
			if o.Page, err = strconv.Atoi(given); err != nil || o.Page < 1 || o.Page > 1e6 {
				return nil, fmt.Errorf("page is to be a number from 1")
			}
		}
		if len(o.Search) > maxQuery || len(o.State) > maxQuery {
			return nil, fmt.Errorf("what is looked for is too long")
		}
		return &view{key: o.path(o.State, o.Page), kind: o}, nil
	}
	if name, isPlugin := strings.CutPrefix(at.Path, "/ui/plugins/"); isPlugin && !strings.Contains(name, "/") && len(name) <= maxQuery {
		return &view{key: pluginPath(name), kind: &pluginView{name}}, nil
	}
	return nil, fmt.Errorf("there is no such page")
}
