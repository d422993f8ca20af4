// Package traceparent knows which trace a call belongs to, by W3C Trace Context: enough for lines of the log. Spans are OpenTelemetry's.
package traceparent

import (
	"context"
	"regexp"

	"google.golang.org/grpc/metadata"
)

// Of is what a call's traceparent says: the trace, and the span that the call was made in. ok is false where it has none that can be
// read.
func Of(ctx context.Context) (trace, span string, ok bool) {
	values := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if len(values) != 1 {
		return "", "", false
	}
	parts := form.FindStringSubmatch(values[0])
	if parts == nil || parts[1] == noTrace || parts[2] == noSpan {
		return "", "", false
	}
	return parts[1], parts[2], true
}

var form = regexp.MustCompile(`^(?:00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2})$`)

const (
	noTrace = "00000000000000000000000000000000"
	noSpan  = "0000000000000000"
)
