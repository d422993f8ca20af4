package admin

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/sandbox"
)

// That a plugin was taken out of the configuration is one of the reasons why tasks wait for it.
func TestTasksOnRecordAreCountedForEveryPlugin(t *testing.T) {
	metrics := prometheus.NewRegistry()
	New(Options{
		Metrics: metrics,
		Plugins: func() []fleet.Status { return []fleet.Status{{Name: "busy"}, {Name: "idle"}, {Name: "busy"}} },
		Pending: func() []gateway.Pending {
			return []gateway.Pending{{Plugin: "gone"}, {Plugin: "busy"}, {Plugin: "gone"}}
		},
		Ready: func() bool { return true }, Rollbacks: func() int64 { return 0 },
		WatchError: func() string { return "" },
	})
	const want = `# HELP agenthost_creations_on_record Tasks for the plugin that were accepted and have no job yet.
# TYPE agenthost_creations_on_record gauge
agenthost_creations_on_record{plugin="busy"} 1
agenthost_creations_on_record{plugin="gone"} 2
agenthost_creations_on_record{plugin="idle"} 0
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "agenthost_creations_on_record"); err != nil {
		t.Error(err)
	}
}

func TestJobsThatRunAreCountedForEveryPlugin(t *testing.T) {
	metrics := prometheus.NewRegistry()
	running := jobs.NewRunning(1 << 20)
	for n, owner := range []jobs.Owner{{Plugin: "busy", Generation: "old"}, {Plugin: "busy", Generation: "new"}, {Plugin: "gone", Generation: "last"}, {}} {
		running.Heard(running.Key("sql", []byte{byte(n)}), owner, 0)
	}
	New(Options{
		Metrics: metrics,
		Plugins: func() []fleet.Status { return []fleet.Status{{Name: "busy"}, {Name: "idle"}, {Name: "busy"}} },
		Jobs:    func() ([]jobs.Count, bool) { return running.Counts(), running.Full() },
		Ready:   func() bool { return true }, Rollbacks: func() int64 { return 0 },
		WatchError: func() string { return "" },
	})
	const want = `# HELP agenthost_plugin_jobs Jobs that run, by the plugin that this host asked about each last; plugin is empty where no plugin serves their task type.
# TYPE agenthost_plugin_jobs gauge
agenthost_plugin_jobs{plugin=""} 1
agenthost_plugin_jobs{plugin="busy"} 2
agenthost_plugin_jobs{plugin="gone"} 1
agenthost_plugin_jobs{plugin="idle"} 0
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "agenthost_plugin_jobs"); err != nil {
		t.Error(err)
	}
}

func TestASandboxThatIsLessIsCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	New(Options{
		Metrics: metrics,
		Plugins: func() []fleet.Status {
			return []fleet.Status{{Name: "half", Sandbox: &sandbox.Granted{Missing: []string{"x"}}}, {Name: "whole", Sandbox: &sandbox.Granted{}}, {Name: "off"}}
		},
		Pending: func() []gateway.Pending { return nil },
		Ready:   func() bool { return true }, Rollbacks: func() int64 { return 0 },
		WatchError: func() string { return "" },
	})
	const want = `# HELP agenthost_plugin_sandbox_degraded 1 while the plugin's process runs with less than its sandbox, because this machine cannot grant all of it.
# TYPE agenthost_plugin_sandbox_degraded gauge
agenthost_plugin_sandbox_degraded{plugin="half"} 1
agenthost_plugin_sandbox_degraded{plugin="whole"} 0
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "agenthost_plugin_sandbox_degraded"); err != nil {
		t.Error(err)
	}
}

// The limit of memory is one process's, and its use that of all of them.
func TestTheProcessesThatUseAPluginsMemoryAreCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	New(Options{
		Metrics: metrics,
		Plugins: func() []fleet.Status {
			return []fleet.Status{{Name: "busy", Generations: []fleet.GenerationStatus{
				{Role: fleet.RoleCurrent, Instances: []fleet.InstanceStatus{{PID: 1}, {}, {PID: 2}}},
				{Role: fleet.RoleCanary, Instances: []fleet.InstanceStatus{{PID: 3}}},
			}}}
		},
		Pending: func() []gateway.Pending { return nil },
		Ready:   func() bool { return true }, Rollbacks: func() int64 { return 0 },
		WatchError: func() string { return "" },
	})
	const want = `# HELP agenthost_plugin_processes Running processes of the plugin's current generation.
# TYPE agenthost_plugin_processes gauge
agenthost_plugin_processes{plugin="busy"} 2
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "agenthost_plugin_processes"); err != nil {
		t.Error(err)
	}
}

func TestAScrapeIsCompressedForWhoAsksForIt(t *testing.T) {
	metrics := prometheus.NewRegistry()
	many := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "many", Help: "Many."}, []string{"plugin"})
	metrics.MustRegister(many)
	for n := range 100 {
		many.WithLabelValues(fmt.Sprint("plugin-", n)).Set(1)
	}
	scrape := func(encoding string) (http.Header, []byte) {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept-Encoding", encoding)
		answer := httptest.NewRecorder()
		metricsHandler(metrics, promhttp.HandlerOpts{}).ServeHTTP(answer, request)
		return answer.Header(), answer.Body.Bytes()
	}
	_, plain := scrape("identity")
	if strings.Count(string(plain), "\nmany{") != 100 {
		t.Fatalf("%s", plain)
	}
	header, compressed := scrape("gzip")
	reader, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil || header.Get("Content-Encoding") != "gzip" {
		t.Fatal(err, header)
	}
	if again, err := io.ReadAll(reader); err != nil || string(again) != string(plain) {
		t.Errorf("%v\n%s", err, again)
	}
}
