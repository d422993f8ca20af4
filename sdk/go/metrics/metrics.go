// Package metrics gives a plugin metrics of its own, by Prometheus' client:
//
//	var rows = promauto.NewCounter(prometheus.CounterOpts{Name: "rows_total", Help: "Rows read."})
//
//	agent.Serve(plugin, agents, metrics.From(prometheus.DefaultGatherer))
//
// They come out at the host's /metrics: rows_total of a plugin "duckdb" as plugin_rows_total{plugin="duckdb",…}. The host takes up to 500
// series of a process, each bucket of a histogram being one, and up to 16 labels of up to 128 bytes each.
package metrics

import (
	"bytes"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	agent "github.com/agenthost/agenthost/sdk/go"
)

// From lets the plugin have the metrics of a registry.
func From(gatherer prometheus.Gatherer) agent.Option {
	return agent.MetricsText(func() ([]byte, error) {
		families, err := gatherer.Gather()
		if err != nil {
			return nil, err
		}
		var text bytes.Buffer
		encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
		for _, family := range families {
			if err := encoder.Encode(family); err != nil {
				return nil, err
			}
		}
		return text.Bytes(), nil
	})
}
