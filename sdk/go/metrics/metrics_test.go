package metrics_test

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/metrics"
)

type nothing struct{}

func (nothing) Execute(context.Context, *agent.Task) (*agent.Resource, error) {
	return agent.Succeeded(nil), nil
}

func TestAPluginHasTheMetricsOfItsRegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	rows := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rows_total", Help: "Rows read."}, []string{"table"})
	registry.MustRegister(rows)
	client := agenttest.Run(t, agent.Sync("nothing", nothing{}), metrics.From(registry))
	rows.WithLabelValues("a").Add(3)
	if text := client.Metrics(); !strings.Contains(text, "# TYPE rows_total counter\nrows_total{table=\"a\"} 3\n") {
		t.Errorf("metrics are\n%s", text)
	}
}

func TestAPluginWithoutMetricsSaysSo(t *testing.T) {
	client := agenttest.Run(t, agent.Sync("nothing", nothing{}))
	_, err := pluginv1.NewPluginServiceClient(client.Conn()).Metrics(t.Context(), &pluginv1.MetricsRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("error = %v", err)
	}
}

func TestTwoRegistriesAreOneTooMany(t *testing.T) {
	one := metrics.From(prometheus.NewRegistry())
	if _, err := agent.NewServer(agent.Plugin{Name: "p"}, agent.Sync("nothing", nothing{}), one, one); err == nil || !strings.Contains(err.Error(), "two options for metrics") {
		t.Errorf("error = %v", err)
	}
}
