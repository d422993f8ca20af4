package agent

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// stopGrace is how long a plugin takes at most, from being asked to stop, for its calls in flight and its agents' Close.
	stopGrace = 5 * time.Second
	// answerGrace is how long it then takes at most for the last answers to leave.
	answerGrace = time.Second
)

// ending is the orderly end of a plugin process. go-plugin by itself answers Shutdown by cutting every connection, that of
// the Shutdown call and those with answers under way included.
type ending struct {
	server *Server
	once   sync.Once
	// begun is closed when the agents are closed: streams that live as long as the process end then.
	begun chan struct{}
	// over is closed when the process has to end, whatever still runs.
	over chan struct{}
	// made is closed when grpc is set.
	made chan struct{}
	grpc *grpc.Server
}

func newEnding(server *Server) *ending {
	return &ending{server: server, begun: make(chan struct{}), over: make(chan struct{}), made: make(chan struct{})}
}

// of tells the ending which gRPC server it ends.
func (e *ending) of(made *grpc.Server) *grpc.Server {
	e.grpc = made
	close(e.made)
	return made
}

// onShutdown takes the place of go-plugin's answer to Shutdown.
func (e *ending) onShutdown(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if info.FullMethod != "/plugin.GRPCController/Shutdown" {
		return handler(ctx, request)
	}
	e.end(ctx)
	return &emptypb.Empty{}, nil
}

// onTerminate does on SIGTERM what Shutdown does.
func (e *ending) onTerminate() {
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	<-terminate
	<-e.made
	e.end(context.Background())
}

// end closes the server, within the grace or within four fifths of the caller's patience if that is less, so that the answer
// still reaches it, and lets the process end behind it.
func (e *ending) end(ctx context.Context) {
	e.once.Do(func() {
		grace := stopGrace
		if deadline, bounded := ctx.Deadline(); bounded {
			grace = min(grace, time.Until(deadline)*4/5)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := e.server.Close(ctx); err != nil {
			slog.Error("the plugin did not stop cleanly", "error", err)
		}
		close(e.begun)
		// Serve returns, and main with it, once the gRPC server has stopped. A call that never ends would hold that up for
		// ever, and Stop too: it waits for the lock with which GracefulStop waits for the call.
		go e.grpc.GracefulStop()
		time.AfterFunc(answerGrace, func() { close(e.over) })
	})
}

// withStreams ends the streams that go-plugin and health checks keep open, which GracefulStop would wait for.
func (e *ending) withStreams(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !strings.HasPrefix(info.FullMethod, "/plugin.") && !strings.HasPrefix(info.FullMethod, "/grpc.") {
		return handler(server, stream)
	}
	done := make(chan error, 1)
	go func() { done <- handler(server, stream) }()
	select {
	case err := <-done:
		return err
	case <-e.begun:
		return nil
	}
}
