package gateway

import (
	"cmp"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/series"
	"github.com/agenthost/agenthost/host/tracing"
)

// metrics counts calls twice: under the host's names, with the plugin in them, and under flytekit's, so that a
// dashboard made for Flyte's own connector server goes on working.
//
// Labels come from the route table only, never from a request: a caller that makes up task types cannot make series.
type metrics struct {
	calls    *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	// guarantees counts how often the host saved a call, which is what it is there for.
	guarantees *prometheus.CounterVec
	limited    *prometheus.CounterVec

	flytekitSuccess *prometheus.CounterVec
	flytekitFailure *prometheus.CounterVec
	flytekitLatency *prometheus.SummaryVec
	flytekitInputs  *prometheus.SummaryVec

	// tallies are what the charts of the host's own page are made of.
	tallies *series.Tallies

	// ok are the series of successful calls. The map is never changed but replaced, under okMu: each call reads it.
	ok   atomic.Pointer[map[seriesKey]*okSeries]
	okMu sync.Mutex
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agenthost_calls_total", Help: "Calls from Flyte that have ended. Plugin and task type are empty where no plugin serves the call.",
		}, []string{"plugin", "task_type", "method", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agenthost_call_duration_seconds", Help: "Time from a call's first byte to its end, the wait for a restarting plugin included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"plugin", "task_type", "method"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agenthost_calls_in_flight", Help: "Calls from Flyte under way.",
		}, []string{"method"}),

		guarantees: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agenthost_guarantee_total",
			Help: guarantee.MetricHelp(),
		}, []string{"guarantee", "plugin", "task_type"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agenthost_limited_total",
			Help: "Calls that found a limit of their plugin reached (limit: concurrency or rate), and what became of them: waited, and then went to the plugin, or refused. A poll that is refused is answered from memory.",
		}, []string{"plugin", "limit", "outcome"}),

		tallies: &series.Tallies{},

		flytekitSuccess: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flyte_connector_requests_success_total", Help: "Calls that succeeded, as flytekit's connector server names them; task_type is " + unknownTaskType + " where no plugin serves it.",
		}, []string{"task_type", "operation"}),
		flytekitFailure: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flyte_connector_requests_failure_total", Help: "Calls that failed, as flytekit's connector server names them; error_code is HTTP's. Polls that were answered from memory because the plugin failed are among them.",
		}, []string{"task_type", "operation", "error_code"}),
		flytekitLatency: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "flyte_connector_request_latency_seconds", Help: "Time of calls, as flytekit's connector server names it.",
		}, []string{"task_type", "operation"}),
		flytekitInputs: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "flyte_connector_input_literal_bytes", Help: "Size of the inputs of created tasks, as flytekit's connector server names it.",
		}, []string{"task_type"}),
	}
	m.ok.Store(&map[seriesKey]*okSeries{})
	registry.MustRegister(m.calls, m.latency, m.inFlight, m.guarantees, m.limited, m.flytekitSuccess, m.flytekitFailure, m.flytekitLatency, m.flytekitInputs)
	return m
}

// unknownTaskType stands in flytekit's metrics for all the task types that no plugin serves.
const unknownTaskType = "unknown"

// observation is one call being measured.
type observation struct {
	metrics          *metrics
	method           method
	started          time.Time
	plugin, taskType string
	// trace is what a collector is told of the call.
	trace *tracing.Call
	// hidden is the plugin's failure, of which the caller is spared the error. The host's own metrics tell of it as a
	// guarantee that saved the call; alerts on flytekit's know of failures only.
	hidden error
}

func (m *metrics) begin(called method) *observation {
	called.inFlight.Inc()
	return &observation{metrics: m, method: called, started: time.Now()}
}

// routed adds what is known once the call has a route.
func (o *observation) routed(r route.Route, info requestInfo) {
	o.plugin, o.taskType = r.Target.Plugin(), r.Category.Name
	o.trace.Routed(tracing.About{
		Plugin: o.plugin, TaskType: o.taskType, Project: info.project, Domain: info.domain, Execution: info.execution, Node: info.node, Attempt: info.retry,
	})
	if o.method.creates {
		o.metrics.flytekitInputs.WithLabelValues(o.taskType).Observe(float64(info.inputBytes))
	}
}

// end counts the call, and returns how long it took.
func (o *observation) end(err error) time.Duration {
	took := time.Since(o.started)
	elapsed := took.Seconds()
	m := o.metrics
	o.method.inFlight.Dec()
	if err == nil && o.hidden == nil {
		ok := m.okSeriesOf(o)
		ok.calls.Inc()
		o.observe(ok.latency, elapsed)
		ok.flytekitSuccess.Inc()
		ok.flytekitLatency.Observe(elapsed)
		ok.tally.Add(took, false)
		return took
	}
	m.tallies.Of(o.plugin).Add(took, true)
	failure := status.Code(cmp.Or(err, o.hidden))
	m.calls.WithLabelValues(o.plugin, o.taskType, o.method.name, status.Code(err).String()).Inc()
	o.observe(m.latency.WithLabelValues(o.plugin, o.taskType, o.method.name), elapsed)
	m.flytekitLatency.WithLabelValues(o.flytekitType(), o.method.operation).Observe(elapsed)
	m.flytekitFailure.WithLabelValues(o.flytekitType(), o.method.operation, strconv.Itoa(httpStatus(failure))).Inc()
	return took
}

// observe adds how long a call took, with its trace as an example where that is sampled.
func (o *observation) observe(latency prometheus.Observer, elapsed float64) {
	if id := o.trace.SpanContext().TraceID(); id.IsValid() {
		if exemplary, ok := latency.(prometheus.ExemplarObserver); ok {
			exemplary.ObserveWithExemplar(elapsed, prometheus.Labels{tracing.TraceID: id.String()})
			return
		}
	}
	latency.Observe(elapsed)
}

// flytekitType is the task type in flytekit's metrics.
func (o *observation) flytekitType() string { return cmp.Or(o.taskType, unknownTaskType) }

// okSeries are the series that a successful call adds to. They are cached by route and method: looking four series up by
// their labels costs a poll more than adding to them.
type okSeries struct {
	calls, flytekitSuccess   prometheus.Counter
	latency, flytekitLatency prometheus.Observer
	tally                    *series.Tally
}

type seriesKey struct{ plugin, taskType, method string }

func (m *metrics) okSeriesOf(o *observation) *okSeries {
	key := seriesKey{o.plugin, o.taskType, o.method.name}
	if known := (*m.ok.Load())[key]; known != nil {
		return known
	}
	fresh := &okSeries{
		calls:           m.calls.WithLabelValues(o.plugin, o.taskType, o.method.name, codes.OK.String()),
		latency:         m.latency.WithLabelValues(o.plugin, o.taskType, o.method.name),
		flytekitSuccess: m.flytekitSuccess.WithLabelValues(o.flytekitType(), o.method.operation),
		flytekitLatency: m.flytekitLatency.WithLabelValues(o.flytekitType(), o.method.operation),
		tally:           m.tallies.Of(o.plugin),
	}
	m.okMu.Lock()
	defer m.okMu.Unlock()
	next := maps.Clone(*m.ok.Load())
	next[key] = fresh
	m.ok.Store(&next)
	return fresh
}

// httpStatus is the usual translation of a gRPC code.
func httpStatus(code codes.Code) int {
	switch code {
	case codes.OK:
		return http.StatusOK
	case codes.Canceled:
		return 499
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	default:
		return http.StatusInternalServerError
	}
}
