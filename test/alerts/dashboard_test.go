package alerts

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/agenthost/agenthost/test/alerts/dashboard"
	"github.com/agenthost/agenthost/test/published"
)

func built(t *testing.T) grafana.Dashboard { //nolint:staticcheck // as dashboard.New says
	t.Helper()
	d, err := dashboard.New()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestThePublishedDashboardIsUpToDate(t *testing.T) {
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(built(t)); err != nil {
		t.Fatal(err)
	}
	published.Check(t, "charts/agenthost/monitoring/dashboard.json", content.String())
}

func TestTheDashboardIsWhatGrafanaReads(t *testing.T) {
	d := built(t)
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	content, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var read grafana.Dashboard                                                     //nolint:staticcheck // as dashboard.New says
	if err := read.UnmarshalJSONStrict(content); err != nil && err.Error() != "" { // it gives nil errors, too
		t.Error(err)
	}
	ids := map[uint32]bool{}
	for _, panel := range d.Panels {
		if panel.Panel == nil {
			continue
		}
		if ids[*panel.Panel.Id] || *panel.Panel.Id == 0 {
			t.Errorf("panel %q has the id %d, as another one", *panel.Panel.Title, *panel.Panel.Id)
		}
		ids[*panel.Panel.Id] = true
		if at := panel.Panel.GridPos; at.X+at.W > 24 {
			t.Errorf("panel %q does not fit in its row: %+v", *panel.Panel.Title, *at)
		}
	}
}

// asked are the queries as Grafana sends them when everything is selected.
func asked() map[string]dashboard.Query {
	variables := strings.NewReplacer("$job", "agenthost", "$instance", ".+", "$plugin", ".+", "$__rate_interval", "10s")
	all := map[string]dashboard.Query{}
	for _, row := range dashboard.Rows {
		for _, panel := range row.Panels {
			for _, query := range panel.Queries {
				all[variables.Replace(query.Expanded())] = query
			}
		}
	}
	return all
}

// findsAll says what each query of the dashboard finds where hosts have traffic: something, or it is known what that takes.
func findsAll(t *testing.T, p *prometheus) {
	t.Helper()
	for expression, query := range asked() {
		found := p.query(t, expression)
		if len(found) == 0 && query.Only == "" {
			t.Errorf("the dashboard finds nothing by %s", expression)
		}
		for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(query.Legend, -1) {
			if len(found) > 0 && found[0].Metric[label[1]] == "" {
				t.Errorf("what the dashboard finds by %s has no %s for the legend: %v", expression, label[1], found[0].Metric)
			}
		}
	}
	for _, state := range p.query(t, "count by (state) (agenthost_plugin_state)") {
		name := state.Metric["state"]
		if !slices.ContainsFunc(dashboard.PluginStates, func(known struct{ Name, Color string }) bool { return known.Name == name }) {
			t.Errorf("the dashboard does not know the state %s", name)
		}
	}
}
