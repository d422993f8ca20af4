package e2e_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// system is an outside system that runs jobs until it is told to finish them.
type system struct {
	finish  atomic.Bool
	mu      sync.Mutex
	made    int
	deleted map[string]bool
}

func (s *system) jobs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made
}

// gone is how many jobs have been deleted.
func (s *system) gone() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.deleted)
}

// agentServer is an agent server somewhere in the network, as a flytekit connector deployment is one: a program that
// knows nothing of the host. It makes no promise of idempotent creations.
type agentServer struct {
	service.UnimplementedAsyncAgentServiceServer
	service.UnimplementedAgentMetadataServiceServer

	system  *system
	tls     credentials.TransportCredentials
	address string
	server  *grpc.Server
}

// start starts it, or starts it again at its address.
func (a *agentServer) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	a.address = listener.Addr().String()
	server := grpc.NewServer(grpc.Creds(a.tls))
	service.RegisterAsyncAgentServiceServer(server, a)
	service.RegisterAgentMetadataServiceServer(server, a)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	a.server = server
	t.Cleanup(func() { server.Stop(); <-served })
}

func (a *agentServer) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: []*admin.Agent{{Name: "remote", SupportedTaskCategories: []*admin.TaskCategory{{Name: "remote"}}}}}, nil
}

func (a *agentServer) CreateTask(context.Context, *admin.CreateTaskRequest) (*admin.CreateTaskResponse, error) {
	a.system.mu.Lock()
	defer a.system.mu.Unlock()
	a.system.made++
	return &admin.CreateTaskResponse{ResourceMeta: fmt.Appendf(nil, `{"job": %d}`, a.system.made)}, nil
}

func (a *agentServer) GetTask(_ context.Context, request *admin.GetTaskRequest) (*admin.GetTaskResponse, error) {
	phase := core.TaskExecution_RUNNING
	if a.system.finish.Load() {
		phase = core.TaskExecution_SUCCEEDED
	}
	return &admin.GetTaskResponse{Resource: &admin.Resource{Phase: phase, Message: string(request.GetResourceMeta())}}, nil
}

func (a *agentServer) DeleteTask(_ context.Context, request *admin.DeleteTaskRequest) (*admin.DeleteTaskResponse, error) {
	a.system.mu.Lock()
	defer a.system.mu.Unlock()
	if len(request.GetResourceMeta()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no job is named")
	}
	a.system.deleted[string(request.GetResourceMeta())] = true
	return &admin.DeleteTaskResponse{}, nil
}
