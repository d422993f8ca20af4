package chart

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// alerts are the rules as they are in the file.
func alerts(t *testing.T) []monitoring.Rule {
	t.Helper()
	var file monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(source(t, "charts", "agenthost", "monitoring", "alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 40 {
		t.Fatalf("%d groups", len(file.Groups))
	}
	return file.Groups[0].Rules
}

func selectors(t *testing.T, rule monitoring.Rule) []*parser.VectorSelector {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr.String())
	if err != nil {
		t.Fatalf("%s: %v in %s", rule.Alert, err, rule.Expr.String())
	}
	var all []*parser.VectorSelector
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			all = append(all, selector)
		}
		return nil
	})
	return all
}

// published are the host's metrics with their labels, and those that every target of Prometheus has.
func published(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{"up": nil, "process_start_time_seconds": nil, "process_open_fds": nil, "process_max_fds": nil}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| (.*?) \\|").FindAllStringSubmatch(source(t, "docs", "reference", "metrics.md"), -1) {
		has := regexp.MustCompile(`\w+`).FindAllString(row[3], -1)
		all[row[1]] = has
		if row[2] == "histogram" {
			all[row[1]+"_sum"], all[row[1]+"_count"], all[row[1]+"_bucket"] = has, has, append(slices.Clone(has), "le")
		}
	}
	return all
}

func TestTheAlertsAskForMetricsThatTheHostHas(t *testing.T) {
	metrics := published(t)
	for _, rule := range alerts(t) {
		for _, selector := range selectors(t, rule) {
			has, known := metrics[selector.Name]
			if !known {
				t.Errorf("%s: the host has no metric %s", rule.Alert, selector.Name)
			}
			job := false
			for _, matcher := range selector.LabelMatchers {
				switch matcher.Name {
				case model.MetricNameLabel:
				case "job":
					job = matcher.String() == `job="agenthost"`
				default:
					if !slices.Contains(has, matcher.Name) {
						t.Errorf("%s: %s has no label %s", rule.Alert, selector.Name, matcher.Name)
					}
				}
			}
			if !job {
				t.Errorf(`%s: %s in place of {job="agenthost"}, for which the chart puts the release's pods`, rule.Alert, selector)
			}
		}
	}
}

// What labels are compared with, where the host's source lists all of their values.
func TestTheAlertsAskForValuesThatTheHostHas(t *testing.T) {
	const name = `%s"`
	sources := map[string]struct{ file, says string }{
		"state":     {source(t, "host", "fleet", "status.go"), `State = "` + name},
		"standing":  {source(t, "host", "fleet", "standing.go"), `Stand = "` + name},
		"guarantee": {source(t, "docs", "reference", "guarantees.md"), "| %s |"},
		"outcome":   {source(t, "host", "gateway", "limit.go") + source(t, "host", "route", "tally.go") + source(t, "host", "tracing", "ledger.go"), `"` + name},
		"on":        {source(t, "docs", "reference", "metrics.md"), " %s"},
		"role":      {source(t, "host", "fleet", "status.go"), `Role = "` + name},
		"method":    {source(t, "host", "gateway", "services.go"), `name: "` + name},
		"limit":     {source(t, "host", "gateway", "limit.go"), `"` + name},
		"code":      {"OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated", "%s"},
	}
	for _, rule := range alerts(t) {
		for _, selector := range selectors(t, rule) {
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == model.MetricNameLabel || matcher.Name == "job" || matcher.Value == "" {
					continue
				}
				known, listed := sources[matcher.Name]
				if !listed {
					t.Errorf("%s: nobody knows the values of %s", rule.Alert, matcher.Name)
				}
				for value := range strings.SplitSeq(matcher.Value, "|") {
					if !strings.Contains(known.file, strings.ReplaceAll(known.says, "%s", value)) {
						t.Errorf("%s: no %s is ever %s", rule.Alert, matcher.Name, value)
					}
				}
			}
		}
	}
}

// The way from an alert to what to do: each has a section of its own in docs/operating.md, and no section is of an alert that is gone.
func TestEachAlertHasItsRunbook(t *testing.T) {
	sections := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#### (Agenthost\w+)\n\n.+\n`).FindAllStringSubmatch(source(t, "docs", "operating.md"), -1) {
		sections[heading[1]] = true
	}
	for _, rule := range alerts(t) {
		if !sections[rule.Alert] {
			t.Errorf("docs/operating.md has no section %s", rule.Alert)
		}
		delete(sections, rule.Alert)
		if want := "https://github.com/agenthost/agenthost/blob/main/docs/operating.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s", rule.Alert, rule.Annotations["runbook_url"])
		}
		if severity := rule.Labels["severity"]; severity != "warning" && severity != "critical" {
			t.Errorf("%s is %q", rule.Alert, severity)
		}
		for _, annotation := range []string{"summary", "description"} {
			if rule.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", rule.Alert, annotation)
			}
		}
		if of := rule.Annotations["summary"]; strings.Contains(rule.Alert, "Plugin") && !strings.Contains(of, "$labels.plugin") && !strings.Contains(rule.Alert, "WithoutPlugins") && !strings.Contains(rule.Alert, "NoPlugin") {
			t.Errorf("%s does not name its plugin: %s", rule.Alert, of)
		}
	}
	for heading := range sections {
		t.Errorf("docs/operating.md tells of %s, which is no alert", heading)
	}
}

func TestTheChartHasTheAlertsForItsOwnPods(t *testing.T) {
	out := render(t, merged(t, hello, effects["metrics.prometheusRule.enabled"].set))
	rendered := get[*monitoring.PrometheusRule](t, out, "PrometheusRule/flyteconnector").Spec.Groups[0].Rules
	all := alerts(t)
	if len(rendered) != len(all) {
		t.Fatalf("%d rules of %d", len(rendered), len(all))
	}
	for i, rule := range rendered {
		if rule.Alert != all[i].Alert || !maps.Equal(rule.Labels, all[i].Labels) || rule.Annotations["summary"] != all[i].Annotations["summary"] {
			t.Errorf("%s is not as in the file", rule.Alert)
		}
		if want := "https://github.com/agenthost/agenthost/blob/v0.1.0/docs/operating.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s", rule.Alert, rule.Annotations["runbook_url"])
		}
		for _, selector := range selectors(t, rule) {
			if s := selector.String(); !strings.Contains(s, `namespace="flyte"`) || !strings.Contains(s, `service="flyteconnector-pods"`) || strings.Contains(s, "job=") {
				t.Errorf("%s: %s is not of the release's pods", rule.Alert, s)
			}
		}
	}
}
