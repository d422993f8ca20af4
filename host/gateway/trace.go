package gateway

import (
	"log/slog"

	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/tracing"
)

// linkTo links the call's trace to that of the call which has begun a creation.
func (c *routedCall) linkTo(n *jobs.Creation) {
	if begun, ok := n.About().(*pendingCall); ok {
		c.trace.LinkTo(begun.call.trace.SpanContext())
	} else if isDone(n) {
		c.trace.LinkTo(tracing.Referred(n.Outcome().Trace))
	}
}

// logTo is a log for lines about the call.
func (c *routedCall) logTo(log *slog.Logger) *slog.Logger {
	if at := c.trace.SpanContext(); at.IsValid() {
		return log.With(slog.String(tracing.TraceID, at.TraceID().String()), slog.String(tracing.SpanID, at.SpanID().String()))
	}
	return log
}
