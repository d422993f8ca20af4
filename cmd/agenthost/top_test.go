package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/admin"
)

// busyHost is a host with plugins p000, p001, …, of which each later one is busier, and whose processor's time grows with every look.
func busyHost(t *testing.T, plugins int) string {
	t.Helper()
	var looks atomic.Int64
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(value); err != nil {
			t.Error(err)
		}
	}
	return adminHost(t, map[string]http.HandlerFunc{
		"GET /status": func(w http.ResponseWriter, _ *http.Request) {
			look := float64(looks.Add(1))
			var all []any
			for n := range plugins {
				all = append(all, map[string]any{
					"name": fmt.Sprintf("p%03d", n), "state": "running", "in_flight": n, "memory_bytes": (plugins - n) << 20, "cpu_seconds": look * float64(n), "restarts": 1,
					"waiting": []any{map[string]any{"on": "rate", "calls": 2}, map[string]any{"on": "plugin", "calls": n}},
				})
			}
			answer(w, map[string]any{"host": map[string]any{"version": "1.2.3"}, "plugins": all})
		},
		"GET /series": func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.RawQuery; got != "steps=2" {
				t.Errorf("the host was asked for the series %s", got)
			}
			series := admin.Series{EverySeconds: 5}
			for n := range plugins {
				of := float64(n)
				series.Plugins = append(series.Plugins, admin.PluginSeries{
					Name: fmt.Sprintf("p%03d", n), Calls: []float64{of, 3 * of}, Errors: []float64{0, 1}, Mean: []float64{0.5, 0.5}, P95: []float64{0.2, 0.5},
				})
			}
			answer(w, series)
		},
	})
}

func TestTopShowsTheBusiestFirst(t *testing.T) {
	got := agenthost(t, "top", "--once", "--interval", "100ms", "-o", "json", "--admin", busyHost(t, 3))
	var report topReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || len(report.Plugins) != 3 {
		t.Fatalf("%v in %+v", err, got)
	}
	first := report.Plugins[0]
	if first.Processors <= 0 || first.Processors > 20 {
		t.Errorf("it keeps %v processors busy", first.Processors)
	}
	first.Processors = 0
	want := topPlugin{
		Name: "p002", State: "running", CallsPerSecond: 4, ErrorsPerSecond: 0.5, MeanSeconds: 0.5, P95Seconds: 0.5, InFlight: 2, Waiting: 4, MemoryBytes: 1 << 20, Restarts: 1,
	}
	if first != want {
		t.Errorf("the first is %+v", first)
	}
	if time.Since(report.Time) > time.Hour {
		t.Errorf("it is of %v", report.Time)
	}
}

func TestTopSortsByWhatIsAskedFor(t *testing.T) {
	host := busyHost(t, 3)
	for order, want := range map[string]string{"memory": "p000", "name": "p000", "cpu": "p002", "waiting": "p002", "errors": "p000", "latency": "p000"} {
		got := agenthost(t, "top", "-n", "1", "--interval", "100ms", "--sort", order, "--admin", host)
		lines := strings.Split(got.stdout, "\n")
		if got.code != 0 || len(lines) < 3 || !strings.HasPrefix(strings.TrimSpace(lines[2]), want) {
			t.Errorf("by %s: %+v", order, got)
		}
	}
	if got := agenthost(t, "top", "--sort", "luck", "--admin", host); got.code != exitUsage || !strings.Contains(got.stderr, "in-flight") {
		t.Errorf("by luck: %+v", got)
	}
}

func TestTopShowsFiveHundredPlugins(t *testing.T) {
	got := agenthost(t, "top", "-n", "2", "--interval", "100ms", "--admin", busyHost(t, 500))
	if got.code != 0 || strings.Count(got.stdout, "\n") != 2*502 || !strings.Contains(got.stdout, "500 plugins: ") {
		t.Errorf("code %d, %d lines, %s", got.code, strings.Count(got.stdout, "\n"), got.stderr)
	}
	if shown := renderTop(admin.Status{}, topReport{Plugins: make([]topPlugin, 500)}, 20); !strings.Contains(shown, "and 480 plugins more") || strings.Count(shown, "\n") != 23 {
		t.Errorf("on a small terminal:\n%s", shown)
	}
}
