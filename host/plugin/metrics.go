package plugin

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// What a process of a plugin may have of metrics of its own: a mistake in one plugin must not cost everybody the host's metrics.
const (
	MaxMetrics          = 256 << 10 // bytes of text
	MaxMetricSeries     = 500       // as SeriesOf counts
	MaxMetricLabels     = 16
	MaxMetricLabelValue = 128 // bytes
	// MetricsWait is how long a plugin may take to say its metrics: those who wait for the host's want theirs soon.
	MetricsWait = time.Second
)

// Metrics is what the plugin says of its own metrics, as text; nil where it has none.
func (i *Instance) Metrics(ctx context.Context) ([]byte, error) {
	if i.metricless.Load() {
		return nil, nil
	}
	const envelope = 16 // of the message around the text
	answer, err := pluginv1.NewPluginServiceClient(i.running.conn).Metrics(ctx, &pluginv1.MetricsRequest{}, grpc.MaxCallRecvMsgSize(MaxMetrics+envelope))
	if status.Code(err) == codes.Unimplemented {
		i.metricless.Store(true)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("plugin %s: Metrics: %w", i.spec.Name, err)
	}
	return answer.GetText(), nil
}

// ParseMetrics reads what a plugin says of its own metrics, in Prometheus' text format: the families in the order of their names. The
// error names the line.
func ParseMetrics(text []byte) ([]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	byName, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	families := make([]*dto.MetricFamily, 0, len(byName))
	for _, family := range byName {
		families = append(families, family)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// SeriesOf is how many series a metric is for Prometheus: each bucket of a histogram is one.
func SeriesOf(metric *dto.Metric) int {
	const sumAndCount = 2
	switch {
	case metric.Histogram != nil:
		return len(metric.GetHistogram().GetBucket()) + sumAndCount
	case metric.Summary != nil:
		return len(metric.GetSummary().GetQuantile()) + sumAndCount
	}
	return 1
}

// Metrics is nil: what runs elsewhere is measured there.
func (r *Remote) Metrics(context.Context) ([]byte, error) { return nil, nil }
