package admin

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// ProbeOptions configure a Probe.
type ProbeOptions struct {
	// Readiness is whether Flyte may send work; Health says the same in gRPC.
	Readiness func() Readiness
	Health    healthpb.HealthServer
	// Config is which configuration is in effect.
	Config Config
	// Metrics is where the host's metrics are registered.
	Metrics *prometheus.Registry
	// Exemplars says that some of the metrics have traces as examples, which only OpenMetrics can say.
	Exemplars bool
}

// Probe answers whoever reaches it with what anybody may see: over HTTP, and gRPC's health service on the same port. Nothing there
// changes anything.
type Probe struct {
	options ProbeOptions
	http    *http.Server
	grpc    *grpc.Server
	end     context.CancelFunc // of all requests
}

const (
	// probeHeader is how large the header of a request may be, in bytes, and probeMessage a message: probes have nothing to say.
	probeHeader  = 16 << 10
	probeMessage = 4 << 10
	// probeScrapes is how many may read the metrics at once: they are the only answer that costs anything.
	probeScrapes = 4
	// probeStreams is how many requests a connection may have under way.
	probeStreams = 32
	// probeRead is how long a request may take to come, probeWrite how long an answer may take but for a health stream, and
	// probeIdle for how long a connection may do nothing: the kubelet makes a new one each time, Prometheus keeps one.
	probeRead  = 5 * time.Second
	probeWrite = 30 * time.Second
	probeIdle  = 90 * time.Second
)

// NewProbe returns a probe that is not serving yet.
func NewProbe(options ProbeOptions) *Probe {
	p := &Probe{options: options, grpc: grpc.NewServer(grpc.MaxRecvMsgSize(probeMessage))}
	healthpb.RegisterHealthServer(p.grpc, options.Health)
	mux := http.NewServeMux()
	for _, e := range p.endpoints() {
		mux.Handle(e.pattern, e.handler)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	ctx, end := context.WithCancel(context.Background())
	p.end = end
	p.http = &http.Server{
		Handler: p.split(mux), Protocols: &protocols, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: probeRead, IdleTimeout: probeIdle, MaxHeaderBytes: probeHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: probeStreams},
	}
	return p
}

// endpoints are what is answered over HTTP.
func (p *Probe) endpoints() []endpoint {
	return []endpoint{
		{
			pattern: "GET /healthz", handler: http.HandlerFunc(serveHealth),
			answer: "`ok`, while the process is well: for a liveness probe", status: "200",
		},
		{
			pattern: "GET /readyz", handler: http.HandlerFunc(p.serveReady),
			answer: "`ok` while Flyte may send work, and the plugins that it is ready without (`ready.give_up`); else why not, and the plugins that it waits for: for a readiness probe", status: "200, 503",
		},
		{
			pattern: "GET /metrics", handler: metricsHandler(p.options.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: probeScrapes, Timeout: probeWrite, EnableOpenMetrics: p.options.Exemplars}),
			answer: "Prometheus's metrics: [metrics.md](metrics.md)", status: "200",
		},
		{
			pattern: "GET /config", handler: http.HandlerFunc(p.serveConfig),
			answer: "[ConfigState](#configstate), as JSON: for a hook that waits until a changed configuration is in effect", status: "200",
		},
	}
}

// split gives gRPC's requests to gRPC, and the others to the endpoints.
func (p *Probe) split(endpoints http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			p.grpc.ServeHTTP(w, r)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		controller := http.NewResponseController(w)
		r.Body = http.MaxBytesReader(w, r.Body, probeMessage)
		_ = controller.SetReadDeadline(time.Now().Add(probeRead)) // only what cannot have one has none
		_ = controller.SetWriteDeadline(time.Now().Add(probeWrite))
		endpoints.ServeHTTP(w, r)
	})
}

// Serve answers on listener until Shutdown.
func (p *Probe) Serve(listener net.Listener) error { return p.http.Serve(listener) }

// Shutdown ends health streams and lets other requests under way end, until ctx does.
func (p *Probe) Shutdown(ctx context.Context) error {
	p.end()
	return p.http.Shutdown(ctx)
}

func (p *Probe) serveReady(w http.ResponseWriter, _ *http.Request) {
	p.options.Readiness().serve(w, true)
}

func (p *Probe) serveConfig(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, p.options.Config.state(true))
}
