package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
)

// busy is a registry whose vectors have the series of many plugins with traffic.
type busy struct {
	*prometheus.Registry
	plugins []string
}

func (b *busy) MustRegister(collectors ...prometheus.Collector) {
	b.Registry.MustRegister(collectors...)
	for _, collector := range collectors {
		for _, described := range describedBy(collector) {
			b.fill(collector, described.labels)
		}
	}
}

func (b *busy) fill(collector prometheus.Collector, names []string) {
	values := map[string][]string{
		"plugin": b.plugins, "task_type": {""}, "method": {"CreateTask", "GetTask", "DeleteTask"}, "operation": {"create", "get", "delete"},
		"code": {"OK", "Unavailable"}, "error_code": {"503"}, "guarantee": {"G5", "G12", "G14"}, "limit": {"rate"}, "outcome": {"waited", "refused"},
	}
	labels := []prometheus.Labels{{}}
	for _, name := range names {
		var more []prometheus.Labels
		for _, so := range labels {
			for _, value := range values[name] {
				with := prometheus.Labels{name: value}
				for k, v := range so {
					with[k] = v
				}
				more = append(more, with)
			}
		}
		labels = more
	}
	for _, with := range labels {
		if of := with["plugin"]; of != "" && with["task_type"] == "" {
			if _, has := with["task_type"]; has {
				with["task_type"] = of + "_query"
			}
		}
		switch vector := collector.(type) {
		case *prometheus.CounterVec:
			vector.With(with).Add(12345)
		case *prometheus.GaugeVec:
			vector.With(with).Set(3)
		case *prometheus.HistogramVec:
			vector.With(with).Observe(.012)
		case *prometheus.SummaryVec:
			vector.With(with).Observe(.012)
		}
	}
}

// BenchmarkMetricsOf300Plugins, of which every tenth has a canary, is what a scrape costs the host: in CPU, of all threads, with the compression that Prometheus asks for. What
// plugins use is read elsewhere, once a second at most.
func BenchmarkMetricsOf300Plugins(b *testing.B) {
	names := make([]string, 300)
	plugins := make([]fleet.Status, len(names))
	standings := make([]fleet.Standing, len(names))
	for i := range names {
		names[i] = fmt.Sprintf("plugin-%03d", i)
		standings[i] = fleet.Standing{Plugin: names[i], Stand: fleet.AsConfigured}
		plugins[i] = fleet.Status{
			Name: names[i], State: fleet.Running, MemoryLimit: 1 << 30, MemoryBytes: 1 << 20, PID: 1000 + i, Started: time.Now(), SecretsRead: time.Now(), Sandbox: &sandbox.Granted{}, Manifest: &plugin.Manifest{Version: "1.2.3", SDK: "go/0.1.0"},
			Generations: []fleet.GenerationStatus{{ID: fmt.Sprintf("a%011d", i), Role: fleet.RoleCurrent, Version: "1.2.3", Instances: []fleet.InstanceStatus{{PID: 1000 + i, HealthAt: time.Now()}}}},
		}
		if i%10 == 0 {
			plugins[i].Generations = append(plugins[i].Generations, fleet.GenerationStatus{ID: fmt.Sprintf("b%011d", i), Role: fleet.RoleCanary, Version: "1.3.0"})
		}
	}
	registry := &busy{prometheus.NewRegistry(), names}
	front := gateway.New(gateway.Options{Routes: &route.Current{}, MaxMessageSize: 1 << 20, Log: slog.New(slog.DiscardHandler), Metrics: registry})
	b.Cleanup(func() { front.Shutdown(b.Context()) })
	host := admin.New(admin.Options{
		Version: "1.2.3", Ready: func() bool { return true }, WatchError: func() string { return "" }, Rollbacks: func() int64 { return 0 }, Metrics: registry.Registry,
		Config:  admin.Config{Standings: func() []fleet.Standing { return standings }},
		Plugins: func() []fleet.Status { return plugins },
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = host.Serve(listener) }()
	b.Cleanup(func() { _ = host.Shutdown(context.Background()) })
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/metrics", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "gzip")
	size := int64(0)
	before := cpu(b)
	for b.Loop() {
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		if size, err = io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Encoding") != "gzip" {
			b.Fatal(answer.Status, answer.Header, err)
		}
		answer.Body.Close()
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(size), "bytes/op")
}

// cpu is what this process has taken of the processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
