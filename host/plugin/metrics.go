package plugin

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// MaxMetrics is how much text the host takes of a plugin's own metrics, in bytes.
const MaxMetrics = 256 << 10

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

// Metrics is nil: what runs elsewhere is measured there.
func (r *Remote) Metrics(context.Context) ([]byte, error) { return nil, nil }
