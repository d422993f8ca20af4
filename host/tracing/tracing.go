// Package tracing tells a collector of calls, as OpenTelemetry has it: a span for what a caller asked, for what a plugin was asked, and
// for what was waited for in between; and the host's log, where that is asked for.
//
// OpenTelemetry's standard variables say where to and how much (environment.go). Without them there is nothing: a nil [*Tracer] makes
// nil [*Call]s, whose methods do nothing. A collector that is slow or away costs spans, never a call: what waits for it is bounded
// (ledger.go).
//
// Nothing of requests and answers is in a span, and no text of an error, in which there may be some.
package tracing

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/agenthost/agenthost/host/internal/throttle"
)

// Tracing is where spans and lines of the log go. Nil is nowhere.
type Tracing struct {
	settings Settings
	metrics  *prometheus.CounterVec
	log      *slog.Logger
	spans    *sdktrace.TracerProvider // nil: there are no traces
	tracer   *Tracer
	lines    *sdklog.LoggerProvider // nil: the log goes nowhere else
}

// scope is the name of what makes the spans.
const scope = "github.com/agenthost/agenthost"

// Open opens what the settings ask for; nil, where that is nothing. log gets what there is to tell, and never what goes to the
// collector itself.
func Open(ctx context.Context, settings Settings, version string, log *slog.Logger) (*Tracing, error) {
	for _, warning := range settings.Warnings {
		log.Warn("a variable of OpenTelemetry has no effect", "problem", warning)
	}
	if settings.Traces == "" && settings.Logs == "" {
		return nil, nil //nolint:nilnil // off is nil, everywhere
	}
	ownTroubles(log)
	t := &Tracing{settings: settings, log: log, metrics: newMetrics()}
	about := describe(ctx, version)
	if settings.Traces != "" {
		exporter, err := settings.spanExporter(ctx)
		if err != nil {
			return nil, err
		}
		ledger := t.ledger("traces", settings.SpanQueue)
		t.tracer, t.spans = NewTracer(version, settings.sampler(), sdktrace.WithResource(about),
			sdktrace.WithSpanProcessor(admittingSpans{sdktrace.NewBatchSpanProcessor(countingSpans{exporter, ledger}), ledger}))
	}
	if settings.Logs != "" {
		exporter, err := settings.logExporter(ctx)
		if err != nil {
			t.Close(0)
			return nil, err
		}
		ledger := t.ledger("logs", settings.LogQueue)
		t.lines = sdklog.NewLoggerProvider(
			sdklog.WithResource(about),
			sdklog.WithProcessor(admittingLines{sdklog.NewBatchProcessor(countingLines{exporter, ledger}), ledger}),
		)
	}
	return t, nil
}

// describe says who the spans are from.
func describe(ctx context.Context, version string) *resource.Resource {
	own := []resource.Option{resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName("agenthost"), semconv.ServiceVersion(version))}
	if name, err := os.Hostname(); err == nil { // a replica's name, in Kubernetes its pod's
		own = append(own, resource.WithAttributes(semconv.ServiceInstanceID(name), semconv.HostName(name)))
	}
	about, err := resource.New(ctx, append(own, resource.WithFromEnv())...)
	if err != nil { // what could be read is there; Settings has warned of the rest
		otel.Handle(err)
	}
	return about
}

const (
	// troubleInterval and troubleBurst bound what the log tells of OpenTelemetry's own troubles.
	troubleInterval = time.Minute
	troubleBurst    = 5
)

var setTroubles sync.Once

// ownTroubles has OpenTelemetry tell its troubles to the log; by itself it writes to stderr. It has one place for that in a process.
func ownTroubles(log *slog.Logger) {
	setTroubles.Do(func() {
		bound := throttle.New(troubleInterval, troubleBurst)
		otel.SetLogger(logr.Discard())
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
			if _, ok := bound.Allow(); ok {
				log.Warn("OpenTelemetry has a problem", "error", err)
			}
		}))
	})
}

// Tracer makes the spans of calls; nil where there are none.
func (t *Tracing) Tracer() *Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// Register adds the metrics of what was sent.
func (t *Tracing) Register(registry prometheus.Registerer) {
	if t != nil {
		registry.MustRegister(t.metrics)
	}
}

// String says where spans and lines go, for the log.
func (t *Tracing) String() string {
	if t == nil {
		return "off"
	}
	return t.settings.String()
}

// Close sends what waits, within limit.
func (t *Tracing) Close(limit time.Duration) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var ending sync.WaitGroup
	end := func(what string, shutdown func(context.Context) error) {
		ending.Go(func() {
			if err := shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.log.Warn("the last "+what+" could not be sent", "error", err, "within", limit)
			}
		})
	}
	if t.spans != nil {
		end("spans", t.spans.Shutdown)
	}
	if t.lines != nil {
		end("lines of the log", t.lines.Shutdown)
	}
	ending.Wait()
}
