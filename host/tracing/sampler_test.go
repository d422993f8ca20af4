package tracing

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/metadata"
)

func TestASampledShareOfCallsIsTracedAndTheOthersCostLittle(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracer, provider := NewTracer("1.2.3", sdktrace.ParentBased(sdktrace.TraceIDRatioBased(.25)), sdktrace.WithSyncer(spans))
	defer provider.Shutdown(context.Background())
	method := NewMethod("/x.X/Y")
	const calls = 4000
	for range calls {
		tracer.Begin(t.Context(), method).End(nil)
	}
	if n := len(spans.GetSpans()); n < calls/5 || n > calls/3 {
		t.Errorf("%d of %d calls are traced", n, calls)
	}

	none, provider := NewTracer("1.2.3", sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0)))
	defer provider.Shutdown(context.Background())
	if allocations := testing.AllocsPerRun(100, func() { none.Begin(t.Context(), method).Outgoing(metadata.MD{}) }); allocations > 8 {
		t.Errorf("a call that is not sampled costs %g allocations", allocations)
	}
}

func TestAnIDOfATraceIsChosenByTheSamplersDecision(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracer, provider := NewTracer("1.2.3", sdktrace.TraceIDRatioBased(.5), sdktrace.WithSyncer(spans))
	defer provider.Shutdown(context.Background())
	for range 100 {
		c := tracer.Begin(t.Context(), NewMethod("/x.X/Y"))
		if c.recorded() != c.passed.IsSampled() {
			t.Errorf("recorded: %v, and the plugin is told %v", c.recorded(), c.passed.TraceFlags())
		}
	}
}
