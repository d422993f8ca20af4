package admin

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
)

const (
	ownPrefix  = "plugin_" // before each name of a plugin's metrics, so that none is one of the host's
	maxOwnHelp = 512       // bytes
)

var (
	ownLeftOut = prometheus.NewDesc("agenthost_plugin_metrics_left_out",
		"Series of the plugin's own metrics that are left out: they are more than 500, have more than 16 labels or one of more than 128 bytes, are said twice, or are of another type than the same metric elsewhere.", []string{"plugin"}, nil)
	ownUnread = prometheus.NewDesc("agenthost_plugin_metrics_unread",
		"Running processes of the plugin whose own metrics could not be read: no answer within a second, more than 256 KiB, or not in Prometheus' text format.", []string{"plugin"}, nil)
)

// ownCollector shows the plugins' own metrics, asking for them when it is asked. Nothing of them is kept.
type ownCollector struct{ ask func() []fleet.OwnMetrics }

// Describe implements prometheus.Collector. The plugins' metrics themselves are not known before.
func (c *ownCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- ownLeftOut
	descs <- ownUnread
}

// Collect implements prometheus.Collector.
func (c *ownCollector) Collect(metrics chan<- prometheus.Metric) {
	asked := c.ask()
	slices.SortFunc(asked, func(a, b fleet.OwnMetrics) int {
		return cmp.Or(cmp.Compare(a.Plugin, b.Plugin), cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Instance, b.Instance))
	})
	known := map[string]ownFamily{}
	leftOut, unread := map[string]int{}, map[string]int{}
	for _, own := range asked {
		leftOut[own.Plugin] += 0
		unread[own.Plugin] += 0
		families, err := plugin.ParseMetrics(own.Text)
		if own.Err != nil || err != nil {
			unread[own.Plugin]++
			continue
		}
		leftOut[own.Plugin] += showOwn(metrics, known, own, families)
	}
	for name := range leftOut {
		metrics <- prometheus.MustNewConstMetric(ownLeftOut, prometheus.GaugeValue, float64(leftOut[name]), name)
		metrics <- prometheus.MustNewConstMetric(ownUnread, prometheus.GaugeValue, float64(unread[name]), name)
	}
}

// ownFamily is a metric as the first plugin has it that has one of this name. Others of the name are of the same type, and get its
// help, or there would be no metric at all.
type ownFamily struct {
	kind dto.MetricType
	desc *prometheus.Desc
}

// showOwn shows what may be shown of a process' metrics, and counts what not.
func showOwn(metrics chan<- prometheus.Metric, known map[string]ownFamily, own fleet.OwnMetrics, families []*dto.MetricFamily) (leftOut int) {
	shown := 0
	said := map[string]bool{} // the series; of two that are the same the registry would drop one, and not say whose it was
	added := []*dto.LabelPair{
		{Name: proto.String("plugin"), Value: proto.String(own.Plugin)},
		{Name: proto.String("generation"), Value: proto.String(own.Generation)},
		{Name: proto.String("instance"), Value: proto.String(strconv.Itoa(own.Instance))},
	}
	for _, family := range families {
		name := ownPrefix + family.GetName()
		is, ok := known[name]
		if !ok {
			is = ownFamily{family.GetType(), prometheus.NewDesc(name, shortened(family.GetHelp(), maxOwnHelp), nil, nil)}
			known[name] = is
		}
		for _, metric := range family.GetMetric() {
			series := plugin.SeriesOf(metric)
			if is.kind != family.GetType() || shown+series > plugin.MaxMetricSeries || !labelled(metric, added) {
				leftOut += series
				continue
			}
			key := keyOf(name, metric)
			if said[key] {
				leftOut += series
				continue
			}
			said[key] = true
			shown += series
			metrics <- ownMetric{is.desc, metric}
		}
	}
	return leftOut
}

// labelled adds labels to a metric's own, which are renamed where they are called the same; false where there may not be these.
func labelled(metric *dto.Metric, added []*dto.LabelPair) bool {
	if len(metric.GetLabel()) > plugin.MaxMetricLabels {
		return false
	}
	for _, label := range metric.GetLabel() {
		if len(label.GetValue()) > plugin.MaxMetricLabelValue || len(label.GetName()) > plugin.MaxMetricLabelValue || !utf8.ValidString(label.GetValue()) {
			return false
		}
		for _, taken := range added {
			if label.GetName() == taken.GetName() {
				label.Name = proto.String("exported_" + label.GetName()) // as Prometheus does it
			}
		}
	}
	metric.Label = append(metric.Label, added...)
	slices.SortFunc(metric.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return true
}

// keyOf is a metric's name and labels, which are in order.
func keyOf(name string, metric *dto.Metric) string {
	key := strings.Builder{}
	key.WriteString(name)
	for _, label := range metric.GetLabel() {
		key.WriteString("\xff" + label.GetName() + "\xff" + label.GetValue()) // which no text in UTF-8 has
	}
	return key.String()
}

// shortened is a text up to so many bytes, ending with a whole character.
func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}

// ownMetric is a metric as a plugin has said it.
type ownMetric struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

// Desc implements prometheus.Metric.
func (m ownMetric) Desc() *prometheus.Desc { return m.desc }

// Write implements prometheus.Metric.
func (m ownMetric) Write(out *dto.Metric) error {
	out.Label, out.Gauge, out.Counter, out.Summary, out.Untyped, out.Histogram = m.metric.Label, m.metric.Gauge, m.metric.Counter, m.metric.Summary, m.metric.Untyped, m.metric.Histogram
	return nil // without the time, which Prometheus takes for older than its own
}
