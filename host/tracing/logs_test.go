package tracing

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// collected is a collector of lines.
type collected struct{ lines []sdklog.Record }

func (k *collected) Export(_ context.Context, lines []sdklog.Record) error {
	for _, line := range lines {
		k.lines = append(k.lines, line.Clone())
	}
	return nil
}

func (*collected) Shutdown(context.Context) error   { return nil }
func (*collected) ForceFlush(context.Context) error { return nil }

func TestLinesGoToTheCollectorTooWithTheTracesThatTheyName(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	collector, local := &collected{}, &text{}
	tracing := &Tracing{lines: sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(collector)))}
	log := slog.New(tracing.Handler(slog.NewTextHandler(local, &slog.HandlerOptions{Level: slog.LevelInfo})))
	log.Debug("nobody asked for it")
	log.Info("of a call", TraceID, trace, SpanID, span)
	log.With("plugin", "query", TraceID, trace).Warn("of a plugin")
	log.Error("of nothing", TraceID, "what a plugin likes to write")

	if got := local.String(); strings.Count(got, "\n") != 3 || strings.Contains(got, "nobody asked") {
		t.Errorf("the log itself has\n%s", got)
	}
	if len(collector.lines) != 3 {
		t.Fatalf("the collector has %d lines", len(collector.lines))
	}
	for i, want := range []struct{ body, trace, span, severity string }{
		{"of a call", trace, span, "INFO"}, {"of a plugin", trace, strings.Repeat("0", 16), "WARN"}, {"of nothing", strings.Repeat("0", 32), strings.Repeat("0", 16), "ERROR"},
	} {
		line := collector.lines[i]
		got := []string{line.Body().String(), line.TraceID().String(), line.SpanID().String(), line.Severity().String()}
		if !slices.Equal(got, []string{want.body, want.trace, want.span, want.severity}) {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
}

func TestWithoutACollectorTheLogIsAsItWas(t *testing.T) {
	handler := slog.NewTextHandler(&text{}, nil)
	var off *Tracing
	if off.Handler(handler) != slog.Handler(handler) || (&Tracing{}).Handler(handler) != slog.Handler(handler) {
		t.Error("something stands before it")
	}
}
