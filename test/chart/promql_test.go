package chart

import (
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestTheAlertsArePromQL(t *testing.T) {
	out := render(t, merged(t, hello, effects["metrics.prometheusRule.enabled"].set))
	for _, rule := range get[*monitoring.PrometheusRule](t, out, "PrometheusRule/flyteconnector").Spec.Groups[0].Rules {
		if _, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr.String()); err != nil {
			t.Errorf("%s: %v in %s", rule.Alert, err, rule.Expr.String())
		}
	}
}
