package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
)

// collected is a tracer, and the spans that it has made.
type collected struct {
	*tracetest.InMemoryExporter
	tracer *tracing.Tracer
}

func collecting(sampler sdktrace.Sampler) *collected {
	c := &collected{InMemoryExporter: tracetest.NewInMemoryExporter()}
	c.tracer, _ = tracing.NewTracer("1.2.3", sampler, sdktrace.WithSyncer(c))
	return c
}

func everything() *collected { return collecting(sdktrace.ParentBased(sdktrace.AlwaysSample())) }

// all are those of a name that have ended.
func (c *collected) all(name string) []tracetest.SpanStub {
	return slices.DeleteFunc(c.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != name })
}

// one is the only one of a name and a kind.
func (c *collected) one(t *testing.T, name string, kind trace.SpanKind) tracetest.SpanStub {
	t.Helper()
	found := slices.DeleteFunc(c.all(name), func(s tracetest.SpanStub) bool { return s.SpanKind != kind })
	if len(found) != 1 {
		t.Fatalf("there are %d spans %q of kind %v in %v", len(found), name, kind, c.names())
	}
	return found[0]
}

func (c *collected) names() (names []string) {
	for _, s := range c.GetSpans() {
		names = append(names, s.Name)
	}
	return names
}

func says(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

const (
	callersTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan   = "00f067aa0ba902b7"
	callersParent = "00-" + callersTrace + "-" + callersSpan + "-01"
)

func traced(ctx context.Context, parent string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", parent, "tracestate", "vendor=1", "baggage", "team=data")
}

// calls are one by each of the ways to a plugin.
var tracedCalls = []struct {
	name, served, asked string
	make                func(f *front, ctx context.Context) error
}{
	{"creation", "flyteidl.service.AsyncAgentService/CreateTask", "flyteidl.service.AsyncAgentService/CreateTask", func(f *front, ctx context.Context) error {
		_, err := f.call(ctx, async1+"CreateTask", attempt("x", 0))
		return err
	}},
	{"poll", "flyteidl2.connector.AsyncConnectorService/GetTask", "flyteidl.service.AsyncAgentService/GetTask", func(f *front, ctx context.Context) error {
		_, err := f.call(ctx, async2+"GetTask", get("x"))
		return err
	}},
	{"stream", "flyteidl.service.SyncAgentService/ExecuteTaskSync", "flyteidl.service.SyncAgentService/ExecuteTaskSync", func(f *front, ctx context.Context) error {
		_, err := f.sync(ctx, &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "s"}}}})
		return err
	}},
}

func startTraced(t *testing.T, tracer *tracing.Tracer) (*agentServer, *front) {
	t.Helper()
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		switch {
		case strings.HasSuffix(call.method, "CreateTask"):
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
		case strings.HasSuffix(call.method, "GetTask"):
			return stream.SendMsg(frameOf(running))
		}
		return stream.SendMsg(frameOf(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED})))
	})
	return agent, startWith(t, Options{Tracer: tracer}, agent.claims(usual, asyncAgent("x"), syncAgent("s")))
}

func TestATraceGoesFromTheCallerThroughTheHostIntoThePlugin(t *testing.T) {
	for _, c := range tracedCalls {
		t.Run(c.name, func(t *testing.T) {
			spans := everything()
			agent, f := startTraced(t, spans.tracer)
			if err := c.make(f, traced(soon(t), callersParent)); err != nil {
				t.Fatal(err)
			}
			f.ended(t)
			server, client := spans.one(t, c.served, trace.SpanKindServer), spans.one(t, c.asked, trace.SpanKindClient)
			if server.SpanContext.TraceID().String() != callersTrace || server.Parent.SpanID().String() != callersSpan || !server.Parent.IsRemote() {
				t.Errorf("the host's span is of trace %v, below %v", server.SpanContext.TraceID(), server.Parent.SpanID())
			}
			above := server
			if c.name == "creation" { // which goes on without its caller
				above = spans.one(t, tracing.MakeJob, trace.SpanKindInternal)
				if above.Parent.SpanID() != server.SpanContext.SpanID() {
					t.Errorf("the creation is below %v", above.Parent.SpanID())
				}
			}
			if client.SpanContext.TraceID().String() != callersTrace || client.Parent.SpanID() != above.SpanContext.SpanID() {
				t.Errorf("the span of the plugin's call is of trace %v, below %v", client.SpanContext.TraceID(), client.Parent.SpanID())
			}
			want := map[string]string{
				"traceparent": fmt.Sprintf("00-%s-%s-01", callersTrace, client.SpanContext.SpanID()), "tracestate": "vendor=1", "baggage": "team=data",
			}
			for key, value := range want {
				if got := agent.only(t).metadata.Get(key); !slices.Equal(got, []string{value}) {
					t.Errorf("the plugin got %s %q, want %q", key, got, value)
				}
			}
			for key, value := range map[string]string{
				"rpc.system.name": "grpc", "rpc.method": c.served, "rpc.response.status_code": "OK", "agenthost.plugin": "echo", "agenthost.generation": "generation of echo",
				"agenthost.task_type": map[bool]string{true: "s", false: "x"}[c.name == "stream"],
			} {
				if got := says(server, key); got != value {
					t.Errorf("%s is %q, want %q", key, got, value)
				}
			}
			if got := says(server, "flyte.execution"); c.name == "creation" && got != "e" {
				t.Errorf("the execution is %q", got)
			}
		})
	}
}

// ended waits until nothing is under way: a caller has his answer before the span of it has ended.
func (f *front) ended(t *testing.T) {
	t.Helper()
	f.gateway.Shutdown(soon(t))
}

func TestWhereACallBelongsPassesUnchangedWithoutTracesOfTheHosts(t *testing.T) {
	for name, tracer := range map[string]*tracing.Tracer{"off": nil, "not sampled": collecting(sdktrace.NeverSample()).tracer} {
		for _, c := range tracedCalls {
			t.Run(name+", "+c.name, func(t *testing.T) {
				agent, f := startTraced(t, tracer)
				if err := c.make(f, traced(soon(t), callersParent)); err != nil {
					t.Fatal(err)
				}
				for key, value := range map[string]string{"traceparent": callersParent, "tracestate": "vendor=1", "baggage": "team=data"} {
					if got := agent.only(t).metadata.Get(key); !slices.Equal(got, []string{value}) {
						t.Errorf("the plugin got %s %q, want %q", key, got, value)
					}
				}
			})
		}
	}
}

// A plugin that got nothing would begin a trace by itself, whatever share of them the operator has asked for.
func TestAPluginIsToldThatACallIsNotSampled(t *testing.T) {
	spans := collecting(sdktrace.NeverSample())
	for _, c := range tracedCalls {
		t.Run(c.name, func(t *testing.T) {
			agent, f := startTraced(t, spans.tracer)
			if err := c.make(f, soon(t)); err != nil {
				t.Fatal(err)
			}
			got := agent.only(t).metadata.Get("traceparent")
			if len(got) != 1 || len(got[0]) != len(callersParent) || !strings.HasSuffix(got[0], "-00") {
				t.Errorf("the plugin got %q", got)
			}
		})
	}
	if len(spans.GetSpans()) != 0 {
		t.Errorf("there are spans: %v", spans.names())
	}
}

func TestATraceparentThatCannotBeReadBeginsATraceOfItsOwn(t *testing.T) {
	for _, broken := range []string{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "no", ""} {
		spans := everything()
		agent, f := startTraced(t, spans.tracer)
		if err := tracedCalls[1].make(f, traced(soon(t), broken)); err != nil {
			t.Fatal(err)
		}
		f.ended(t)
		client := spans.one(t, tracedCalls[1].asked, trace.SpanKindClient)
		got := agent.only(t).metadata
		if want := fmt.Sprintf("00-%s-%s-01", client.SpanContext.TraceID(), client.SpanContext.SpanID()); !slices.Equal(got.Get("traceparent"), []string{want}) || len(got.Get("tracestate")) != 0 {
			t.Errorf("%q: the plugin got %q with %q", broken, got.Get("traceparent"), got.Get("tracestate"))
		}
	}
}

func guaranteesOf(s tracetest.SpanStub) (ids []string) {
	for _, e := range s.Events {
		for _, a := range e.Attributes {
			if a.Key == "agenthost.guarantee" {
				ids = append(ids, a.Value.AsString())
			}
		}
	}
	return ids
}

func TestGuaranteesThatActAreToldInTheTraceAndNothingOfWhatWasSaid(t *testing.T) {
	spans := everything()
	agent := startAgent(t, failing(codes.Internal))
	f := startWith(t, Options{Tracer: spans.tracer}, agent.claims(usual, asyncAgent("x")))
	if _, err := f.call(soon(t), async1+"GetTask", get("x")); err != nil {
		t.Fatal(err)
	}
	f.ended(t)
	server, client := spans.one(t, tracedCalls[1].asked, trace.SpanKindServer), spans.one(t, tracedCalls[1].asked, trace.SpanKindClient)
	if got := guaranteesOf(server); !slices.Equal(got, []string{"G5"}) || server.Events[0].Name != "guarantee G5" || server.Status.Code == otelcodes.Error {
		t.Errorf("the masked poll: %v, %v", server.Events, server.Status)
	}
	if !slices.Contains(server.Events[0].Attributes, attribute.String("agenthost.guarantee.title", "last known status")) {
		t.Errorf("its title is in none of %v", server.Events[0].Attributes)
	}
	if says(client, "rpc.response.status_code") != "INTERNAL" || client.Status.Code != otelcodes.Error {
		t.Errorf("the plugin's failure: %v, %v", client.Attributes, client.Status)
	}
	if all := fmt.Sprintf("%+v", spans.GetSpans()); strings.Contains(all, "scripted") || strings.Contains(all, "job 1") {
		t.Errorf("a span says what the plugin or its caller said: %s", all)
	}
}

func TestDiscoveryIsTraced(t *testing.T) {
	spans := everything()
	_, f := startTraced(t, spans.tracer)
	if _, err := f.call(soon(t), "/flyteidl.service.AgentMetadataService/ListAgents", &admin.ListAgentsRequest{}); err != nil {
		t.Fatal(err)
	}
	f.ended(t)
	spans.one(t, "flyteidl.service.AgentMetadataService/ListAgents", trace.SpanKindServer)
}

func TestWhatACallWaitsForIsASpan(t *testing.T) {
	spans := everything()
	agent := startMaker(t)
	f := startWith(t, Options{Tracer: spans.tracer}, agent.claims(route.Policy{Concurrency: 1, Wait: 50 * time.Millisecond}, asyncAgent("x")))
	var first sync.WaitGroup
	first.Go(func() { f.create(t, attempt("x", 0)) })
	<-agent.reached
	if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	close(agent.proceed)
	first.Wait()
	f.ended(t)
	waited := spans.one(t, "wait for concurrency", trace.SpanKindInternal)
	if says(waited, "agenthost.wait") != "concurrency" || waited.EndTime.Sub(waited.StartTime) < 40*time.Millisecond {
		t.Errorf("%v from %v to %v", waited.Attributes, waited.StartTime, waited.EndTime)
	}
}

func TestARepeatedCreationIsLinkedToTheFirst(t *testing.T) {
	spans := everything()
	_, f := startTraced(t, spans.tracer)
	for range 2 {
		f.create(t, attempt("x", 0))
	}
	f.ended(t)
	servers := slices.DeleteFunc(spans.all(tracedCalls[0].served), func(s tracetest.SpanStub) bool { return s.SpanKind != trace.SpanKindServer })
	slices.SortFunc(servers, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	if len(servers) != 2 || len(servers[1].Links) != 1 || servers[1].Links[0].SpanContext.TraceID() != servers[0].SpanContext.TraceID() || !slices.Equal(guaranteesOf(servers[1]), []string{"G4"}) {
		t.Errorf("the repetition: %+v", servers)
	}
}

func TestAJobThatIsMadeLaterIsTracedWithTheCallThatTheTaskCameBy(t *testing.T) {
	spans := everything()
	inBubble(t, func(o *Options, _ *route.Claim) { o.Tracer = spans.tracer }, func(t *testing.T, _ *cloud, one, two *replica) {
		request := attempt("x", 0)
		one.link.set(false)
		meta, err := one.create(request)
		if err != nil || !record.Is(meta) {
			t.Fatalf("got %q, %v", meta, err)
		}
		created := spans.one(t, "x.X/CreateTask", trace.SpanKindServer)
		if got := guaranteesOf(created); !slices.Contains(got, "G15") {
			t.Errorf("its guarantees are %v", got)
		}
		two.mustPoll(t, meta, request, core.TaskExecution_RUNNING, request.GetOutputPrefix())
		resumed := spans.one(t, tracing.MakeJob, trace.SpanKindInternal)
		poll := spans.one(t, "x.X/GetTask", trace.SpanKindServer)
		for _, s := range []tracetest.SpanStub{resumed, poll} {
			if len(s.Links) == 0 || s.Links[0].SpanContext.TraceID() != created.SpanContext.TraceID() {
				t.Errorf("%s of another replica has the links %v", s.Name, s.Links)
			}
		}
		spans.Reset()
		time.Sleep(time.Second)
		one.link.set(true)
		time.Sleep(10 * time.Second)
		made := spans.one(t, tracing.MakeJob, trace.SpanKindInternal)
		if made.Parent.SpanID() != created.SpanContext.SpanID() || made.EndTime.Sub(created.EndTime) <= 0 {
			t.Errorf("it was made below %v, and ended %v after", made.Parent.SpanID(), made.EndTime.Sub(created.EndTime))
		}
		if len(spans.all("wait for plugin")) == 0 {
			t.Errorf("nothing tells that it waited for its plugin: %v", spans.names())
		}
	})
}

func TestAnOrphansDeletionIsATraceThatIsLinkedToItsCreation(t *testing.T) {
	spans := everything()
	inBubble(t, func(o *Options, c *route.Claim) {
		o.Tracer, c.Manifest.Capabilities = spans.tracer, nil
	}, func(t *testing.T, c *cloud, one, _ *replica) {
		c.slow = 9 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		time.AfterFunc(5*time.Second, cancel) // Flyte restarts
		m := method{name: "CreateTask", read: readCreate, creates: true, target: pluginAsync + "CreateTask", served: tracing.NewMethod("/x.X/CreateTask"), asked: askedCreate}
		_, err := one.unary(m)(nil, ctx, func(request any) error {
			request.(*frame).set(frameOf(attempt("x", 0)).bytes())
			return nil
		}, nil)
		if status.Code(err) != codes.Canceled {
			t.Fatalf("got %v", err)
		}
		time.Sleep(DefaultCreation().OrphanGrace + time.Minute)
		if !c.byName([]byte("job 1")).deleted {
			t.Fatal("it is not deleted")
		}
		created, deleted := spans.one(t, "x.X/CreateTask", trace.SpanKindServer), spans.one(t, tracing.DeleteOrphan, trace.SpanKindInternal)
		if len(deleted.Links) != 1 || deleted.Links[0].SpanContext.SpanID() != created.SpanContext.SpanID() || deleted.SpanContext.TraceID() == created.SpanContext.TraceID() ||
			!slices.Equal(guaranteesOf(deleted), []string{"G16"}) {
			t.Errorf("%+v", deleted)
		}
		asked := spans.one(t, "flyteidl.service.AsyncAgentService/DeleteTask", trace.SpanKindClient)
		if asked.Parent.SpanID() != deleted.SpanContext.SpanID() {
			t.Errorf("the plugin was asked below %v", asked.Parent.SpanID())
		}
	})
}

func TestLinesOfTheLogAboutCallsNameTheirTraces(t *testing.T) {
	for name, c := range map[string]*collected{"traced": everything(), "off": {}} {
		t.Run(name, func(t *testing.T) {
			lines := &callLines{}
			agent := startAgent(t, failing(codes.Internal))
			f := startWith(t, Options{Tracer: c.tracer, Log: slog.New(slog.NewJSONHandler(lines, nil))}, agent.claims(route.Policy{}, asyncAgent("x")))
			if _, err := f.call(traced(soon(t), callersParent), async1+"GetTask", get("x")); status.Code(err) != codes.Internal {
				t.Fatal(err)
			}
			f.ended(t)
			got := lines.all(t)
			if len(got) != 1 || got[0]["trace_id"] != callersTrace {
				t.Fatalf("the line is %v", got)
			}
			if name == "traced" && got[0]["span_id"] != c.one(t, tracedCalls[1].asked, trace.SpanKindServer).SpanContext.SpanID().String() {
				t.Errorf("the line is %v", got)
			}
		})
	}
}

func TestTimesOfCallsHaveTracesAsExamples(t *testing.T) {
	for _, fails := range []bool{false, true} {
		agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
			if fails {
				return status.Error(codes.Internal, "")
			}
			return stream.SendMsg(frameOf(running))
		})
		f := startWith(t, Options{Tracer: everything().tracer}, agent.claims(route.Policy{}, asyncAgent("x")))
		_, _ = f.call(traced(soon(t), callersParent), async1+"GetTask", get("x"))
		f.ended(t)
		families, err := f.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var found []*dto.LabelPair
		for _, family := range families {
			if family.GetName() == "agenthost_call_duration_seconds" {
				for _, bucket := range family.GetMetric()[0].GetHistogram().GetBucket() {
					found = append(found, bucket.GetExemplar().GetLabel()...)
				}
			}
		}
		if len(found) != 1 || found[0].GetName() != "trace_id" || found[0].GetValue() != callersTrace {
			t.Errorf("failing %v: the examples are %v", fails, found)
		}
	}
}

// BenchmarkTraced is BenchmarkPoll with traces: none, of one call in a hundred, and of all.
func BenchmarkTraced(b *testing.B) {
	agent := startAgent(b, func(_ *received, stream grpc.ServerStream) error { return stream.SendMsg(frameOf(running)) })
	agent.forgetful = true
	message := frameOf(&admin.GetTaskRequest{TaskType: "x", ResourceMeta: make([]byte, 100), TaskCategory: &admin.TaskCategory{Name: "x"}}).bytes()
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
	}{{"off", nil}, {"1%", sdktrace.ParentBased(sdktrace.TraceIDRatioBased(.01))}, {"all", sdktrace.AlwaysSample()}} {
		b.Run(c.name, func(b *testing.B) {
			options := Options{}
			if c.sampler != nil {
				tracer, provider := tracing.NewTracer("1.2.3", c.sampler, sdktrace.WithBatcher(nowhere{}))
				b.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
				options.Tracer = tracer
			}
			f := startWith(b, options, agent.claims(usual, asyncAgent("x")))
			b.ReportAllocs()
			b.SetParallelism(32) // times the processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					_, err := f.callRaw(ctx, async1+"GetTask", message)
					cancel()
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// nowhere takes spans at once.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }
