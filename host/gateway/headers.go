package gateway

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/agenthost/agenthost/host/tracing"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// outgoing is the context of the call to the plugin: the caller's deadline, cancellation and metadata, where its spans belong, and
// the idempotency key. A caller's token is for the host: a plugin that had it could call in its name.
func (g *Gateway) outgoing(ctx context.Context, info requestInfo, of *tracing.Call) context.Context {
	incoming, _ := metadata.FromIncomingContext(ctx)
	crossing := passed(incoming)
	// The key is the host's to give: one from outside could merge the jobs of two attempts.
	delete(crossing, pluginv1.IdempotencyKeyHeader)
	// And so is what a CreateTask call is for: a creation that makes nothing would be taken for one that did.
	delete(crossing, pluginv1.FindOnlyHeader)
	delete(crossing, pluginv1.AbandonHeader)
	if g.access.TakesTokens() {
		delete(crossing, "authorization")
	}
	crossing = of.Outgoing(crossing)
	if info.attempt != "" {
		if crossing == nil {
			crossing = metadata.MD{}
		}
		crossing.Set(pluginv1.IdempotencyKeyHeader, info.attempt) // G4
	}
	if len(crossing) == 0 { // as in nearly every poll, of which there are many
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, crossing)
}

// passed leaves of metadata what crosses the host: all but what belongs to one HTTP/2 connection or to grpc itself. It
// changes what it is given, which therefore has to be the caller's own.
func passed(from metadata.MD) metadata.MD {
	for key := range from {
		if ofConnection(key) {
			delete(from, key)
		}
	}
	return from
}

func ofConnection(key string) bool {
	switch key {
	case "content-type", "user-agent", "te", "connection", "host", "trailer":
		return true
	case "grpc-trace-bin", "grpc-tags-bin": // grpc's own, but end to end
		return false
	}
	return strings.HasPrefix(key, ":") || strings.HasPrefix(key, "grpc-")
}
