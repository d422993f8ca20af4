package tracing

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func newMetrics() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agenthost_telemetry_total",
		Help: "Spans and lines of the log (signal: traces or logs) for a collector, where OpenTelemetry's variables ask for that, and what became of them: sent, failed, or dropped because as many waited as may.",
	}, []string{"signal", "outcome"})
}

// ledger counts what waits for the collector and what becomes of it. No more wait than may: OpenTelemetry's own queues are as long, so
// that nothing is lost there uncounted.
type ledger struct {
	what                  string
	most                  int64
	waiting               atomic.Int64
	sent, failed, dropped prometheus.Counter
	log                   *slog.Logger

	mu      sync.Mutex
	failing bool
	lost    int // since it fails
}

func (t *Tracing) ledger(signal string, most int) *ledger {
	outcome := func(name string) prometheus.Counter { return t.metrics.WithLabelValues(signal, name) }
	return &ledger{what: signal, most: int64(most), sent: outcome("sent"), failed: outcome("failed"), dropped: outcome("dropped"), log: t.log}
}

// admit says whether one more may wait.
func (l *ledger) admit() bool {
	if l.waiting.Add(1) > l.most {
		l.waiting.Add(-1)
		l.dropped.Inc()
		return false
	}
	return true
}

// exported notes what became of some. The log tells once that they do not arrive, and once that they do again.
func (l *ledger) exported(n int, err error) {
	l.waiting.Add(int64(-n))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed.Add(float64(n))
		l.lost += n
		if !l.failing {
			l.failing = true
			l.log.Warn(l.what+" do not arrive at the collector; calls do not wait for it, and agenthost_telemetry_total counts what is lost", "error", err)
		}
		return
	}
	l.sent.Add(float64(n))
	if l.failing {
		l.log.Info(l.what+" arrive at the collector again", "lost", l.lost)
		l.failing, l.lost = false, 0
	}
}

type admittingSpans struct {
	sdktrace.SpanProcessor
	ledger *ledger
}

func (a admittingSpans) OnEnd(span sdktrace.ReadOnlySpan) {
	if span.SpanContext().IsSampled() && a.ledger.admit() {
		a.SpanProcessor.OnEnd(span)
	}
}

type countingSpans struct {
	sdktrace.SpanExporter
	ledger *ledger
}

func (c countingSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.ledger.exported(len(spans), c.SpanExporter.ExportSpans(ctx, spans))
	return nil // it is told
}

type admittingLines struct {
	sdklog.Processor
	ledger *ledger
}

func (a admittingLines) OnEmit(ctx context.Context, line *sdklog.Record) error {
	if !a.ledger.admit() {
		return nil
	}
	return a.Processor.OnEmit(ctx, line)
}

type countingLines struct {
	sdklog.Exporter
	ledger *ledger
}

func (c countingLines) Export(ctx context.Context, lines []sdklog.Record) error {
	c.ledger.exported(len(lines), c.Exporter.Export(ctx, lines))
	return nil // it is told
}
