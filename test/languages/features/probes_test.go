package features

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

// The examples' task types. A job does what its input "do" says.
const (
	jobType      = "features_job"      // async, also at version 2, by the agent Features, which promises idempotent_create
	plainType    = "features_plain"    // async, by the same class, which promises nothing there
	echoType     = "features_echo"     // sync: its inputs are its outputs
	customType   = "features_custom"   // sync: {count, label} of the custom part are its outputs
	togetherType = "features_together" // sync: all inputs as one type {count: int, label: str}, which are its outputs
	storedType   = "features_stored"   // async: its jobs are in files, in the folder FEATURES_STORE, by the attempt's key; "do" and "key" are its outputs
	refersType   = "features_refers"   // sync: file, directory and table, each read as its type; see stored-types
	writesType   = "features_writes"   // sync: "text" is written to report.txt below the output prefix, which is the output "file", and into a deck
	fetchesType  = "features_fetches"  // sync: what a GET of the input "url" answers is the output "body"
	blocksType   = "features_blocks"   // async, by an agent of its own: creations block their thread for ever
	pointType    = "features_point"    // sync: the input point, a type {x: int, label: str}, with x one higher

	variableSecret, fileSecret = "from a variable", "from a file"
)

// maxWait bounds what a probe waits for.
const maxWait = 30 * time.Second

var goodConfig = map[string]any{"region": "eu"}

// example is an SDK's example plugin.
type example struct {
	*agenttest.Client
	t *testing.T
	// start starts another process of it, which knows nothing of this one.
	start func(t *testing.T, environment ...string) *example
	// store is the folder in which all processes of it keep jobs.
	store string
	// held ends the call that not-taken keeps under way.
	held func() error
}

// probes find out whether an example has a feature: the error says why not.
var probes = map[string]func(*example) error{
	"async": func(e *example) error {
		job, err := e.create("succeed")
		if err != nil {
			return err
		}
		if _, err := e.succeeds(job); err != nil {
			return err
		}
		return job.Delete(e.t.Context())
	},
	"sync": func(e *example) error { return e.echoes(map[string]any{"name": "Ada"}) },
	"versions": func(e *example) error {
		for _, version := range []int32{0, 1, 2} {
			job, err := e.Create(e.t.Context(), agenttest.Task{Type: jobType, Version: version, Inputs: map[string]any{"do": "succeed"}})
			if err != nil {
				return err
			}
			if _, err := e.succeeds(job); err != nil {
				return err
			}
		}
		return want("versions of "+jobType, e.versions(), []int32{0, 2})
	},
	"agent-name": func(e *example) error {
		_, err := e.create("unavailable")
		if said := status.Convert(err).Message(); !strings.Contains(said, "agent Features: ") {
			return fmt.Errorf("the agent is not named: %s", said)
		}
		return want("agents", e.agentOf(jobType), "Features")
	},
	"idempotent-create": func(e *example) error {
		said := e.Describe()
		for category, promised := range map[string]bool{jobType: true, plainType: false, echoType: false} {
			if said.Promises(pluginv1.CapabilityIdempotentCreate, category, 0) != promised {
				return fmt.Errorf("%s: promised is not %v in %v", category, promised, said)
			}
		}
		return nil
	},
	"find-by-key": func(e *example) error {
		if said := e.Describe(); !said.Promises(pluginv1.CapabilityFindByKey, jobType, 0) {
			return fmt.Errorf("it is not promised: %v", said)
		}
		attempt := agenttest.Task{Type: jobType, Inputs: map[string]any{"do": "succeed"}, IdempotencyKey: strings.Repeat("6", 64)}
		for range 2 { // the first must have made nothing
			_, err := e.Find(e.t.Context(), attempt)
			if err := refuses(err, codes.NotFound); err != nil {
				return err
			}
		}
		job, err := e.Create(e.t.Context(), attempt)
		if err != nil {
			return err
		}
		found, err := e.Find(e.t.Context(), attempt)
		if err != nil {
			return err
		}
		return want("resource_meta", string(found.Meta), string(job.Meta))
	},
	"abandon": func(e *example) error {
		attempt := agenttest.Task{Type: jobType, Inputs: map[string]any{"do": "succeed"}, IdempotencyKey: strings.Repeat("7", 64)}
		for range 2 {
			if err := e.Abandon(e.t.Context(), attempt); err != nil {
				return err
			}
		}
		_, finding := e.Find(e.t.Context(), attempt)
		_, creating := e.Create(e.t.Context(), attempt)
		return errors.Join(refuses(finding, codes.Aborted), refuses(creating, codes.Aborted))
	},

	"inputs": func(e *example) error {
		types := agent.OutputTypes{
			"int": simple(core.SimpleType_INTEGER), "float": simple(core.SimpleType_FLOAT), "str": simple(core.SimpleType_STRING),
			"bool": simple(core.SimpleType_BOOLEAN), "none": simple(core.SimpleType_NONE), "at": simple(core.SimpleType_DATETIME), "span": simple(core.SimpleType_DURATION),
			"list": {Type: &core.LiteralType_CollectionType{CollectionType: simple(core.SimpleType_INTEGER)}},
			"map":  {Type: &core.LiteralType_MapValueType{MapValueType: simple(core.SimpleType_INTEGER)}},
		}
		return e.echoesAs(types, map[string]any{
			"int": int64(1) << 62, "float": 0.5, "str": "ä", "bool": true, "none": nil, "at": time.Unix(1e9, 5000).UTC(), "span": 90 * time.Second,
			"list": []any{int64(1), int64(2)}, "map": map[string]int64{"a": 1},
		})
	},
	"inputs-stored": func(e *example) error {
		return e.echoes(map[string]any{
			"file": agent.File{URI: "s3://b/a.csv", Format: "csv"}, "directory": agent.Directory{URI: "s3://b/d"},
			"table": agent.StructuredDataset{URI: "s3://b/t", Format: "parquet"},
		})
	},
	// The example says in "said" what it got, each as the type that it asked for, and gives others back: each uri with ".out" behind it,
	// the file in the format json, the table in parquet with one column, n of integers.
	"stored-types": func(e *example) error {
		integer := simple(core.SimpleType_INTEGER)
		result, err := e.execute(refersType, map[string]any{
			"file": agent.File{URI: "s3://b/a.csv", Format: "csv"}, "directory": agent.Directory{URI: "s3://b/d"},
			"table": agent.StructuredDataset{URI: "s3://b/t", Format: "csv", Columns: []literal.Column{{Name: "city", Type: simple(core.SimpleType_STRING)}, {Name: "n", Type: integer}}},
		}, nil)
		if err != nil {
			return err
		}
		if err := want("what it says", result.Outputs["said"], any("file s3://b/a.csv csv, directory s3://b/d, table s3://b/t csv city n")); err != nil {
			return err
		}
		out := map[string]any{
			"file": agent.File{URI: "s3://b/a.csv.out", Format: "json"}, "directory": agent.Directory{URI: "s3://b/d.out"},
			"table": agent.StructuredDataset{URI: "s3://b/t.out", Format: "parquet", Columns: []literal.Column{{Name: "n", Type: integer}}},
		}
		for name, value := range out {
			wanted, err := literal.Encode(value, nil)
			if err != nil {
				return err
			}
			if got := result.Resource.GetOutputs().GetLiterals()[name]; !proto.Equal(got, wanted) {
				return fmt.Errorf("the output %s is %v, want %v", name, got, wanted)
			}
		}
		for name, wrong := range map[string]any{"file": out["directory"], "directory": out["file"], "table": out["file"]} {
			given := map[string]any{"file": out["file"], "directory": out["directory"], "table": out["table"], name: wrong}
			_, err := e.execute(refersType, given, nil)
			if err := refuses(err, codes.InvalidArgument, name); err != nil {
				return fmt.Errorf("%s of another type: %w", name, err)
			}
		}
		return nil
	},
	"inputs-dataclass": func(e *example) error {
		// 2^53+1 is the first whole number that a float, such as JSON's or a protobuf Struct's, does not hold.
		result, err := e.execute(pointType, map[string]any{"point": map[string]any{"x": int64(1) << 53, "label": "a"}}, nil)
		if err != nil {
			return err
		}
		return want("point", fmt.Sprint(result.Outputs["point"]), "map[label:a x:9007199254740993]")
	},
	"inputs-together": func(e *example) error {
		result, err := e.execute(togetherType, map[string]any{"count": 3, "label": "a"}, nil)
		if err != nil {
			return err
		}
		if err := want("outputs", result.Outputs, map[string]any{"count": int64(3), "label": "a"}); err != nil {
			return err
		}
		_, err = e.execute(togetherType, map[string]any{"count": "three", "label": 1}, nil)
		return refuses(err, codes.InvalidArgument, "count", "label")
	},
	"custom": func(e *example) error {
		result, err := e.Execute(e.t.Context(), agenttest.Task{Type: customType, Custom: map[string]any{"count": 3, "label": "a"}})
		if err != nil {
			return err
		}
		if err := want("outputs", result.Outputs, map[string]any{"count": int64(3), "label": "a"}); err != nil {
			return err
		}
		_, err = e.Execute(e.t.Context(), agenttest.Task{Type: customType, Custom: map[string]any{"count": "three", "label": "a"}})
		return refuses(err, codes.InvalidArgument, "count")
	},
	"idempotency-key": func(e *example) error {
		key := strings.Repeat("5", 64)
		outputs, err := e.outputs(agenttest.Task{IdempotencyKey: key})
		if err != nil {
			return err
		}
		return want("key", outputs["key"], any(key))
	},
	"idempotency-key-own": func(e *example) error {
		var id *core.TaskExecutionIdentifier
		prefix := e.t.TempDir()
		outputs, err := e.outputs(agenttest.Task{OutputPrefix: prefix, Change: func(request *admin.CreateTaskRequest) {
			id = request.GetTaskExecutionMetadata().GetTaskExecutionId()
		}})
		if err != nil {
			return err
		}
		return want("key", outputs["key"], any(pluginv1.IdempotencyKey(id, prefix)))
	},
	"deadline": func(e *example) error {
		ctx, cancel := context.WithTimeout(e.t.Context(), time.Hour)
		defer cancel()
		job, err := e.Create(ctx, agenttest.Task{Type: jobType, Inputs: map[string]any{"do": "succeed"}})
		if err != nil {
			return err
		}
		result, err := e.succeeds(job)
		if err != nil {
			return err
		}
		if left, ok := result.Outputs["seconds_left"].(float64); !ok || left < 3000 || left > 3600 {
			return fmt.Errorf("of an hour are left %v s", result.Outputs["seconds_left"])
		}
		return nil
	},
	"output-prefix": func(e *example) error {
		outputs, err := e.outputs(agenttest.Task{OutputPrefix: "s3://bucket/7"})
		if err != nil {
			return err
		}
		return want("prefixes", []any{outputs["created_prefix"], outputs["polled_prefix"]}, []any{"s3://bucket/7", "s3://bucket/7"})
	},
	"secrets": func(e *example) error {
		outputs, err := e.outputs(agenttest.Task{})
		if err != nil {
			return err
		}
		if said := fmt.Sprint(outputs["printed"]); said == "" || strings.Contains(said, variableSecret) {
			return fmt.Errorf("printed, the secret shows itself: %s", said)
		}
		return want("secrets", []any{outputs["variable"], outputs["file"]}, []any{variableSecret, fileSecret})
	},
	"connection": func(e *example) error {
		connection := &agenttest.Connection{TaskType: jobType, Secrets: map[string]string{"from_variable": "from the connection"}, Configs: map[string]string{"host": "db"}}
		outputs, err := e.outputs(agenttest.Task{Connection: connection})
		if err != nil {
			return err
		}
		return want("connection", []any{outputs["variable"], outputs["file"], outputs["host"]}, []any{"from the connection", fileSecret, "db"})
	},

	"message": func(e *example) error {
		resource, err := e.resource("running")
		if err != nil {
			return err
		}
		links := resource.GetLogLinks()
		if len(links) == 0 || links[0].GetName() != "Console" || links[0].GetUri() != "https://example.com/1" {
			return fmt.Errorf("links are %v", links)
		}
		said := []any{resource.GetPhase(), resource.GetMessage(), resource.GetCustomInfo().AsMap()["rows"]}
		return want("resource", said, []any{core.TaskExecution_RUNNING, "half way", 3.0})
	},
	"progress": func(e *example) error {
		resource, err := e.resource("progress")
		if err != nil {
			return err
		}
		return want("progress", []any{resource.GetPhase(), resource.GetMessage(), resource.GetCustomInfo().AsMap()["progress"]},
			[]any{core.TaskExecution_RUNNING, "40%: 4 of 10 files", 0.4})
	},
	"write-outputs": func(e *example) error {
		bucket := newBucket()
		defer bucket.Close()
		other := e.start(e.t, bucket.environment()...)
		if errs := other.Configure(goodConfig); len(errs) > 0 {
			return fmt.Errorf("it refuses its configuration: %v", errs)
		}
		folder := e.t.TempDir()
		if err := other.writes("file://"+folder+"/new/0", "report.txt", "to a folder"); err != nil {
			return err
		}
		written, err := os.ReadFile(filepath.Join(folder, "new", "0", "report.txt"))
		if err != nil {
			return err
		}
		if err := want("report.txt", string(written), "to a folder"); err != nil {
			return err
		}
		if err := other.writes("s3://outputs/a/0", "report.txt", "to a bucket"); err != nil {
			return err
		}
		if got := bucket.object("/outputs/a/0/report.txt"); !strings.Contains(got, "to a bucket") {
			return fmt.Errorf("in the bucket report.txt is %q, of %q", got, bucket.keys())
		}
		return nil
	},
	// Flyte shows the file deck.html of the output prefix.
	"deck": func(e *example) error {
		folder := e.t.TempDir()
		if err := e.writes(folder, "report.txt", "1 < 2"); err != nil {
			return err
		}
		deck, err := os.ReadFile(filepath.Join(folder, "deck.html"))
		if err != nil {
			return err
		}
		if page := string(deck); !strings.Contains(page, "<h1>Report</h1>") || !strings.Contains(page, "1 &lt; 2") {
			return fmt.Errorf("deck.html is %q", page)
		}
		return nil
	},
	"link-options": func(e *example) error {
		resource, err := e.resource("running")
		if err != nil {
			return err
		}
		for _, link := range resource.GetLogLinks() {
			if link.GetShowWhilePending() && link.GetHideOnceFinished() {
				return nil
			}
		}
		return fmt.Errorf("links are %v", resource.GetLogLinks())
	},
	"declared-types-sync": func(e *example) error {
		result, err := e.execute(echoType, map[string]any{"ratio": 1}, agent.OutputTypes{"ratio": simple(core.SimpleType_FLOAT)})
		if err != nil {
			return err
		}
		return want("ratio", result.Outputs["ratio"], any(1.0))
	},
	"declared-types-async": func(e *example) error {
		job, err := e.Create(e.t.Context(), agenttest.Task{
			Type: jobType, Inputs: map[string]any{"do": "typed"}, OutputTypes: agent.OutputTypes{"ratio": simple(core.SimpleType_FLOAT)},
		})
		if err != nil {
			return err
		}
		result, err := e.succeeds(job)
		if err != nil {
			return err
		}
		return want("ratio", result.Outputs["ratio"], any(1.0))
	},
	"output-names": func(e *example) error {
		integer := simple(core.SimpleType_INTEGER)
		_, err := e.execute(echoType, map[string]any{"given": 1}, agent.OutputTypes{"given": integer, "missing": integer})
		if err := refuses(err, codes.Unknown, "missing"); err != nil {
			return err
		}
		_, err = e.execute(echoType, map[string]any{"given": 1, "surplus": 1}, agent.OutputTypes{"given": integer})
		return refuses(err, codes.Unknown, "surplus")
	},
	"foreign-metadata": func(e *example) error {
		result, err := e.Job(agent.Category{Name: jobType}, []byte("legacy:running")).Get(e.t.Context())
		if err != nil {
			return err
		}
		return want("phase", result.Phase, agent.PhaseRunning)
	},
	"user-error":   failure("user-error", core.TaskExecution_FAILED, "BadSQL", core.ExecutionError_USER, admin.AgentError_NON_RECOVERABLE),
	"system-error": failure("system-error", agent.PhaseRetryableFailed, "Quota", core.ExecutionError_SYSTEM, admin.AgentError_RECOVERABLE),

	"error-code": func(e *example) error {
		_, err := e.create("unavailable")
		return refuses(err, codes.Unavailable, e.agentOf(jobType), "the warehouse is closed")
	},
	"panic": func(e *example) error {
		_, err := e.create("panic")
		if err := refuses(err, codes.Internal, e.agentOf(jobType)); err != nil {
			return err
		}
		return e.echoes(map[string]any{"name": "Ada"})
	},

	"blocked": func(e *example) error {
		other := e.start(e.t)
		if errs := other.Configure(goodConfig); len(errs) > 0 {
			return fmt.Errorf("it refuses its configuration: %v", errs)
		}
		job, err := other.create("running")
		if err != nil {
			return err
		}
		blocked, cancel := context.WithCancel(context.WithoutCancel(e.t.Context()))
		var calls sync.WaitGroup
		defer calls.Wait()
		defer cancel()
		for range 2*runtime.NumCPU() + 2 {
			calls.Go(func() {
				_, _ = other.Create(blocked, agenttest.Task{Type: blocksType, Inputs: map[string]any{"do": "block"}})
			})
		}
		if err := other.logged(func(line map[string]any) bool { return line["@message"] == "blocks" }); err != nil {
			return err
		}
		ctx, cancelOthers := context.WithTimeout(e.t.Context(), maxWait/3)
		defer cancelOthers()
		for range 20 {
			if _, err := job.Get(ctx); err != nil {
				return fmt.Errorf("another agent's poll: %w", err)
			}
			if _, err := healthpb.NewHealthClient(other.Conn()).Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService}); err != nil {
				return fmt.Errorf("health: %w", err)
			}
		}
		if _, err := other.execute(echoType, map[string]any{"name": "Ada"}, nil); err != nil {
			return fmt.Errorf("another agent's call: %w", err)
		}
		return want("the end", other.ends(), nil)
	},

	"retries": func(e *example) error {
		var calls []time.Time
		says := "busy"
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls = append(calls, time.Now())
			switch {
			case says == "gone":
				w.WriteHeader(http.StatusNotFound)
			case says == "busy for long":
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusServiceUnavailable)
			case len(calls) == 1:
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
			case len(calls) == 2:
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				fmt.Fprint(w, "at last")
			}
		}))
		defer server.Close()
		body, err := e.fetches(e.t.Context(), server.URL)
		if err != nil {
			return err
		}
		if err := want("body and calls", []any{body, len(calls)}, []any{"at last", 3}); err != nil {
			return err
		}
		if waited := calls[1].Sub(calls[0]); waited < 900*time.Millisecond {
			return fmt.Errorf("it waits for %s, and was told to for a second", waited)
		}
		calls, says = nil, "gone"
		if _, err := e.fetches(e.t.Context(), server.URL); err == nil || len(calls) != 1 {
			return fmt.Errorf("what is not there is asked for %d times: %w", len(calls), err)
		}
		calls, says = nil, "busy for long"
		ctx, cancel := context.WithTimeout(e.t.Context(), maxWait/3)
		defer cancel()
		_, err = e.fetches(ctx, server.URL)
		return refuses(err, codes.Unavailable)
	},
	"trace-context": func(e *example) error {
		var told string
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told = r.Header.Get("traceparent") }))
		defer server.Close()
		const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
		ctx := metadata.AppendToOutgoingContext(e.t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		if _, err := e.fetches(ctx, server.URL); err != nil {
			return err
		}
		if !strings.HasPrefix(told, "00-"+trace+"-") {
			return fmt.Errorf("the service is told the traceparent %q", told)
		}
		return nil
	},

	"logs": func(e *example) error {
		lines, token, err := e.logs()
		if err != nil {
			return err
		}
		if len(lines) != 2 || lines[0].Message != "first" || lines[1].Message != "second" || lines[0].Time.Unix() != 1e9 {
			return fmt.Errorf("lines are %v", lines)
		}
		return want("token", token, "2")
	},
	"log-originator": func(e *example) error {
		lines, _, err := e.logs()
		if err != nil {
			return err
		}
		if len(lines) != 2 {
			return fmt.Errorf("lines are %v", lines)
		}
		return want("originators", []agent.Originator{lines[0].Originator, lines[1].Originator}, []agent.Originator{agent.OriginatorUser, agent.OriginatorSystem})
	},
	"metrics": func(e *example) error {
		job, err := e.create("running")
		if err != nil {
			return err
		}
		start := time.Unix(1e9, 0).UTC()
		measured, err := job.Metrics(e.t.Context(), agent.MetricsQuery{Queries: []string{"cpu", "memory"}, Start: start, End: start.Add(time.Hour), Step: 30 * time.Second})
		if err != nil {
			return err
		}
		said := []any{}
		for _, one := range measured {
			said = append(said, one.GetMetric(), one.GetData().AsMap()["span"], one.GetData().AsMap()["step"])
		}
		return want("metrics", said, []any{"cpu", 3600.0, 30.0, "memory", 3600.0, 30.0})
	},
	"plugin-log": func(e *example) error {
		if _, err := e.create("print"); err != nil {
			return err
		}
		return e.logged(func(line map[string]any) bool {
			return line["@message"] == "logged" && line["@level"] == "warn" && fmt.Sprint(line["rows"]) == "3"
		})
	},
	"traces": func(e *example) error {
		const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
		ctx := metadata.AppendToOutgoingContext(e.t.Context(), "traceparent", "00-"+trace+"-"+span+"-01")
		if _, err := e.Create(ctx, agenttest.Task{Type: jobType, Inputs: map[string]any{"do": "print"}}); err != nil {
			return err
		}
		return e.logged(func(line map[string]any) bool {
			return line["@message"] == "logged" && line["trace_id"] == trace && line["span_id"] == span
		})
	},
	// The example counts what jobs it creates in features_jobs_total, by what they do.
	"own-metrics": func(e *example) error {
		count := func() (float64, error) {
			ctx, cancel := context.WithTimeout(e.t.Context(), maxWait)
			defer cancel()
			response, err := pluginv1.NewPluginServiceClient(e.Conn()).Metrics(ctx, &pluginv1.MetricsRequest{})
			if err != nil {
				return 0, err
			}
			parser := expfmt.NewTextParser(model.LegacyValidation)
			families, err := parser.TextToMetricFamilies(bytes.NewReader(response.GetText()))
			if err != nil {
				return 0, fmt.Errorf("this is no text of Prometheus': %w\n%s", err, response.GetText())
			}
			for _, metric := range families["features_jobs_total"].GetMetric() {
				if labels := metric.GetLabel(); len(labels) == 1 && labels[0].GetName() == "do" && labels[0].GetValue() == "running" {
					return metric.GetCounter().GetValue(), nil
				}
			}
			return 0, nil
		}
		before, err := count()
		if err != nil {
			return err
		}
		for range 2 {
			if _, err := e.create("running"); err != nil {
				return err
			}
		}
		after, err := count()
		if err != nil {
			return err
		}
		return want("features_jobs_total", after, before+2)
	},
	"prints": func(e *example) error {
		if _, err := e.create("print"); err != nil {
			return err
		}
		return e.until(func() bool { return strings.Contains(e.Output(), "printed to stdout") })
	},

	"config": func(e *example) error {
		var schema struct {
			Properties map[string]struct{ Description string }
		}
		if err := json.Unmarshal([]byte(e.Describe().GetConfigSchema()), &schema); err != nil {
			return err
		}
		if schema.Properties["region"].Description == "" {
			return fmt.Errorf("the schema does not describe region: %s", e.Describe().GetConfigSchema())
		}
		if _, err := service.NewAsyncAgentServiceClient(e.Conn()).CreateTask(e.t.Context(), &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: jobType}}); status.Code(err) != codes.FailedPrecondition {
			return fmt.Errorf("before its configuration, CreateTask says %w", err)
		}
		return e.misconfigured(map[string]any{"regoin": "eu", "hosts": 1}, "hosts", "region", "regoin")
	},
	"config-enum":     func(e *example) error { return e.takes("region", "eu", "mars") },
	"config-duration": func(e *example) error { return e.takes("grace", "90s", "soon") },
	"config-size":     func(e *example) error { return e.takes("memory", "2GiB", "lots") },
	"config-collections": func(e *example) error {
		if err := e.takes("hosts", []string{"a"}, []any{1}); err != nil {
			return err
		}
		return e.takes("weights", map[string]int{"a": 1}, map[string]string{"a": "much"})
	},
	"config-nested": func(e *example) error {
		if err := e.takes("limits", map[string]any{"cpu": 2}, map[string]any{"cpu": "many"}); err != nil {
			return err
		}
		block := maps.Clone(goodConfig)
		block["limits"] = map[string]any{"cpu": "many"}
		return e.misconfigured(block, "limits.cpu")
	},

	"describe": func(e *example) error {
		said := e.Describe()
		if said.GetSdk().GetName() == "" || said.GetSdk().GetVersion() == "" || said.GetSdk().GetLanguage() == "" {
			return fmt.Errorf("the SDK is %v", said.GetSdk())
		}
		return want("plugin", said.GetName()+" "+said.GetVersion(), "features 1.0.0")
	},
	// The files are alike in all languages: NAME.json, an object with the "format" 1. A file of a newer format, or a broken one, is
	// refused by its name.
	"job-store": func(e *example) error {
		attempt := agenttest.Task{Type: storedType, Inputs: map[string]any{"do": "first"}, IdempotencyKey: strings.Repeat("8", 64)}
		job, err := e.Create(e.t.Context(), attempt)
		if err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(e.store, "*.json"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("the files of one job are %q: %w", files, err)
		}
		newer := e.start(e.t)
		if errs := newer.Configure(goodConfig); len(errs) > 0 {
			return fmt.Errorf("it refuses its configuration: %v", errs)
		}
		attempt.Inputs = map[string]any{"do": "second"}
		again, err := newer.Create(e.t.Context(), attempt)
		if err != nil {
			return err
		}
		for _, polled := range []*agenttest.Job{newer.Job(agent.Category{Name: storedType}, job.Meta), e.Job(agent.Category{Name: storedType}, again.Meta)} {
			result, err := e.succeeds(polled)
			if err != nil {
				return err
			}
			if err := want("the attempt's job", result.Outputs["do"], any("first")); err != nil {
				return err
			}
		}
		sound, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		var file map[string]any
		if err := json.Unmarshal(sound, &file); err != nil || file["format"] != 1.0 {
			return fmt.Errorf("%s is no object of format 1: %s: %w", files[0], sound, err)
		}
		file["format"] = 2
		future, err := json.Marshal(file)
		if err != nil {
			return err
		}
		for _, unread := range []string{string(future), string(sound[:len(sound)/2])} {
			if err := os.WriteFile(files[0], []byte(unread), 0o600); err != nil {
				return err
			}
			_, err := newer.Job(agent.Category{Name: storedType}, job.Meta).Get(e.t.Context())
			if err := refuses(err, codes.FailedPrecondition, filepath.Base(files[0])); err != nil {
				return fmt.Errorf("%s: %w", unread, err)
			}
		}
		if err := os.WriteFile(files[0], sound, 0o600); err != nil {
			return err
		}
		if err := newer.Job(agent.Category{Name: storedType}, job.Meta).Delete(e.t.Context()); err != nil {
			return err
		}
		_, err = job.Get(e.t.Context())
		return refuses(err, codes.NotFound)
	},
	// Polls in one message are answered, each once, as one by itself.
	"many-calls": func(e *example) error {
		const polls = 50
		stream, err := pluginv1.NewCallServiceClient(e.Conn()).Exchange(e.t.Context())
		if err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		request, err := proto.Marshal(&admin.GetTaskRequest{TaskCategory: &admin.TaskCategory{Name: jobType}, ResourceMeta: []byte("legacy:running")})
		if err != nil {
			return err
		}
		var calls pluginv1.Calls
		for id := range uint64(polls) {
			calls.Calls = append(calls.Calls, &pluginv1.Call{Id: id + 1, Method: service.AsyncAgentService_GetTask_FullMethodName, Request: request})
		}
		if err := stream.Send(&calls); err != nil {
			return err
		}
		answered := map[uint64]bool{}
		for len(answered) < polls {
			answers, err := stream.Recv()
			if err != nil {
				return err
			}
			for _, answer := range answers.GetAnswers() {
				var got admin.GetTaskResponse
				if err := proto.Unmarshal(answer.GetMessage(), &got); err != nil || got.GetResource().GetPhase() != core.TaskExecution_RUNNING || answered[answer.GetId()] {
					return fmt.Errorf("call %d is answered with %v, %w", answer.GetId(), &got, err)
				}
				answered[answer.GetId()] = true
			}
		}
		return stream.CloseSend()
	},
	// A process that is being replaced hears it while its calls go on: the example logs "replaced" from behind a call that asked to
	// be told ("watch"). It takes calls as before, which the host makes elsewhere.
	"replaced": func(e *example) error {
		other := e.start(e.t)
		if errs := other.Configure(goodConfig); len(errs) > 0 {
			return fmt.Errorf("it refuses its configuration: %v", errs)
		}
		if _, err := other.create("watch"); err != nil {
			return err
		}
		release, err := other.hold()
		if err != nil {
			return err
		}
		replaced := func(line map[string]any) bool { return line["@message"] == "replaced" }
		if other.has(replaced) {
			return errors.New("it says so before it is")
		}
		ctx, cancel := context.WithTimeout(e.t.Context(), maxWait)
		defer cancel()
		for range 2 {
			if _, err := pluginv1.NewPluginServiceClient(other.Conn()).Drain(ctx, &pluginv1.DrainRequest{Timeout: durationpb.New(maxWait)}); err != nil {
				return errors.Join(err, release())
			}
		}
		return errors.Join(other.logged(replaced), other.echoes(map[string]any{"name": "Ada"}), release())
	},
	// While a call is under way the plugin is told to stop: it refuses others as not begun.
	"not-taken": func(e *example) error {
		held, err := e.hold()
		if err != nil {
			return err
		}
		e.held = held
		go func() {
			_ = e.Conn().Invoke(context.WithoutCancel(e.t.Context()), "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
		}()
		return e.until(func() bool {
			var trailer metadata.MD
			_, err := service.NewAsyncAgentServiceClient(e.Conn()).GetTask(e.t.Context(), &admin.GetTaskRequest{
				TaskCategory: &admin.TaskCategory{Name: jobType}, ResourceMeta: []byte("legacy:running"),
			}, grpc.Trailer(&trailer))
			return status.Code(err) == codes.Unavailable && slices.Equal(trailer.Get(pluginv1.NotTakenTrailer), []string{"1"})
		})
	},
	// It asks after the end that not-taken has begun.
	"graceful-stop": func(e *example) error {
		if err := e.held(); err != nil {
			return fmt.Errorf("the call under way: %w", err)
		}
		if err := e.Stop(); err != nil {
			return err
		}
		return e.logged(func(line map[string]any) bool { return line["@message"] == "closed" })
	},
}

// failure probes for a job that failed.
func failure(do string, phase core.TaskExecution_Phase, code string, origin core.ExecutionError_ErrorKind, kind admin.AgentError_Kind) func(*example) error {
	return func(e *example) error {
		resource, err := e.resource(do)
		if err != nil {
			return err
		}
		said := resource.GetAgentError()
		return want("failure", []any{resource.GetPhase(), said.GetCode(), said.GetOrigin(), said.GetKind()}, []any{phase, code, origin, kind})
	}
}

func simple(simple core.SimpleType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: simple}}
}

func want[T any](what string, got, want T) error {
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}

// refuses says what is wrong with an error: it must have a code, any for Unknown, and name things.
func refuses(err error, code codes.Code, names ...string) error {
	if err == nil {
		return errors.New("it succeeds")
	}
	if code != codes.Unknown && status.Code(err) != code {
		return fmt.Errorf("it says %w, want %s", err, code)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			return fmt.Errorf("it does not name %s: %w", name, err)
		}
	}
	return nil
}

// writes has the example write a file below an output prefix.
func (e *example) writes(prefix, name, text string) error {
	result, err := e.Execute(e.t.Context(), agenttest.Task{Type: writesType, Inputs: map[string]any{"text": text}, OutputPrefix: prefix})
	if err != nil {
		return err
	}
	file, ok := result.Outputs["file"].(agent.File)
	if !ok || file.URI != prefix+"/"+name {
		return fmt.Errorf("the output file is %v, want %s/%s", result.Outputs["file"], prefix, name)
	}
	return nil
}

// fetches has the example ask a service for something.
func (e *example) fetches(ctx context.Context, url string) (any, error) {
	result, err := e.Execute(ctx, agenttest.Task{Type: fetchesType, Inputs: map[string]any{"url": url}})
	if err != nil {
		return nil, err
	}
	return result.Outputs["body"], nil
}

// ends has the host's way of ending a process end the example, and says what is wrong where that takes too long.
func (e *example) ends() any {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.t.Context()), maxWait/3)
	defer cancel()
	err := e.Conn().Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
	if ctx.Err() != nil {
		return fmt.Errorf("it is not at its end: %w", err)
	}
	return nil
}

func (e *example) create(do string) (*agenttest.Job, error) {
	return e.Create(e.t.Context(), agenttest.Task{Type: jobType, Inputs: map[string]any{"do": do}})
}

func (e *example) execute(taskType string, inputs map[string]any, outputs agent.OutputTypes) (*agenttest.Result, error) {
	return e.Execute(e.t.Context(), agenttest.Task{Type: taskType, Inputs: inputs, OutputTypes: outputs})
}

// echoes says whether the echo's outputs are its inputs, literal by literal.
func (e *example) echoes(inputs map[string]any) error { return e.echoesAs(nil, inputs) }

func (e *example) echoesAs(types agent.OutputTypes, inputs map[string]any) error {
	var sent map[string]*core.Literal
	result, err := e.Execute(e.t.Context(), agenttest.Task{Type: echoType, Inputs: inputs, InputTypes: types, OutputTypes: types, Change: func(request *admin.CreateTaskRequest) {
		sent = request.GetInputs().GetLiterals()
	}})
	if err != nil {
		return err
	}
	for name, literal := range sent {
		if got := result.Resource.GetOutputs().GetLiterals()[name]; !proto.Equal(got, literal) {
			return fmt.Errorf("%s comes back as %v, and was %v", name, got, literal)
		}
	}
	return nil
}

func (e *example) succeeds(job *agenttest.Job) (*agenttest.Result, error) {
	ctx, cancel := context.WithTimeout(e.t.Context(), maxWait)
	defer cancel()
	result, err := job.Wait(ctx)
	if err == nil && result.Phase != agent.PhaseSucceeded {
		err = fmt.Errorf("the job ended %s: %s", result.Phase, result.Message)
	}
	return result, err
}

// outputs are what a job says of its task.
func (e *example) outputs(task agenttest.Task) (map[string]any, error) {
	task.Type, task.Inputs = jobType, map[string]any{"do": "succeed"}
	job, err := e.Create(e.t.Context(), task)
	if err != nil {
		return nil, err
	}
	result, err := e.succeeds(job)
	if err != nil {
		return nil, err
	}
	return result.Outputs, nil
}

func (e *example) resource(do string) (*admin.Resource, error) {
	job, err := e.create(do)
	if err != nil {
		return nil, err
	}
	result, err := job.Get(e.t.Context())
	if err != nil {
		return nil, err
	}
	return result.Resource, nil
}

func (e *example) logs() ([]agent.LogLine, string, error) {
	job, err := e.create("running")
	if err != nil {
		return nil, "", err
	}
	return job.Logs(e.t.Context(), agent.LogQuery{})
}

// agentOf is the name of the agent that lists a task type.
func (e *example) agentOf(taskType string) string {
	for _, listed := range e.Agents() {
		for _, category := range listed.GetSupportedTaskCategories() {
			if category.GetName() == taskType {
				return listed.GetName()
			}
		}
	}
	return ""
}

func (e *example) versions() []int32 {
	versions := []int32{}
	for _, listed := range e.Agents() {
		for _, category := range listed.GetSupportedTaskCategories() {
			if category.GetName() == jobType {
				versions = append(versions, category.GetVersion())
			}
		}
	}
	return versions
}

// takes says whether a key of the configuration takes a value, and refuses another by its name.
func (e *example) takes(key string, good, bad any) error {
	if err := e.misconfigured(map[string]any{"region": "eu", key: good}); err != nil {
		return err
	}
	for _, wrong := range e.wrongKeys(map[string]any{"region": "eu", key: bad}) {
		if wrong == key || strings.HasPrefix(wrong, key+".") || strings.HasPrefix(wrong, key+"[") {
			return nil
		}
	}
	return fmt.Errorf("%s: %v is not refused by name", key, bad)
}

// misconfigured says whether just these keys of a block are refused.
func (e *example) misconfigured(block map[string]any, keys ...string) error {
	if got := e.wrongKeys(block); !slices.Equal(got, keys) {
		return fmt.Errorf("wrong keys are %q, want %q", got, keys)
	}
	return nil
}

// wrongKeys are the keys of a block that are refused. The block gets one that always is: a plugin takes only one configuration.
func (e *example) wrongKeys(block map[string]any) []string {
	const unknown = "no_such_key"
	block = maps.Clone(block)
	block[unknown] = 1
	wrong := []string{}
	for _, one := range e.Configure(block) {
		if one.Key != unknown {
			wrong = append(wrong, one.Key)
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

// hold makes a call that stays under way until the returned function is called, which says how the call ended.
func (e *example) hold() (release func() error, err error) {
	dir := e.t.TempDir()
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.t.Context()), maxWait)
		defer cancel()
		_, err := e.Create(ctx, agenttest.Task{Type: jobType, Inputs: map[string]any{"do": "hold"}, OutputPrefix: dir})
		ended <- err
	}()
	begun := filepath.Join(dir, "begun")
	if err := e.until(func() bool { _, err := os.Stat(begun); return err == nil }); err != nil {
		return nil, fmt.Errorf("the call does not begin: %w", err)
	}
	return func() error {
		if err := os.Remove(begun); err != nil {
			return err
		}
		return <-ended
	}, nil
}

// logged waits for a line of the plugin's log.
func (e *example) logged(is func(line map[string]any) bool) error {
	return e.until(func() bool { return e.has(is) })
}

// has says whether a line is in the plugin's log by now.
func (e *example) has(is func(line map[string]any) bool) bool {
	for text := range strings.Lines(e.Output()) {
		line := map[string]any{}
		if json.Unmarshal([]byte(text), &line) == nil && is(line) {
			return true
		}
	}
	return false
}

func (e *example) until(holds func() bool) error {
	for end := time.Now().Add(maxWait / 3); !holds(); {
		if time.Now().After(end) {
			return fmt.Errorf("it has not come within %s; the log is:\n%s", maxWait/3, e.Output())
		}
		<-time.After(5 * time.Millisecond)
	}
	return nil
}
