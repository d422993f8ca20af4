package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/agenthost/agenthost/host/fleet"
)

// scrape is what /metrics answers with these plugins' own metrics.
func scrape(t *testing.T, own ...fleet.OwnMetrics) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(&ownCollector{func() []fleet.OwnMetrics { return own }}, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "agenthost_ready", Help: "h"}, func() float64 { return 1 }))
	recorder := httptest.NewRecorder()
	metricsHandler(registry, promhttp.HandlerOpts{}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if recorder.Code != 200 || !strings.Contains(recorder.Body.String(), "\nagenthost_ready 1\n") {
		t.Fatalf("status %d:\n%s", recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

func own(plugin, text string) fleet.OwnMetrics {
	return fleet.OwnMetrics{Plugin: plugin, Generation: "3f2a", Instance: 1, Text: []byte(text)}
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+page, "\n"+line+"\n") {
			t.Errorf("there is no %q in\n%s", line, page)
		}
	}
}

func TestAPluginsOwnMetricsAreShownWithItsName(t *testing.T) {
	page := scrape(t, own("duck", `# HELP rows_total Rows read.
# TYPE rows_total counter
rows_total{table="a",plugin="mine"} 3
# TYPE wait_seconds histogram
wait_seconds_bucket{le="1"} 2
wait_seconds_bucket{le="+Inf"} 3
wait_seconds_sum 4.5
wait_seconds_count 3
# TYPE agenthost_ready gauge
agenthost_ready 7
`), own("goose", "# HELP rows_total Others.\n# TYPE rows_total counter\nrows_total 5\n"))
	wantLines(t, page,
		"# HELP plugin_rows_total Rows read.",
		`plugin_rows_total{exported_plugin="mine",generation="3f2a",instance="1",plugin="duck",table="a"} 3`,
		`plugin_rows_total{generation="3f2a",instance="1",plugin="goose"} 5`,
		`plugin_wait_seconds_bucket{generation="3f2a",instance="1",plugin="duck",le="1"} 2`,
		`plugin_wait_seconds_count{generation="3f2a",instance="1",plugin="duck"} 3`,
		`plugin_agenthost_ready{generation="3f2a",instance="1",plugin="duck"} 7`,
		`agenthost_plugin_metrics_left_out{plugin="duck"} 0`, `agenthost_plugin_metrics_unread{plugin="goose"} 0`,
	)
}

func TestWhatIsTooMuchOfAPluginsMetricsIsLeftOutAndCounted(t *testing.T) {
	var many strings.Builder
	for i := range 700 {
		fmt.Fprintf(&many, "many{n=\"%d\"} 1\n", i)
	}
	manyLabels := make([]string, 17)
	for i := range manyLabels {
		manyLabels[i] = fmt.Sprintf(`l%d="x"`, i)
	}
	page := scrape(t, own("many", many.String()),
		own("long", "a{l=\""+strings.Repeat("x", 129)+"\"} 1\nb{l=\""+strings.Repeat("x", 128)+"\"} 1\nc{"+strings.Join(manyLabels, ",")+"} 1\n"),
		own("other-a", "# TYPE same gauge\nsame 1\n"), own("other-b", "# TYPE same counter\nsame 1\n"))
	wantLines(t, page, `agenthost_plugin_metrics_left_out{plugin="many"} 200`, `agenthost_plugin_metrics_left_out{plugin="long"} 2`,
		`agenthost_plugin_metrics_left_out{plugin="other-a"} 0`, `agenthost_plugin_metrics_left_out{plugin="other-b"} 1`)
	if shown := strings.Count(page, "\nplugin_many{"); shown != 500 {
		t.Errorf("%d series are shown", shown)
	}
}

func TestPluginsWhoseMetricsAreBrokenCostNobodyElseAny(t *testing.T) {
	unread := own("away", "")
	unread.Err = errors.New("no answer")
	page := scrape(t, unread, own("garbled", "a 1\nthis is no metric\n"),
		own("twice", "a 1\na 2\n"), own("clash", "# TYPE c histogram\nc_bucket{le=\"+Inf\"} 1\nc_sum 1\nc_count 1\n# TYPE c_count gauge\nc_count 2\n"),
		own("utf8", "\"a.b\" 1\n"), own("sound", "a 1\n"))
	wantLines(t, page, `plugin_a{generation="3f2a",instance="1",plugin="twice"} 1`, `agenthost_plugin_metrics_left_out{plugin="twice"} 1`,
		`agenthost_plugin_metrics_unread{plugin="away"} 1`, `agenthost_plugin_metrics_unread{plugin="garbled"} 1`,
		`plugin_a{generation="3f2a",instance="1",plugin="sound"} 1`)
}
