// Package traces sends calls through a host into plugins, all of which send their spans to a real collector, and reads back what it
// got: one trace, whose spans stand where they belong. It has tests only.
package traces

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { hosttest.Main(m, "cmd/agenthost", "test/traces/plugin") }

// collector is a real one, which writes what comes into a file.
type collector struct{ address, file string }

var buildCollector = sync.OnceValues(func() (string, error) {
	program := hosttest.Program("collector")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = hosttest.Root("test", "traces", "collector")
	build.Env = append(os.Environ(), "GOWORK=off") // its versions are its own
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the collector cannot be built: %w\n%s", err, said)
	}
	return program, nil
})

func startCollector(t *testing.T) *collector {
	t.Helper()
	program, err := buildCollector()
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: hosttest.FreeAddress(t), file: filepath.Join(t.TempDir(), "telemetry.jsonl")}
	run := exec.Command(program, fmt.Sprintf(`{
		receivers: {otlp: {protocols: {grpc: {endpoint: %q}}}}, exporters: {lines: {path: %q}},
		service: {pipelines: {traces: {receivers: [otlp], exporters: [lines]}, logs: {receivers: [otlp], exporters: [lines]}}}}`, c.address, c.file))
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		_ = run.Wait()
	})
	return c
}

// plugins are in each language the one whose author sends spans.
func plugins(t *testing.T) map[string]map[string]any {
	t.Helper()
	environment := exec.Command(hosttest.Root("scripts", "venv"), "traces")
	environment.Stderr = os.Stderr
	programs, err := environment.Output()
	if err != nil {
		t.Fatalf("scripts/venv traces: %v", err)
	}
	return map[string]map[string]any{
		"go":     hosttest.Plugin("plugin"),
		"python": {"command": []string{filepath.Join(strings.TrimSpace(string(programs)), "python"), hosttest.Root("test", "traces", "plugin.py")}, "start_timeout": "3m"},
	}
}

// propeller is a caller who is traced as FlytePropeller is.
func propeller(t *testing.T, address string) (*sdktrace.TracerProvider, service.AsyncAgentServiceClient) {
	t.Helper()
	exporter, err := otlptracegrpc.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "flytepropeller"))))
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{}))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return provider, service.NewAsyncAgentServiceClient(conn)
}

const (
	createTask = "flyteidl.service.AsyncAgentService/CreateTask"
	getTask    = "flyteidl.service.AsyncAgentService/GetTask"
)

func TestOneTraceGoesFromFlyteThroughTheHostIntoPluginsAndIsReadBack(t *testing.T) {
	to := startCollector(t)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + to.address, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_LOGS_EXPORTER": "otlp", "OTEL_BLRP_SCHEDULE_DELAY": "100",
	} {
		t.Setenv(name, value)
	}
	configured := map[string]any{}
	for name, plugin := range plugins(t) {
		configured[name] = plugin
	}
	host := hosttest.Start(t, map[string]any{"plugins": configured})
	provider, flyte := propeller(t, host.Endpoint())
	ids := map[string]string{} // by plugin
	for name := range configured {
		ids[name] = run(t, to, host, provider, flyte, name)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			var spans []span
			wait.Until(t, "all of the trace is there, and no span's parent is missing", func() bool {
				spans = to.trace(t, id)
				return len(spans) >= wholeTrace && len(hanging(spans)) == 0 // a repeated call's, of which there are more, may be there before the last ones
			})
			holds(t, name, spans)
			wait.Until(t, "the plugin's line is there with its trace", func() bool {
				return slices.ContainsFunc(to.lines(t), func(l line) bool { return l.text == "a job is made" && l.traceID == id })
			})
			if name == "go" {
				picture(t, spans)
			}
		})
	}
	exemplary(t, host, ids)
}

// run has one task created, polled while its plugin is there and just after it was killed, and deleted. It returns the trace.
func run(t *testing.T, to *collector, host *hosttest.Host, provider *sdktrace.TracerProvider, flyte service.AsyncAgentServiceClient, plugin string) string {
	t.Helper()
	ctx, node := provider.Tracer("flytepropeller").Start(t.Context(), "node n0")
	defer node.End()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	category := &admin.TaskCategory{Name: "traced_" + plugin}
	created, err := flyte.CreateTask(ctx, &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: category.GetName()}, OutputPrefix: "s3://bucket/" + plugin,
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId:          &core.Identifier{Name: "t"},
			NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "e-" + plugin}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	poll := func() {
		if _, err := flyte.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: category, ResourceMeta: created.GetResourceMeta()}); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	wait.Until(t, "the plugin has sent its spans of the creation and the poll, which a kill takes with it", func() bool {
		spans := to.trace(t, node.SpanContext().TraceID().String())
		return slices.ContainsFunc(spans, func(s span) bool { return s.service == plugin && s.name == "make a job" }) &&
			slices.ContainsFunc(spans, func(s span) bool { return s.service == plugin && s.name == getTask })
	})
	if err := syscall.Kill(pidOf(t, host, plugin), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	poll() // is answered by a guarantee
	if _, err := flyte.DeleteTask(ctx, &admin.DeleteTaskRequest{TaskCategory: category, ResourceMeta: created.GetResourceMeta()}); err != nil {
		t.Fatal(err)
	}
	return node.SpanContext().TraceID().String()
}

// wholeTrace is how many spans there are at least: the node; of CreateTask the caller's, the host's, its work and its call, and the plugin's two;
// of the poll before the crash four; of the one behind it two, and of DeleteTask four.
const wholeTrace = 1 + 6 + 4 + 2 + 4

// hanging are the spans whose parents are not there.
func hanging(spans []span) []span {
	known := map[string]bool{"": true}
	for _, s := range spans {
		known[s.id] = true
	}
	return slices.DeleteFunc(slices.Clone(spans), func(s span) bool { return known[s.parent] })
}

// holds says what is wrong with a trace.
func holds(t *testing.T, plugin string, spans []span) {
	t.Helper()
	byID := map[string]span{}
	for _, s := range spans {
		byID[s.id] = s
	}
	path := func(s span) (up []string) {
		for ok := true; ok; s, ok = byID[s.parent] {
			up = append(up, s.service+": "+s.name)
		}
		slices.Reverse(up)
		return up
	}
	want := map[string]bool{
		"flytepropeller: node n0 > flytepropeller: " + createTask + " > agenthost: " + createTask + " > agenthost: make job > agenthost: " + createTask + " > " + plugin + ": " + createTask + " > " + plugin + ": make a job": true,
		"flytepropeller: node n0 > flytepropeller: " + getTask + " > agenthost: " + getTask + " > agenthost: " + getTask + " > " + plugin + ": " + getTask:                                                                     true,
	}
	var all, guarantees []string
	for _, s := range spans {
		whole := strings.Join(path(s), " > ")
		all = append(all, whole)
		delete(want, whole)
		if s.service == "agenthost" {
			guarantees = append(guarantees, s.events...)
		}
	}
	slices.Sort(all)
	for missing := range want {
		t.Errorf("there is no %s in\n%s", missing, strings.Join(all, "\n"))
	}
	if !slices.ContainsFunc(guarantees, func(e string) bool { return e == "guarantee G5" || e == "guarantee G3" }) {
		t.Errorf("no guarantee is told of, though the plugin was killed: %v", guarantees)
	}
}

func pidOf(t *testing.T, host *hosttest.Host, plugin string) int {
	t.Helper()
	var status struct {
		Plugins []struct {
			Name string
			PID  int
		}
	}
	if err := json.Unmarshal([]byte(host.Ask(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Plugins {
		if p.Name == plugin && p.PID != 0 {
			return p.PID
		}
	}
	t.Fatalf("the status does not tell the process of %s", plugin)
	return 0
}

// exemplary says whether a Prometheus that asks for OpenMetrics gets the traces as exemplars, and only that.
func exemplary(t *testing.T, host *hosttest.Host, ids map[string]string) {
	t.Helper()
	scrape := func(accept string) string {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host.Admin()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		return body(t, request)
	}
	open := scrape("application/openmetrics-text; version=1.0.0")
	if !slices.ContainsFunc([]string{ids["go"], ids["python"]}, func(id string) bool { return strings.Contains(open, `# {trace_id="`+id+`"}`) }) {
		t.Error("no time of a call has a trace as its example")
	}
	if plain := scrape("text/plain"); strings.Contains(plain, "trace_id") {
		t.Error("Prometheus's own format has none")
	}
}
