package agent

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/agenthost/agenthost/sdk/go/internal/traceparent"
)

// TraceContext is what a service is to be told of the trace that a call belongs to: the headers traceparent and tracestate of W3C
// Trace Context, from a call's context; empty where the call has none. The package httpclient sends them by itself. Spans of the
// plugin's own are OpenTelemetry's: see GRPC.
func TraceContext(ctx context.Context) map[string]string {
	if _, _, ok := traceparent.Of(ctx); !ok {
		return nil
	}
	headers := map[string]string{}
	for _, name := range []string{"traceparent", "tracestate"} {
		if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
			headers[name] = values[0]
		}
	}
	return headers
}
