package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Server is a plugin's gRPC services. Serve makes and runs one; agenttest, and programs that serve agents without
// go-plugin, make their own.
type Server struct {
	plugin        Plugin
	registry      registry
	configuration *configuration
	capabilities  []string
	closers       []closer
	calls         *callTracker
	grpc          []grpc.ServerOption
	metrics       func() ([]byte, error)
	// replaced ends, by replace, when the process is being replaced.
	replaced context.Context
	replace  context.CancelCauseFunc

	// drained is closed when no call is under way any more, or when those that are get no more time.
	drained chan struct{}

	// closing holds the agents that closers has already.
	closing   map[Closer]bool
	closeOnce sync.Once
	closeErr  error
}

// closer is something to close, with a name for errors.
type closer struct {
	name  string
	close func(context.Context) error
}

// NewServer makes the services of a plugin. An error says which agents or options contradict each other.
func NewServer(plugin Plugin, options ...Option) (*Server, error) {
	s := &Server{
		plugin:   plugin,
		registry: registry{byName: map[string]map[int32]*registration{}},
		calls:    newCallTracker(),
		closing:  map[Closer]bool{},
		drained:  make(chan struct{}),
	}
	s.replaced, s.replace = context.WithCancelCause(context.Background())
	if plugin.Name == "" {
		return nil, errors.New("agent.Plugin needs a Name")
	}
	for _, option := range options {
		if err := option.apply(s); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", plugin.Name, err)
		}
	}
	if len(s.registry.all) == 0 {
		return nil, fmt.Errorf("plugin %s has no agent: give agent.Async or agent.Sync", plugin.Name)
	}
	return s, nil
}

// Register adds the services to a gRPC server that was made with ServerOptions.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	service.RegisterAsyncAgentServiceServer(registrar, asyncService{s})
	service.RegisterSyncAgentServiceServer(registrar, syncService{s})
	service.RegisterAgentMetadataServiceServer(registrar, metadataService{s})
	pluginv1.RegisterPluginServiceServer(registrar, pluginService{server: s})
	if len(s.grpc) == 0 { // what GRPC adds sees each call by itself
		pluginv1.RegisterCallServiceServer(registrar, callService{server: s})
	}
}

// streamWindow is how much the host may send of one request before it is read, and connWindow of all, in bytes. Of their own accord gRPC's
// servers measure the bandwidth, with a PING for each lone request.
const streamWindow, connWindow = 1 << 20, 4 << 20

// ServerOptions are what the gRPC server needs: no limit on the size of messages, as many pings as the host likes, the
// interceptors by which Close knows of the calls in flight, and those that GRPC added.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.trackUnary),
		grpc.ChainStreamInterceptor(s.trackStream),
	}, s.grpc...)
}

// Close waits until the calls in flight have ended, refusing new ones, and then closes the agents, each once, the last
// registered first. Calls get three quarters of the time that ctx leaves; what has not ended by then is left behind.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() { s.closeErr = s.close(ctx) })
	return s.closeErr
}

func (s *Server) close(ctx context.Context) error {
	s.replace(ErrReplaced)
	waiting := ctx
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, time.Until(deadline)*3/4)
		defer cancel()
	}
	var failures []error
	if left := s.calls.drain(waiting); left > 0 {
		failures = append(failures, fmt.Errorf("plugin %s stops with %d calls in flight", s.plugin.Name, left))
	}
	close(s.drained)
	for _, c := range slices.Backward(s.closers) {
		err := guard(&registration{name: c.name}, Category{}, "Close", func() error { return c.close(ctx) })
		if err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// addAgentCloser remembers an agent to close, once however often it is registered.
func (s *Server) addAgentCloser(name string, agent Closer) {
	if reflect.TypeOf(agent).Comparable() {
		if s.closing[agent] {
			return
		}
		s.closing[agent] = true
	}
	s.closers = append(s.closers, closer{name, agent.Close})
}

func (s *Server) trackUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	end, err := s.track(info.FullMethod)
	if err != nil {
		_ = grpc.SetTrailer(ctx, notTaken) // fails only after the answer is sent
		return nil, err
	}
	defer end()
	return handler(context.WithValue(ctx, serverKey{}, s), request)
}

func (s *Server) trackStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	end, err := s.track(info.FullMethod)
	if err != nil {
		stream.SetTrailer(notTaken)
		return err
	}
	defer end()
	return handler(server, streamOf{stream, s})
}

// streamOf is a stream whose context knows its server.
type streamOf struct {
	grpc.ServerStream
	server *Server
}

func (s streamOf) Context() context.Context {
	return context.WithValue(s.ServerStream.Context(), serverKey{}, s.server)
}

// notTaken tells the host that a call was not begun, so that it can be made again elsewhere.
var notTaken = metadata.Pairs(pluginv1.NotTakenTrailer, "1")

// track counts a call of an agent in. go-plugin's own calls do not count: its log stream lives as long as the plugin.
func (s *Server) track(method string) (end func(), err error) {
	if !strings.HasPrefix(method, "/flyteidl.") {
		return func() {}, nil
	}
	if !s.calls.begin() {
		return nil, Unavailable("plugin %s is stopping", s.plugin.Name)
	}
	return s.calls.end, nil
}
