package tracing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// text is a log to look into.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(line)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// moody is a collector that fails while it is told to.
type moody struct{ fails bool }

var errAway = errors.New("it is away")

func (m *moody) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	if m.fails {
		return errAway
	}
	return nil
}

func (*moody) Shutdown(context.Context) error { return nil }

func TestWhatDoesNotArriveIsToldOnceAndCounted(t *testing.T) {
	log := &text{}
	tracing := &Tracing{metrics: newMetrics(), log: slog.New(slog.NewTextHandler(log, nil))}
	collector, ledger := &moody{fails: true}, tracing.ledger("traces", 5)
	exporter := countingSpans{collector, ledger}
	send := func(n int) {
		for range n {
			ledger.admit()
		}
		waits := min(n, 5)
		if err := exporter.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, waits)); err != nil {
			t.Errorf("OpenTelemetry is told, and would tell the log again: %v", err)
		}
	}
	send(3)
	send(9) // four too many
	collector.fails = false
	send(2)
	want := `
# HELP agenthost_telemetry_total Spans and lines of the log (signal: traces or logs) for a collector, where OpenTelemetry's variables ask for that, and what became of them: sent, failed, or dropped because as many waited as may.
# TYPE agenthost_telemetry_total counter
agenthost_telemetry_total{outcome="dropped",signal="traces"} 4
agenthost_telemetry_total{outcome="failed",signal="traces"} 8
agenthost_telemetry_total{outcome="sent",signal="traces"} 2
`
	if err := testutil.CollectAndCompare(tracing.metrics, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "do not arrive") != 1 || !strings.Contains(got, "arrive at the collector again\" lost=8") {
		t.Errorf("the log says\n%s", got)
	}
}

// A collector that takes connections and says nothing is as slow as one can be.
func TestACollectorThatHangsDelaysNobodyAndTheEndIsBounded(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, protocol := range []string{overGRPC, overHTTP} {
		t.Run(protocol, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+silent.Addr().String())
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_LOGS_EXPORTER", "otlp")
			log := &text{}
			tracing, err := Open(t.Context(), FromEnvironment(os.Environ()), "1.2.3", slog.New(slog.NewTextHandler(log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			registry := prometheus.NewRegistry()
			tracing.Register(registry)
			lines := slog.New(tracing.Handler(slog.NewTextHandler(io.Discard, nil)))
			began := time.Now()
			for range 3 * defaultQueue {
				tracing.Tracer().Begin(t.Context(), NewMethod("/x.X/Y")).End(nil)
				lines.Info("a line")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			for _, signal := range []string{"traces", "logs"} {
				if dropped := testutil.ToFloat64(tracing.metrics.WithLabelValues(signal, "dropped")); dropped < defaultQueue {
					t.Errorf("%g %s are dropped of %d", dropped, signal, 3*defaultQueue)
				}
			}
			began = time.Now()
			tracing.Close(200 * time.Millisecond)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("its end took %v", took)
			}
			if !strings.Contains(log.String(), "the last spans could not be sent") {
				t.Errorf("the log says\n%s", log)
			}
		})
	}
}
