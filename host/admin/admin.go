// Package admin is the side of the host that its operators see: metrics, health and status over HTTP.
package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/agenthost/agenthost/host/fleet"
)

// Options configure a Server.
type Options struct {
	// Version is the host's version, for status and metrics.
	Version string
	// GRPC and Admin are the addresses in use, host:port, for status.
	GRPC, Admin string
	// Plugins is what the plugins are doing.
	Plugins func() []fleet.Status
	// Ready is whether Flyte may send work.
	Ready func() bool
	// Events are all changes of state from now on; see fleet.Fleet.Events.
	Events func(context.Context) <-chan fleet.Event
	// Reload takes up the changed configuration, or with dry only plans it, and sends what happens line by line, the report
	// last.
	Reload func(ctx context.Context, dry bool, send func(ReloadLine))
	// ConfigError is what is wrong with the configuration's files; while something is, the last sound one is in effect.
	ConfigError func() string
	// WatchError is why changes of the configuration's files are seen late; empty while they are seen at once.
	WatchError func() string
	// Rollbacks is how often a generation failed its probation.
	Rollbacks func() int64
	// Metrics is where the host's metrics are registered; the server adds its own to it.
	Metrics *prometheus.Registry
}

// Server answers operators:
//
//	/healthz   200 while the process is well: for a liveness probe
//	/readyz    200 while Flyte may send work, 503 with the reason otherwise: for a readiness probe
//	/metrics   Prometheus
//	/status    Status as JSON
//	/events    every change of state from now on, as newline-delimited JSON Events
//	/reload    POST: the configuration is read again; ReloadLines, newline-delimited; ?dry_run=1 only plans
//	/debug/pprof/  Go's profiles of the host
type Server struct {
	options Options
	started time.Time
	http    *http.Server

	streams    context.Context // ends with Shutdown
	endStreams context.CancelFunc
}

// New returns a server that is not serving yet.
func New(options Options) *Server {
	s := &Server{options: options, started: time.Now()}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	registerMetrics(options)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(options.Metrics, promhttp.HandlerOpts{Registry: options.Metrics}))
	mux.HandleFunc("GET /status", s.serveStatus)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("POST /reload", s.serveReload)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return s
}

// Serve answers on listener until Shutdown.
func (s *Server) Serve(listener net.Listener) error { return s.http.Serve(listener) }

// Shutdown ends streams of events and lets other requests under way end, until ctx does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endStreams()
	return s.http.Shutdown(ctx)
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if s.options.Ready() {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "not ready: the host is starting its plugins for the first time, or stopping")
	for _, p := range s.options.Plugins() {
		fmt.Fprintf(w, "plugin %s is %s\n", p.Name, p.State)
	}
}
