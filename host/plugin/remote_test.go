package plugin_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/test/wait"
)

func TestARemotePluginIsReadyForWorkWhenConnectReturns(t *testing.T) {
	server := newAgentServer(t)
	server.agents.Store(&[]*admin.Agent{agentNamed("query", "sql", "sql2"), {Name: "old", SupportedTaskTypes: []string{"sensor"}, IsSync: true}})
	server.start()
	before := time.Now()
	remote := connectTo(t, remoteSpec("elsewhere", server), plugin.Pace{})
	want := plugin.Manifest{Name: "elsewhere", Agents: []plugin.Agent{
		{Name: "query", Categories: []plugin.Category{{Name: "sql"}, {Name: "sql2"}}},
		{Name: "old", Sync: true, Categories: []plugin.Category{{Name: "sensor"}}, ByTaskType: true},
	}}
	if diff := cmp.Diff(want, remote.Manifest()); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	usage, err := remote.Usage()
	if remote.PID() != 0 || err != nil || usage != (process.Usage{}) || remote.Started().Before(before) || remote.Err() != nil {
		t.Errorf("pid %d, usage %v, %v, started %v, error %v", remote.PID(), usage, err, remote.Started(), remote.Err())
	}

	client := service.NewAsyncAgentServiceClient(remote.Conn())
	large := strings.Repeat("x", 3<<20)
	created, err := client.CreateTask(t.Context(), &admin.CreateTaskRequest{OutputPrefix: large})
	if err != nil || string(created.GetResourceMeta()) != large {
		t.Errorf("of a message of 3 MiB came back %d bytes, %v", len(created.GetResourceMeta()), err)
	}
	if _, err = client.CreateTask(t.Context(), &admin.CreateTaskRequest{OutputPrefix: strings.Repeat("x", 16<<20)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message of 16 MiB arrived, and its answer, which is as large: %v", err)
	}

	release, ok := remote.Acquire()
	if !ok || remote.InFlight() != 1 {
		t.Fatalf("acquired %v, in flight %d", ok, remote.InFlight())
	}
	if !remote.Sound() {
		t.Error("it has answered a creation and is not sound")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := remote.Drain(ended); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "plugin elsewhere: drain: 1 calls are still in flight") {
		t.Errorf("a drain that ends early: %v", err)
	}
	release()
	if err := remote.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(remote.Stop(t.Context()), remote.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	awaitRemote(t, remote)
	if _, ok := remote.Acquire(); ok || remote.Err() != nil {
		t.Errorf("after a stop it takes calls: %v; error %v", ok, remote.Err())
	}
}

func TestPollsGoToAllServersAndNoneIsLostWhenOneDies(t *testing.T) {
	one, other := startAgentServer(t), startAgentServer(t)
	remote := connectTo(t, remoteSpec("pair", one, other), plugin.Pace{})
	wantAnswersFrom(t, remote, one.address, other.address)

	// Polls that are under way on the one that dies are answered by the other.
	held := make(chan struct{})
	one.get = func(ctx context.Context) error {
		held <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	var polls sync.WaitGroup
	stop, stopPolls := context.WithCancel(t.Context())
	for range 4 {
		polls.Go(func() {
			for stop.Err() == nil {
				if _, err := poll(t, remote); err != nil {
					t.Errorf("a poll failed: %v", err)
				}
			}
		})
	}
	for range 4 {
		<-held
	}
	one.die()
	before := other.calls.Load()
	wait.Until(t, "the other goes on", func() bool { return other.calls.Load() > before+100 })
	stopPolls()
	polls.Wait()
	if remote.Err() != nil {
		t.Error(remote.Err())
	}

	one.get = nil
	one.start()
	wantAnswersFrom(t, remote, one.address, other.address) // it is taken back
}

func TestARemotePluginSurvivesAShortAbsenceOfAllItsServers(t *testing.T) {
	one, other := startAgentServer(t), startAgentServer(t)
	remote := connectTo(t, remoteSpec("pair", one, other), plugin.Pace{})
	one.die()
	other.die()
	wait.Until(t, "polls fail", func() bool {
		began := time.Now()
		_, err := poll(t, remote)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a call took %v to fail", took)
		}
		return status.Code(err) == codes.Unavailable
	})

	// A call that asks for it waits.
	created := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		_, err := service.NewAsyncAgentServiceClient(remote.Conn()).CreateTask(ctx, &admin.CreateTaskRequest{}, grpc.WaitForReady(true))
		created <- err
	}()
	one.start()
	if err := <-created; err != nil {
		t.Errorf("a call that waits: %v", err)
	}
	other.start()
	wantAnswersFrom(t, remote, one.address, other.address)
	select {
	case <-remote.Done():
		t.Errorf("it ended: %v", remote.Err())
	default:
	}
}

func TestARemotePluginEndsWhenNobodyCanBeReachedForTooLong(t *testing.T) {
	server := startAgentServer(t)
	remote := connectTo(t, remoteSpec("gone", server), plugin.Pace{Down: 300 * time.Millisecond})
	server.die()
	awaitRemote(t, remote)
	for _, part := range []string{"plugin gone: " + server.address, "none of its servers could be reached for 300ms", "connection refused"} {
		if !strings.Contains(remote.Err().Error(), part) {
			t.Errorf("%q is not in: %v", part, remote.Err())
		}
	}
	if _, ok := remote.Acquire(); ok {
		t.Error("it takes calls")
	}
	if _, err := poll(t, remote); status.Code(err) != codes.Unavailable {
		t.Errorf("a call after the end: %v", err)
	}
	remote.Stop(t.Context())
	if remote.Err() == nil {
		t.Error("Stop made the reason forgotten")
	}
	wantNoConnection(t, remoteSpec("gone", server), plugin.StepConnect, server.address, "connection refused", "that the server runs")

	server.start()
	wantAnswersFrom(t, connectTo(t, remoteSpec("gone", server), plugin.Pace{}), server.address)
}

func TestAServerThatTakesConnectionsButNeverAnswersHoldsNobodyUp(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close() // the kernel takes connections without an Accept
	server := startAgentServer(t)
	spec := remoteSpec("pair", server)
	spec.Address = append([]string{mute.Addr().String()}, spec.Address...)
	began := time.Now()
	remote := connectTo(t, spec, plugin.Pace{})
	for range 20 {
		if _, err := poll(t, remote); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAServerThatIsNotServingGetsNoCalls(t *testing.T) {
	one, other := startAgentServer(t), startAgentServer(t)
	one.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	remote := connectTo(t, remoteSpec("pair", one, other), quick)
	for range 20 {
		if from, err := poll(t, remote); err != nil || from != other.address {
			t.Fatalf("answered by %s, %v", from, err)
		}
	}
	one.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	wantAnswersFrom(t, remote, one.address, other.address)
	other.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	wantAnswersFrom(t, remote, one.address)
	wait.Until(t, "the other is left alone", func() bool {
		before := other.calls.Load()
		for range 10 {
			poll(t, remote)
		}
		return other.calls.Load() == before
	})
}

func TestAServerThatStopsServingMayFinishItsCalls(t *testing.T) {
	one, other := newAgentServer(t), startAgentServer(t)
	held, let := make(chan struct{}, 100), make(chan struct{})
	one.get = func(context.Context) error { held <- struct{}{}; <-let; return nil }
	one.start()
	remote := connectTo(t, remoteSpec("pair", one, other), quick)
	var polls sync.WaitGroup
	wait.Until(t, "a call goes to the one", func() bool { // which may be found well later than the other
		polls.Go(func() {
			if _, err := poll(t, remote); err != nil {
				t.Error(err)
			}
		})
		select {
		case <-held:
			return true
		default:
			return false
		}
	})
	one.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	wait.Until(t, "the one is left alone", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range 4 {
			if _, err := service.NewAsyncAgentServiceClient(remote.Conn()).GetTask(ctx, &admin.GetTaskRequest{}); err != nil {
				return false // it was held
			}
		}
		return true
	})
	close(let)
	polls.Wait()
}

func TestARemotePluginEndsWhenAllItsServersSayNotServing(t *testing.T) {
	server := startAgentServer(t)
	pace := quick
	pace.Down = 300 * time.Millisecond
	remote := connectTo(t, remoteSpec("sick", server), pace)
	server.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	awaitRemote(t, remote)
	if said := remote.Err().Error(); !strings.Contains(said, "the health service of "+server.address+" says NOT_SERVING") {
		t.Error(said)
	}
	wantNoConnection(t, remoteSpec("sick", server), plugin.StepHealth, "the health service of "+server.address+" says NOT_SERVING", "wait until it is ready")
}

func TestARemotePluginNeedNotHaveAHealthService(t *testing.T) {
	for name, prepare := range map[string]func(*agentServer){
		"none":                   func(s *agentServer) { s.health = nil },
		"none of the empty name": func(s *agentServer) { s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVICE_UNKNOWN) },
	} {
		t.Run(name, func(t *testing.T) {
			server := newAgentServer(t)
			prepare(server)
			server.start()
			wantAnswersFrom(t, connectTo(t, remoteSpec("plain", server), quick), server.address)
		})
	}
}

func TestARemotePluginThatCannotListItsAgentsSaysWhy(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*agentServer)
		timeout time.Duration
		parts   []string
	}{
		{"missing", func(s *agentServer) { s.noList = true }, 0, []string{"does not serve", "ListAgents", "is it an agent server"}},
		{"empty", func(s *agentServer) { s.agents.Store(&[]*admin.Agent{}) }, 0, []string{"lists no agents"}},
		{"clash", func(s *agentServer) {
			s.agents.Store(&[]*admin.Agent{agentNamed("one", "sql"), agentNamed("two", "sql")})
		}, 0, []string{"one and two", "sql"}},
		{"fails", func(s *agentServer) {
			s.list = func(context.Context) error { return status.Error(codes.Internal, "the registry is broken") }
		}, 0, []string{"ListAgents failed", "the registry is broken"}},
		{"refuses", func(s *agentServer) {
			s.list = func(context.Context) error { return status.Error(codes.Unauthenticated, "who are you") }
		}, 0, []string{"who are you", "no credentials"}},
		{"hangs", func(s *agentServer) { s.list = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } },
			300 * time.Millisecond, []string{"ListAgents was not answered", "300ms"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newAgentServer(t)
			test.prepare(server)
			server.start()
			spec := remoteSpec("mute", server)
			spec.StartTimeout = test.timeout
			wantNoConnection(t, spec, plugin.StepList, test.parts...)
		})
	}
}

func TestARemotePluginWithoutAUsableAddressSaysWhy(t *testing.T) {
	wantNoConnection(t, plugin.Spec{Name: "none"}, plugin.StepPrepare, "no address")
	wantNoConnection(t, plugin.Spec{Name: "bad", Address: []string{"agents.example.com"}}, plugin.StepPrepare, `"agents.example.com" is not host:port`)
}

func TestARemotePluginEndsWhenItsAgentsChange(t *testing.T) {
	server := startAgentServer(t)
	remote := connectTo(t, remoteSpec("growing", server), quick)
	release, ok := remote.Acquire()
	if !ok {
		t.Fatal("it takes no calls")
	}
	server.agents.Store(&[]*admin.Agent{agentNamed("query", "sql"), agentNamed("chat", "ask")})
	wait.Until(t, "it takes no new calls", func() bool {
		again, ok := remote.Acquire()
		again()
		return !ok
	})
	select {
	case <-remote.Done():
		t.Error("it ended with a call in flight")
	default:
	}
	release()
	awaitRemote(t, remote)
	if said := remote.Err().Error(); !strings.Contains(said, `its agents changed: it now lists query ["sql"], chat ["ask"]`) {
		t.Error(said)
	}
	if got := connectTo(t, remoteSpec("growing", server), quick).Manifest(); len(got.Agents) != 2 {
		t.Errorf("connected anew it lists %v", got.Agents)
	}
}

func TestServersThatDifferForAMomentAreNoChange(t *testing.T) {
	one, other := startAgentServer(t), startAgentServer(t)
	lists := make(chan struct{}, 1000)
	for _, server := range []*agentServer{one, other} {
		server.list = func(context.Context) error { lists <- struct{}{}; return nil }
	}
	agents := []*admin.Agent{agentNamed("chat", "ask"), agentNamed("query", "sql")}
	one.agents.Store(&agents)
	other.agents.Store(&[]*admin.Agent{agents[1], agents[0]}) // another order is no difference
	remote := connectTo(t, remoteSpec("pair", one, other), quick)
	for range 10 {
		<-lists
	}
	if remote.Err() != nil {
		t.Fatal(remote.Err())
	}
	more := append([]*admin.Agent{agentNamed("new", "thing")}, agents...)
	one.agents.Store(&more)
	for range 10 {
		<-lists
	}
	if remote.Err() != nil {
		t.Errorf("while one of two is new: %v", remote.Err())
	}
	other.agents.Store(&more)
	awaitRemote(t, remote)
}

func TestARemotePluginThatHangsEnds(t *testing.T) {
	server := newAgentServer(t)
	var hang context.Context
	hang, hangUp := context.WithCancel(t.Context())
	server.list = func(ctx context.Context) error {
		if hang.Err() != nil {
			<-ctx.Done()
		}
		return nil
	}
	server.start()
	pace := quick
	pace.Answer = 200 * time.Millisecond
	remote := connectTo(t, remoteSpec("hung", server), pace)
	hangUp()
	awaitRemote(t, remote)
	if said := remote.Err().Error(); !strings.Contains(said, "do not answer ListAgents: 2 times in a row not within 200ms") {
		t.Error(said)
	}
}

func TestStopEndsTheCallsInFlight(t *testing.T) {
	server := newAgentServer(t)
	held := make(chan struct{}, 1)
	server.get = func(ctx context.Context) error { held <- struct{}{}; <-ctx.Done(); return ctx.Err() }
	server.start()
	remote := connectTo(t, remoteSpec("busy", server), plugin.Pace{})
	polled := make(chan error)
	go func() {
		_, err := service.NewAsyncAgentServiceClient(remote.Conn()).GetTask(context.Background(), &admin.GetTaskRequest{})
		polled <- err
	}()
	<-held
	remote.Stop(t.Context())
	if err := <-polled; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Errorf("a call in flight: %v", err)
	}
}

func TestTheConfigurationOfARemotePluginMakesItsSpec(t *testing.T) {
	configured := config.DefaultPlugin()
	configured.Address = []string{"agents.example.com:8000"}
	configured.TLSCA, configured.TLSCert, configured.TLSKey, configured.TLSServerName = "/ca", "/cert", "/key", "agents"
	got := plugin.SpecOf("elsewhere", configured)
	want := plugin.RemoteTLS{CA: "/ca", Cert: "/cert", Key: "/key", ServerName: "agents"}
	if !got.Remote() || !got.TLS || got.RemoteTLS != want || !cmp.Equal(got.Address, configured.Address) {
		t.Errorf("got %+v", got)
	}
	if plugin.SpecOf("local", config.DefaultPlugin()).Remote() {
		t.Error("a plugin without an address is remote")
	}
	for name, change := range map[string]func(*plugin.Spec){
		"address":     func(s *plugin.Spec) { s.Address = []string{"other.example.com:8000"} },
		"ca":          func(s *plugin.Spec) { s.RemoteTLS.CA = "" },
		"server name": func(s *plugin.Spec) { s.RemoteTLS.ServerName = "" },
	} {
		changed := got
		change(&changed)
		if changed.Hash() == got.Hash() {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// wantAnswersFrom polls until each of the servers has answered.
func wantAnswersFrom(t *testing.T, remote *plugin.Remote, addresses ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, address := range addresses {
		missing[address] = true
	}
	wait.Until(t, strings.Join(addresses, " and ")+" have answered", func() bool {
		if from, err := poll(t, remote); err == nil {
			delete(missing, from)
		}
		return len(missing) == 0
	})
}

func awaitRemote(t *testing.T, remote *plugin.Remote) {
	t.Helper()
	select {
	case <-remote.Done():
	case <-time.After(maxWait):
		t.Fatal("it lives on")
	}
}
