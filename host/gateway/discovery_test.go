package gateway

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/proto/flyteidl2"
)

func TestDiscoveryAnswersBothFlytesWithoutAskingAPlugin(t *testing.T) {
	neverThere := restarting{leases: make(chan route.Lease)}
	f := startGateway(t, neverThere, asyncAgent("a"), syncAgent("s"),
		plugin.Agent{Name: "many", Categories: []plugin.Category{{Name: "m", Version: 2}, {Name: "m", Version: 1}}})

	v1, err := service.NewAgentMetadataServiceClient(f.conn).ListAgents(soon(t), &admin.ListAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := described(v1), "a agent[a 0] s agent(sync)[s 0] many[m 1] many[m 2]"; got != want {
		t.Errorf("Flyte 1 reads %s, want %s", got, want)
	}
	v2 := &admin.ListAgentsResponse{}
	if err := f.conn.Invoke(soon(t), flyteidl2.MethodListConnectors, &admin.ListAgentsRequest{}, v2); err != nil {
		t.Fatal(err)
	}
	if got, want := described(v2), "a agent[a 0] many[m 1] many[m 2]"; got != want {
		t.Errorf("Flyte 2 reads %s, want %s", got, want)
	}

	one, err := service.NewAgentMetadataServiceClient(f.conn).GetAgent(soon(t), &admin.GetAgentRequest{Name: "many"})
	if err != nil || len(one.GetAgent().GetSupportedTaskCategories()) != 2 {
		t.Errorf("GetAgent: %v, %v", one, err)
	}
	for _, c := range []struct{ method, name string }{
		{service.AgentMetadataService_GetAgent_FullMethodName, "nobody"},
		{flyteidl2.MethodGetConnector, "s agent"}, // sync: not for Flyte 2
	} {
		err := f.conn.Invoke(soon(t), c.method, &admin.GetAgentRequest{Name: c.name}, &admin.GetAgentResponse{})
		if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s(%s): %v", c.method, c.name, err)
		}
	}
}

// What has no plugin yet while the host starts would be forgotten by FlytePropeller, and its tasks would go elsewhere.
func TestCallsAndDiscoveryWaitForTheStartOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		synced, routes := make(chan struct{}), &route.Current{}
		g := New(Options{Routes: routes, Synced: synced, MaxMessageSize: 1 << 20, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		dial := inMemory(t, g.Server().Serve, func() { g.Shutdown(t.Context()) })
		conn, err := grpc.NewClient("passthrough:///gateway", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		started := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			list, err := service.NewAgentMetadataServiceClient(conn).ListAgents(t.Context(), &admin.ListAgentsRequest{})
			if err != nil || len(list.GetAgents()) != 1 || time.Since(started) < 3*time.Second {
				t.Errorf("%v, %v, after %v", list, err, time.Since(started))
			}
		})
		all.Go(func() {
			_, err := service.NewAsyncAgentServiceClient(conn).CreateTask(t.Context(), create("x"))
			if err != nil || time.Since(started) < 3*time.Second {
				t.Errorf("%v after %v", err, time.Since(started))
			}
		})
		all.Go(func() { // whose deadline comes first, and who reads why
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := service.NewAsyncAgentServiceClient(conn).CreateTask(ctx, create("x")); status.Code(err) != codes.NotFound {
				t.Errorf("%v after %v", err, time.Since(started))
			}
		})
		time.Sleep(3 * time.Second)
		table, _ := route.NewTable(route.Claim{Target: instant{}, Manifest: manifestOf(asyncAgent("x"))})
		routes.Publish(table)
		close(synced)
		all.Wait()
	})
}

func described(list *admin.ListAgentsResponse) string {
	var words []string
	for _, agent := range list.GetAgents() {
		var b strings.Builder
		b.WriteString(agent.GetName())
		if agent.GetIsSync() {
			b.WriteString("(sync)")
		}
		for _, c := range agent.GetSupportedTaskCategories() {
			b.WriteString("[" + c.GetName() + " " + string('0'+c.GetVersion()) + "]")
		}
		words = append(words, b.String())
	}
	return strings.Join(words, " ")
}

func TestHealthIsAnsweredForTheHostAndForEachService(t *testing.T) {
	f := startGateway(t, restarting{}, asyncAgent("a"))
	client := grpc_health_v1.NewHealthClient(f.conn)
	services := []string{"", "flyteidl.service.AsyncAgentService", "flyteidl.service.SyncAgentService", "flyteidl.service.AgentMetadataService",
		flyteidl2.ServiceConnector, flyteidl2.ServiceMetadata}
	for _, ready := range []bool{true, false} {
		f.gateway.SetReady(ready)
		for _, name := range services {
			answer, err := client.Check(soon(t), &grpc_health_v1.HealthCheckRequest{Service: name})
			if err != nil || (answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING) != ready {
				t.Errorf("ready %v, service %q: %v, %v", ready, name, answer, err)
			}
		}
	}
}

func TestReflectionDescribesBothFlytes(t *testing.T) {
	f := startGateway(t, restarting{}, asyncAgent("a"))
	stream, err := grpc_reflection_v1.NewServerReflectionClient(f.conn).ServerReflectionInfo(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if failure := answer.GetErrorResponse(); failure != nil {
			t.Errorf("%v: %v", request, failure)
		}
		return answer
	}
	listed := ask(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	found := 0
	for _, s := range listed.GetListServicesResponse().GetService() {
		if strings.HasPrefix(s.GetName(), "flyteidl") {
			found++
			answer := ask(&grpc_reflection_v1.ServerReflectionRequest{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: s.GetName()}})
			if len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
				t.Errorf("no file for %s", s.GetName())
			}
		}
	}
	if found != 5 {
		t.Errorf("%d of Flyte's five services are listed: %v", found, listed)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

func TestMetricsNameThePluginAndKeepFlytekitsNames(t *testing.T) {
	agent := startAgent(t, answering(running))
	f := startGateway(t, agent, asyncAgent("x"))
	for _, request := range []struct {
		method  string
		message proto.Message
	}{
		{"CreateTask", create("x")}, {"GetTask", get("x")}, {"GetTask", get("x")},
		{"CreateTask", create("made up")}, {"GetTask", get("made up, too")}, // must not become labels
	} {
		_, _ = f.call(soon(t), async1+request.method, request.message)
	}
	want := `
# HELP agenthost_calls_total Calls from Flyte that have ended. Plugin and task type are empty where no plugin serves the call.
# TYPE agenthost_calls_total counter
agenthost_calls_total{code="NotFound",method="CreateTask",plugin="",task_type=""} 1
agenthost_calls_total{code="OK",method="CreateTask",plugin="echo",task_type="x"} 1
agenthost_calls_total{code="OK",method="GetTask",plugin="",task_type=""} 1
agenthost_calls_total{code="OK",method="GetTask",plugin="echo",task_type="x"} 2
# HELP flyte_connector_requests_failure_total Calls that failed, as flytekit's connector server names them; error_code is HTTP's. Polls that were answered from memory because the plugin failed are among them.
# TYPE flyte_connector_requests_failure_total counter
flyte_connector_requests_failure_total{error_code="404",operation="create",task_type="unknown"} 1
flyte_connector_requests_failure_total{error_code="503",operation="get",task_type="unknown"} 1
# HELP flyte_connector_requests_success_total Calls that succeeded, as flytekit's connector server names them; task_type is unknown where no plugin serves it.
# TYPE flyte_connector_requests_success_total counter
flyte_connector_requests_success_total{operation="create",task_type="x"} 1
flyte_connector_requests_success_total{operation="get",task_type="x"} 2
`
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(want), "agenthost_calls_total",
		"flyte_connector_requests_success_total", "flyte_connector_requests_failure_total"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"agenthost_call_duration_seconds", "agenthost_calls_in_flight", "flyte_connector_request_latency_seconds", "flyte_connector_input_literal_bytes"} {
		if n, err := testutil.GatherAndCount(f.registry, name); err != nil || n == 0 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
}

// Alerts that were made for flytekit's connector server see a plugin whose polls fail, which Flyte is spared.
func TestPollsAnsweredInAPluginsPlaceAreFailuresInFlytekitsMetrics(t *testing.T) {
	agent := startAgent(t, script(answering(running), failing(codes.Internal)))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	for range 4 {
		if _, err := f.poll(soon(t), get("x")); err != nil {
			t.Fatal(err)
		}
	}
	want := `
# HELP agenthost_calls_total Calls from Flyte that have ended. Plugin and task type are empty where no plugin serves the call.
# TYPE agenthost_calls_total counter
agenthost_calls_total{code="OK",method="GetTask",plugin="echo",task_type="x"} 4
# HELP flyte_connector_requests_failure_total Calls that failed, as flytekit's connector server names them; error_code is HTTP's. Polls that were answered from memory because the plugin failed are among them.
# TYPE flyte_connector_requests_failure_total counter
flyte_connector_requests_failure_total{error_code="500",operation="get",task_type="x"} 3
# HELP flyte_connector_requests_success_total Calls that succeeded, as flytekit's connector server names them; task_type is unknown where no plugin serves it.
# TYPE flyte_connector_requests_success_total counter
flyte_connector_requests_success_total{operation="get",task_type="x"} 1
`
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(want), "agenthost_calls_total",
		"flyte_connector_requests_success_total", "flyte_connector_requests_failure_total"); err != nil {
		t.Error(err)
	}
	if all, failed := f.gateway.Tallies().Of("echo").Calls(); all != 4 || failed != 3 {
		t.Errorf("the charts have %d calls, %d of them failed", all, failed)
	}
}

// Flyte 2 pings every 30 s while no call is under way, and grpc's default would answer with GOAWAY after a minute and a
// half: one connection must do for an hour of silence.
func TestPingsWithoutCallsAreWelcome(t *testing.T) {
	for _, c := range []struct {
		without []guarantee.ID
		welcome bool
	}{{nil, true}, {[]guarantee.ID{guarantee.KeepalivePings}, false}} {
		synctest.Test(t, func(t *testing.T) {
			if n := connectionsForAnHourOfSilence(t, c.without); (n == 1) != c.welcome {
				t.Errorf("without %v: %d connections were needed", c.without, n)
			}
		})
	}
}

func connectionsForAnHourOfSilence(t *testing.T, without []guarantee.ID) int {
	g := New(Options{Routes: &route.Current{}, MaxMessageSize: 1 << 20, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Without: guarantee.SetOf(without...)})
	defer g.Shutdown(t.Context())
	listener := bufconn.Listen(1 << 20)
	go func() { _ = g.Server().Serve(listener) }()
	var connections atomic.Int32
	conn, err := grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			connections.Add(1)
			return listener.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	list := func() {
		if err := conn.Invoke(t.Context(), flyteidl2.MethodListConnectors, &admin.ListAgentsRequest{}, &admin.ListAgentsResponse{}, grpc.WaitForReady(true)); err != nil {
			t.Error(err)
		}
	}
	list()
	time.Sleep(time.Hour)
	list()
	return int(connections.Load())
}
