package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
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
	}
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

// Close waits until the calls in flight have ended, refusing new ones, and then closes the agents, each once. What has
// not ended when ctx does is left behind.
func (s *Server) Close(ctx context.Context) error {
	s.calls.drain(ctx)
	var failures []error
	for _, c := range slices.Backward(s.closers) {
		if err := c.close(ctx); err != nil {
			failures = append(failures, fmt.Errorf("closing %s: %w", c.name, err))
		}
	}
	s.closers = nil
	return errors.Join(failures...)
}

// Register adds the services to a gRPC server that was made with ServerOptions.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {}

func (s *Server) addAgentCloser(name string, c Closer) {}

func (s *Server) setConfiguration(c *configuration) error { return nil }
