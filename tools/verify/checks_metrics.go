package verify

import (
	"context"
	"fmt"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// metricsChecks are about the plugin's own metrics.
func metricsChecks() []*Check {
	return []*Check{
		{
			Name:   "metrics/text",
			Reason: "the host shows the plugin's own metrics beside its own, and none of a plugin whose text it cannot read",
			Advice: "answer PluginService/Metrics with up to 256 KiB of what a Prometheus client writes in the text format 0.0.4; or do not serve it",
			run: onMetrics(func(_ context.Context, _ *kit, measured *metrics) (string, error) {
				return fmt.Sprintf("%d series, %d bytes", measured.total, measured.bytes), nil
			}),
		},
		{
			Name:   "metrics/bounds",
			Reason: "a series costs every Prometheus that reads it: the host leaves out what is beyond the bounds",
			Advice: "put what there are many of, such as names of jobs, into the log and not into labels",
			run: onMetrics(func(_ context.Context, _ *kit, measured *metrics) (string, error) {
				return "", measured.withinBounds()
			}),
		},
		{
			Name:   "metrics/duplicates",
			Reason: "of two values for one series the host shows the first, which may be the wrong one",
			Advice: "say each name with the same labels once: one registry for the process does",
			run: onMetrics(func(_ context.Context, _ *kit, measured *metrics) (string, error) {
				return "", measured.onlyOnce()
			}),
		},
		{
			Name:   "metrics/counters",
			Reason: "Prometheus takes a counter that falls for a process that was started again, and adds what it says now to what it said",
			Advice: "make it a gauge, or only ever add to it",
			run:    onMetrics(countersRise),
		},
	}
}

// onMetrics is a check of what the plugin says of its metrics, where it has any.
func onMetrics(check func(context.Context, *kit, *metrics) (string, error)) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		measured, err := k.measure(ctx)
		if err != nil {
			return "", err
		}
		return check(ctx, k, measured)
	}
}

// metrics is one answer to Metrics.
type metrics struct {
	families []*dto.MetricFamily
	total    int // series, as Prometheus counts
	bytes    int
}

// measure asks the shared process for its metrics.
func (k *kit) measure(ctx context.Context) (*metrics, error) {
	i, err := k.able(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := k.call(ctx)
	defer cancel()
	answer, err := pluginv1.NewPluginServiceClient(i.conn).Metrics(ctx, &pluginv1.MetricsRequest{})
	if status.Code(err) == codes.Unimplemented {
		return nil, skipped("it has no metrics of its own, which are optional")
	}
	measured := &metrics{bytes: len(answer.GetText())}
	switch {
	case err != nil:
		err = failed("Metrics fails: %s", describeError(err))
	case measured.bytes > plugin.MaxMetrics:
		err = failed("Metrics answers with %d bytes, more than %d", measured.bytes, plugin.MaxMetrics)
	default:
		if measured.families, err = plugin.ParseMetrics(answer.GetText()); err != nil {
			err = failed("what Metrics answers is not in Prometheus' text format: %v", err)
		}
	}
	if err != nil {
		return nil, &blocked{"metrics/text", err}
	}
	for _, family := range measured.families {
		for _, metric := range family.GetMetric() {
			measured.total += plugin.SeriesOf(metric)
		}
	}
	return measured, nil
}

// seriesName is such as `rows_total{table="a"}`, the labels in order.
func seriesName(family *dto.MetricFamily, metric *dto.Metric) string {
	labels := model.Metric{model.MetricNameLabel: model.LabelValue(family.GetName())}
	for _, label := range metric.GetLabel() {
		labels[model.LabelName(label.GetName())] = model.LabelValue(label.GetValue())
	}
	return labels.String()
}

func (m *metrics) withinBounds() error {
	for _, family := range m.families {
		for _, metric := range family.GetMetric() {
			if len(metric.GetLabel()) > plugin.MaxMetricLabels {
				return failed("%s has %d labels, more than %d", shorten(seriesName(family, metric)), len(metric.GetLabel()), plugin.MaxMetricLabels)
			}
			for _, label := range metric.GetLabel() {
				if len(label.GetValue()) > plugin.MaxMetricLabelValue {
					return failed("%s: the label %s has a value of %d bytes, more than %d", family.GetName(), label.GetName(), len(label.GetValue()), plugin.MaxMetricLabelValue)
				}
			}
		}
	}
	if m.total > plugin.MaxMetricSeries {
		return failed("it has %d series, more than %d", m.total, plugin.MaxMetricSeries)
	}
	return nil
}

func (m *metrics) onlyOnce() error {
	said := map[string]bool{}
	for _, family := range m.families {
		for _, metric := range family.GetMetric() {
			name := seriesName(family, metric)
			if said[name] {
				return failed("%s is there twice", shorten(name))
			}
			said[name] = true
		}
	}
	return nil
}

// rising is the values that may not fall, by their names.
func (m *metrics) rising() map[string]float64 {
	values := map[string]float64{}
	for _, family := range m.families {
		for _, metric := range family.GetMetric() {
			name := seriesName(family, metric)
			switch {
			case metric.Counter != nil:
				values[name] = metric.GetCounter().GetValue()
			case metric.Summary != nil:
				values["the count of "+name] = float64(metric.GetSummary().GetSampleCount())
			case metric.Histogram != nil:
				values["the count of "+name] = float64(metric.GetHistogram().GetSampleCount())
				for _, bucket := range metric.GetHistogram().GetBucket() {
					values[fmt.Sprintf("the bucket up to %g of %s", bucket.GetUpperBound(), name)] = float64(bucket.GetCumulativeCount())
				}
			}
		}
	}
	return values
}

// countersRise looks again after calls, some of which counters may be about.
func countersRise(ctx context.Context, k *kit, first *metrics) (string, error) {
	return k.onLoad(ctx, func(i *instance, l *load) (string, error) {
		before := first.rising()
		for range countRounds {
			k.callAll(ctx, l, newTally())
			again, err := k.measure(ctx)
			if err != nil {
				return "", err
			}
			after := again.rising()
			for _, name := range sortedKeys(after) {
				if was, known := before[name]; known && after[name] < was {
					return "", failed("%s falls from %g to %g", name, was, after[name])
				}
			}
			before = after
		}
		return fmt.Sprintf("%d do not fall", len(before)), nil
	})
}

const (
	countRounds = 3
	// metricsAsked is how often metrics are asked for under load: one late answer may be the machine's.
	metricsAsked = 3
)

// metricsUnderLoad asks for the metrics while many calls are under way.
func metricsUnderLoad(ctx context.Context, k *kit) (string, error) {
	if _, err := k.measure(ctx); err != nil {
		return "", err
	}
	return k.onLoad(ctx, func(_ *instance, l *load) (string, error) {
		defer k.keepCalling(ctx, l, newTally())()
		var took time.Duration
		for range metricsAsked {
			began := time.Now()
			if _, err := k.measure(ctx); err != nil {
				return "", failed("under load, %v", err)
			}
			if took = time.Since(began); took <= plugin.MetricsWait {
				return fmt.Sprintf("answered in %v", took.Round(time.Millisecond)), nil
			}
		}
		return "", failed("with %d calls at a time Metrics is answered after %v, and %d times not within %v",
			workers, took.Round(time.Millisecond), metricsAsked, plugin.MetricsWait)
	})
}
