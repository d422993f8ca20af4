package plugin_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/agenthost/agenthost/host/plugin"
)

// agentServer is an agent server that runs elsewhere, as far as a host can tell: a gRPC server on a TCP port of its own.
type agentServer struct {
	service.UnimplementedAsyncAgentServiceServer
	service.UnimplementedAgentMetadataServiceServer

	t       *testing.T
	options []grpc.ServerOption
	noList  bool
	health  *health.Server // nil: it has none
	agents  atomic.Pointer[[]*admin.Agent]
	list    func(context.Context) error // before ListAgents answers
	get     func(context.Context) error // before GetTask answers
	calls   atomic.Int64                // GetTask calls
	clients sync.Map                    // remote addresses of those

	address string
	server  *grpc.Server
}

// newAgentServer makes a server that is started by start.
func newAgentServer(t *testing.T) *agentServer {
	s := &agentServer{t: t, options: []grpc.ServerOption{grpc.MaxRecvMsgSize(1 << 30)}, health: health.NewServer(), address: "127.0.0.1:0"}
	s.agents.Store(&[]*admin.Agent{agentNamed("query", "sql")})
	return s
}

// startAgentServer starts one.
func startAgentServer(t *testing.T) *agentServer {
	t.Helper()
	s := newAgentServer(t)
	s.start()
	return s
}

func agentNamed(name string, categories ...string) *admin.Agent {
	agent := &admin.Agent{Name: name}
	for _, category := range categories {
		agent.SupportedTaskCategories = append(agent.SupportedTaskCategories, &admin.TaskCategory{Name: category})
	}
	return agent
}

// start starts it, or starts it again at the same address.
func (s *agentServer) start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := grpc.NewServer(s.options...)
	service.RegisterAsyncAgentServiceServer(server, s)
	if !s.noList {
		service.RegisterAgentMetadataServiceServer(server, s)
	}
	if s.health != nil {
		healthpb.RegisterHealthServer(server, s.health)
	}
	s.server = server
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			s.t.Error(err)
		}
	})
	s.t.Cleanup(func() {
		server.Stop()
		served.Wait()
	})
}

// die ends it as a machine that loses power would, except that its kernel says so.
func (s *agentServer) die() { s.server.Stop() }

func (s *agentServer) ListAgents(ctx context.Context, _ *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	if s.list != nil {
		if err := s.list(ctx); err != nil {
			return nil, err
		}
	}
	return &admin.ListAgentsResponse{Agents: *s.agents.Load()}, nil
}

func (s *agentServer) CreateTask(_ context.Context, request *admin.CreateTaskRequest) (*admin.CreateTaskResponse, error) {
	return &admin.CreateTaskResponse{ResourceMeta: []byte(request.GetOutputPrefix())}, nil
}

func (s *agentServer) GetTask(ctx context.Context, request *admin.GetTaskRequest) (*admin.GetTaskResponse, error) {
	s.calls.Add(1)
	if from, ok := peer.FromContext(ctx); ok {
		s.clients.Store(from.Addr.String(), true)
	}
	if s.get != nil {
		if err := s.get(ctx); err != nil {
			return nil, err
		}
	}
	return &admin.GetTaskResponse{Resource: &admin.Resource{Message: s.address}}, nil
}

func remoteSpec(name string, servers ...*agentServer) plugin.Spec {
	spec := plugin.Spec{Name: name, StartTimeout: maxWait}
	for _, s := range servers {
		spec.Address = append(spec.Address, s.address)
	}
	return spec
}

// quick is a pace for tests.
var quick = plugin.Pace{Health: 10 * time.Millisecond, List: 20 * time.Millisecond}

// connectTo connects to a remote plugin that must be there, and stops it at the end of the test.
func connectTo(t *testing.T, spec plugin.Spec, pace plugin.Pace) *plugin.Remote {
	t.Helper()
	book := &logBook{}
	remote, err := plugin.ConnectAt(context.Background(), spec, remoteEnvironment(book), pace)
	if err != nil {
		t.Fatalf("%v\nlog:\n%s", err, book)
	}
	t.Cleanup(func() {
		remote.Stop(context.Background())
		if t.Failed() {
			t.Logf("log:\n%s", book)
		}
	})
	return remote
}

func remoteEnvironment(book *logBook) plugin.Environment {
	return plugin.Environment{Log: slog.New(slog.NewJSONHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// wantNoConnection checks that Connect fails at a step, with all the given parts in its error.
func wantNoConnection(t *testing.T, spec plugin.Spec, step string, parts ...string) {
	t.Helper()
	began := time.Now()
	remote, err := plugin.Connect(t.Context(), spec, plugin.Environment{})
	if err == nil {
		remote.Stop(context.Background())
		t.Fatal("it connected")
	}
	t.Logf("%v (after %v)", err, time.Since(began).Round(time.Millisecond))
	failed := (*plugin.StartError)(nil)
	if !errors.As(err, &failed) {
		t.Fatalf("not a StartError: %v", err)
	}
	if failed.Step != step || failed.Advice == "" {
		t.Errorf("step %s, want %s; advice %q", failed.Step, step, failed.Advice)
	}
	for _, part := range append(parts, "plugin "+spec.Name+": ") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

// poll asks for a job's state, and gives the address of the server that answered.
func poll(t *testing.T, remote *plugin.Remote) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	answer, err := service.NewAsyncAgentServiceClient(remote.Conn()).GetTask(ctx, &admin.GetTaskRequest{})
	return answer.GetResource().GetMessage(), err
}
