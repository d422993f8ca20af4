package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// certificate makes one for 127.0.0.1, and gives the file by which it is known.
func certificate(t *testing.T) (own credentials.TransportCredentials, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agents"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13}), file
}
