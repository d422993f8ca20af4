package agenttest

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	agent "github.com/agenthost/agenthost/sdk/go"
)

// maxWait bounds what the package itself does: starting, stopping, configuring.
const maxWait = 30 * time.Second

// Run serves agents in process, over a gRPC connection in memory, until the test ends. The options are those of
// agent.Serve.
func Run(t testing.TB, options ...agent.Option) *Client {
	t.Helper()
	return RunPlugin(t, agent.Plugin{Name: "test", Version: "0"}, options...)
}

// RunPlugin is Run for a plugin whose name matters.
func RunPlugin(t testing.TB, plugin agent.Plugin, options ...agent.Option) *Client {
	t.Helper()
	server, err := agent.NewServer(plugin, options...)
	if err != nil {
		t.Fatalf("agenttest: %v", err)
	}
	listener := bufconn.Listen(1 << 20)
	grpcServer := grpc.NewServer(append(server.ServerOptions(), grpc.WaitForHandlers(true))...)
	server.Register(grpcServer)
	ended := make(chan error, 1)
	go func() {
		err := grpcServer.Serve(listener)
		if errors.Is(err, grpc.ErrServerStopped) { // Stopped before it began.
			err = nil
		}
		ended <- err
	}()
	conn, err := grpc.NewClient("passthrough:plugin",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), callOptions())
	if err != nil {
		t.Fatalf("agenttest: %v", err)
	}
	return newClient(t, conn, func(ctx context.Context) error {
		err := server.Close(ctx)
		if err == nil {
			grpcServer.GracefulStop()
		}
		conn.Close()
		grpcServer.Stop()
		return errors.Join(err, <-ended)
	})
}
