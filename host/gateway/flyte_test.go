package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

// world is Flyte in front of a gateway in front of an agent that answers by a script, on a clock that is not the wall's.
type world struct {
	flyte    *propeller.Propeller
	agent    *scripted.Agent
	registry *prometheus.Registry
}

// usual is the policy of a plugin whose configuration says nothing.
var usual = route.Policy{MaxStale: 10 * time.Minute}

// startWorld must be called in a bubble of synctest.
func startWorld(t *testing.T, flyte propeller.Flyte, script scripted.Script, policy route.Policy, without ...guarantee.ID) *world {
	t.Helper()
	w := &world{agent: scripted.New(script), registry: prometheus.NewRegistry()}
	toAgent := inMemory(t, w.agent.Serve, w.agent.Stop)
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)), // as go-plugin's is
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return toAgent(ctx, address) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })

	agents := []plugin.Agent{asyncAgent("asyncy"), syncAgent("syncy")}
	table, conflicts := route.NewTable(route.Claim{Target: &agentServer{conn: conn}, Policy: policy, Manifest: plugin.Manifest{Agents: agents}})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	routes := &route.Current{}
	routes.Publish(table)
	g := New(Options{Routes: routes, MaxMessageSize: 64 << 20, Log: slog.New(slog.DiscardHandler), Metrics: w.registry, Without: guarantee.SetOf(without...)})
	toGateway := inMemory(t, g.Server().Serve, func() { g.Shutdown(t.Context()) })

	w.flyte = propeller.Start(t.Context(), propeller.Options{Flyte: flyte, Endpoint: "gateway", Round: time.Second, Dial: toGateway})
	t.Cleanup(w.flyte.Close)
	return w
}

func inMemory(t *testing.T, serve func(net.Listener) error, stop func()) func(context.Context, string) (net.Conn, error) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serve(listener)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
}

// task is one that Flyte 2 takes too: with a custom struct.
func task() propeller.Task {
	integer := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}
	return propeller.Task{Template: &core.TaskTemplate{
		Type: "asyncy", Custom: &structpb.Struct{},
		Interface: &core.TypedInterface{Outputs: &core.VariableMap{Variables: map[string]*core.Variable{"o0": {Type: integer}}}},
	}}
}

// fate runs a task to its end, or for two hours.
func (w *world) fate(t *testing.T, task propeller.Task) propeller.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	result, err := w.flyte.Submit(task).Wait(ctx)
	if err != nil && len(result.History) > 0 {
		last := result.History[len(result.History)-1]
		result.Phase, result.Final = last.Phase, last.PhaseInfo
	}
	return result
}

func recording(t *testing.T, flyte propeller.Flyte, name string) scripted.Script {
	t.Helper()
	for _, trace := range traces.Load(int(flyte)) {
		if trace.Name == name {
			return scripted.Of(trace)
		}
	}
	t.Fatalf("there is no recording %q of Flyte %d", name, flyte)
	return scripted.Script{}
}

// What stranded or failed tasks of the real Flytes when they were recorded, played again behind the host.
func TestWhatStrandedFlyteIsSurvivedBehindTheHost(t *testing.T) {
	for _, c := range []struct {
		recording string
		want      propeller.Phase
		// says is part of the reason, for a failure.
		says string
		// without is the guarantee whose absence brings the recorded fate back.
		without guarantee.ID
	}{
		{"six-get-errors", propeller.Succeeded, "", guarantee.LastKnownStatus},
		{"five-get-errors", propeller.Succeeded, "", 0},
		{"errors-spread-out", propeller.Succeeded, "", guarantee.LastKnownStatus},
		{"never-answered", propeller.PermanentFailure, "status.max_stale of 10m", guarantee.LastKnownStatus},
		{"get-slow", propeller.Succeeded, "", 0},
		{"not-found", propeller.PermanentFailure, "does not know this job", guarantee.UnknownJobs},
		{"outputs-5m", propeller.PermanentFailure, "output_prefix", guarantee.SizeLimits},
		{"empty-resource", propeller.RetryableFailure, "neither a phase nor a state", 0},
	} {
		for _, flyte := range []propeller.Flyte{propeller.V1, propeller.V2} {
			if c.recording == "empty-resource" && flyte == propeller.V2 {
				c.want = propeller.PermanentFailure // no retry is left
			}
			t.Run(fmt.Sprintf("flyte%d/%s", flyte, c.recording), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := startWorld(t, flyte, recording(t, flyte, c.recording), usual)
					result := w.fate(t, task())
					if result.Phase != c.want || !strings.Contains(result.Final.Reason, c.says) || result.Final.Code == propeller.CodeAutoRefreshFailed {
						t.Errorf("it came to %s %s: %s, want %s", result.Phase, result.Final.Code, result.Final.Reason, c.want)
					}
					if c.without != 0 && recordedIn(t, w.registry, c.without) == 0 {
						t.Errorf("%s was not needed", c.without)
					}
				})
				if c.without == 0 {
					return
				}
				synctest.Test(t, func(t *testing.T) {
					w := startWorld(t, flyte, recording(t, flyte, c.recording), usual, c.without, guarantee.LastKnownStatus)
					result := w.fate(t, task())
					if result.Final.Code != propeller.CodeAutoRefreshFailed && result.Phase != propeller.Running && result.Phase != propeller.Queued {
						t.Errorf("without %s it came to %s %s: %s, and not to grief", c.without, result.Phase, result.Final.Code, result.Final.Reason)
					}
				})
			})
		}
	}
}

func TestATaskSurvivesAnOutageOfItsPluginThatIsShorterThanMaxStale(t *testing.T) {
	for _, flyte := range []propeller.Flyte{propeller.V1, propeller.V2} {
		for _, c := range []struct {
			failures int // at one poll every 30 s
			want     propeller.Phase
		}{{18, propeller.Succeeded}, {25, propeller.PermanentFailure}} {
			synctest.Test(t, func(t *testing.T) {
				get := []traces.Reply{{Phase: "RUNNING"}}
				get = append(get, slices.Repeat([]traces.Reply{{GRPCCode: "INTERNAL"}}, c.failures)...)
				get = append(get, traces.Reply{Phase: "SUCCEEDED", Outputs: true})
				w := startWorld(t, flyte, scripted.Script{Get: get, ResourceMeta: []byte("job")}, usual)
				result := w.fate(t, task())
				if result.Phase != c.want {
					t.Errorf("Flyte %d, %d failures: %s: %s", flyte, c.failures, result.Phase, result.Final.Reason)
				}
				if ended := recordedIn(t, w.registry, guarantee.EndsUnreachable); (ended > 0) != (c.want == propeller.PermanentFailure) {
					t.Errorf("Flyte %d, %d failures: G6 was counted %d times", flyte, c.failures, ended)
				}
			})
		}
	}
}

func TestPollsThatHangAreAnsweredBeforeTheirDeadline(t *testing.T) {
	for _, flyte := range []propeller.Flyte{propeller.V1, propeller.V2} {
		for _, c := range []struct {
			without []guarantee.ID
			want    propeller.Phase
		}{{nil, propeller.Succeeded}, {[]guarantee.ID{guarantee.LastKnownStatus}, propeller.Running}} {
			synctest.Test(t, func(t *testing.T) {
				get := []traces.Reply{{Phase: "RUNNING"}}
				get = append(get, slices.Repeat([]traces.Reply{{Phase: "RUNNING", Sleep: traces.Seconds(time.Hour)}}, 10)...)
				get = append(get, traces.Reply{Phase: "SUCCEEDED", Outputs: true})
				w := startWorld(t, flyte, scripted.Script{Get: get, ResourceMeta: []byte("job")}, usual, c.without...)
				result := w.fate(t, task())
				if result.Phase != c.want {
					t.Errorf("Flyte %d without %v: %s: %s", flyte, c.without, result.Phase, result.Final.Reason)
				}
				for _, call := range result.Calls {
					if c.without == nil && (call.Err != nil || call.Took >= 10*time.Second) {
						t.Errorf("Flyte %d: %s took %v: %v", flyte, call.Method, call.Took, call.Err)
					}
				}
			})
		}
	}
}

func TestARestartOfFlyteDuringACreateMakesOneJob(t *testing.T) {
	for _, c := range []struct {
		without []guarantee.ID
		jobs    int
	}{{nil, 1}, {[]guarantee.ID{guarantee.CreatesOnce}, 2}} {
		for _, flyte := range []propeller.Flyte{propeller.V1, propeller.V2} {
			synctest.Test(t, func(t *testing.T) {
				w := startWorld(t, flyte, scripted.Script{
					Create: []traces.Reply{{Sleep: traces.Seconds(8 * time.Second)}, {}}, Get: []traces.Reply{{Phase: "SUCCEEDED", Outputs: true}},
					ResourceMeta: []byte("job"),
				}, usual, c.without...)
				execution := w.flyte.Submit(task())
				time.Sleep(5 * time.Second)
				w.flyte.Restart()
				result, err := execution.Wait(t.Context())
				if err != nil || result.Phase != propeller.Succeeded || result.Attempts != 1 {
					t.Errorf("Flyte %d: %+v, %v", flyte, result.Final, err)
				}
				jobs := 0
				for _, call := range w.agent.Calls() {
					if call.Method == "CreateTask" {
						jobs++
					}
				}
				if jobs != c.jobs {
					t.Errorf("Flyte %d without %v: %d jobs were made for one attempt, want %d", flyte, c.without, jobs, c.jobs)
				}
			})
		}
	}
}

func TestManyTasksShareAQuotaOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks = 100
		// Each job needs four polls: far more than the quota lets through in the time that Flyte takes over them.
		w := startWorld(t, propeller.V1, scripted.Script{
			Get:          append(slices.Repeat([]traces.Reply{{Phase: "RUNNING"}}, 3*tasks), traces.Reply{Phase: "SUCCEEDED", Outputs: true}),
			ResourceMeta: []byte("job"),
		}, route.Policy{MaxStale: 10 * time.Minute, Rate: 5, Burst: 5})
		began := time.Now()
		var executions []*propeller.Execution
		for range tasks {
			executions = append(executions, w.flyte.Submit(task()))
		}
		succeeded := 0
		for _, execution := range executions {
			if result, err := execution.Wait(t.Context()); err == nil && result.Phase == propeller.Succeeded {
				succeeded++
			}
		}
		calls, took := len(w.agent.Calls()), time.Since(began).Seconds()
		if most := 5*took + 5; float64(calls) > most+1 {
			t.Errorf("the plugin got %d calls in %.0f s", calls, took)
		}
		t.Logf("%d of %d tasks succeeded in %.0f s with %d calls; %d polls were answered from memory, %d because of the wait",
			succeeded, tasks, took, calls, recordedIn(t, w.registry, guarantee.ThinnedPolls), recordedIn(t, w.registry, guarantee.LastKnownStatus))
		if succeeded != tasks {
			t.Errorf("%d of %d tasks succeeded", succeeded, tasks)
		}
	})
}
