package admin

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// probed is a probe on a real listener.
type probed struct {
	*Probe
	address string
	health  *health.Server
	ready   atomic.Bool
}

func serveProbe(t *testing.T) *probed {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &probed{address: listener.Addr().String(), health: health.NewServer()}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "agenthost_some"}))
	p.Probe = NewProbe(ProbeOptions{
		Readiness: func() Readiness { return Readiness{Ready: p.ready.Load(), Why: "it starts"} }, Health: p.health, Metrics: metrics, Config: Config{Hash: func() string { return "abc" }},
	})
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(listener) }()
	t.Cleanup(func() {
		began := time.Now()
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the end took %v", took)
		}
		<-ended
	})
	return p
}

func (p *probed) ask(t *testing.T, protocol func(*http.Protocols), method, path string) (int, string) {
	t.Helper()
	var protocols http.Protocols
	protocol(&protocols)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	return response.StatusCode, string(body)
}

// The kubelet has HTTP and gRPC probes, Prometheus speaks HTTP, and all come to one port.
func TestTheProbeAnswersHTTPAndGRPCOnOnePort(t *testing.T) {
	p := serveProbe(t)
	conn, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := healthpb.NewHealthClient(conn)
	watching, err := client.Watch(ctx, &healthpb.HealthCheckRequest{}) // which is there to the end
	if err != nil {
		t.Fatal(err)
	}
	for _, ready := range []bool{false, true} {
		state, code := healthpb.HealthCheckResponse_NOT_SERVING, http.StatusServiceUnavailable
		if ready {
			state, code = healthpb.HealthCheckResponse_SERVING, http.StatusOK
		}
		p.ready.Store(ready)
		p.health.SetServingStatus("", state)
		if answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || answer.GetStatus() != state {
			t.Errorf("gRPC's health: %v, %v", answer, err)
		}
		for seen := healthpb.HealthCheckResponse_UNKNOWN; seen != state; {
			answer, err := watching.Recv()
			if err != nil {
				t.Fatal(err)
			}
			seen = answer.GetStatus()
		}
		for name, protocol := range map[string]func(*http.Protocols){
			"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/2": func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
		} {
			for path, want := range map[string]string{"/healthz": "ok", "/metrics": "agenthost_some", "/config": `"hash": "abc"`} {
				if got, text := p.ask(t, protocol, http.MethodGet, path); got != http.StatusOK || !strings.Contains(text, want) {
					t.Errorf("%s %s: %d %s", name, path, got, text)
				}
			}
			if got, text := p.ask(t, protocol, http.MethodGet, "/readyz"); got != code {
				t.Errorf("%s /readyz: %d %s", name, got, text)
			}
		}
	}
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of a service that is none: %v", err)
	}
}

func TestNothingAtTheProbeChangesAnythingOrTellsMore(t *testing.T) {
	p := serveProbe(t)
	server := New(Options{Metrics: prometheus.NewRegistry(), Profiles: true})
	own := map[string]bool{}
	for _, e := range p.endpoints() {
		method, path, _ := strings.Cut(e.pattern, " ")
		if method != http.MethodGet {
			t.Errorf("%s is at the probe", e.pattern)
		}
		own[path] = true
	}
	for _, e := range server.endpoints() {
		method, path, _ := strings.Cut(e.pattern, " ")
		if own[path] {
			continue
		}
		path = strings.ReplaceAll(path, "{id}", "known")
		if code, text := p.ask(t, func(p *http.Protocols) { p.SetHTTP1(true) }, method, path); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", e.pattern, code, text)
		}
	}
	conn, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, method := range []string{
		"/flyteidl.service.AgentMetadataService/ListAgents", "/flyteidl.service.AsyncAgentService/CreateTask", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	} {
		if err := conn.Invoke(t.Context(), method, &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
	big := &healthpb.HealthCheckRequest{Service: strings.Repeat("x", 2*probeMessage)}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), big); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large message: %v", err)
	}
	if _, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", p.address); err == nil {
		t.Error("it speaks TLS")
	}
}
