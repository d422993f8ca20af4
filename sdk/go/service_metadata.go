package agent

import (
	"context"
	"runtime"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Version is the SDK's version, which Describe tells the host.
const Version = "0.1.0"

// metadataService is flyteidl.service.AgentMetadataService.
type metadataService struct{ server *Server }

var _ service.AgentMetadataServiceServer = metadataService{}

func (s metadataService) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: s.server.registry.agents()}, nil
}

func (s metadataService) GetAgent(_ context.Context, request *admin.GetAgentRequest) (*admin.GetAgentResponse, error) {
	for _, listed := range s.server.registry.agents() {
		if listed.GetName() == request.GetName() {
			return &admin.GetAgentResponse{Agent: listed}, nil
		}
	}
	return nil, NotFound("plugin %s has no agent %q", s.server.plugin.Name, request.GetName())
}

// pluginService is agenthost.plugin.v1.PluginService.
type pluginService struct {
	pluginv1.UnimplementedPluginServiceServer
	server *Server
}

func (s pluginService) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	plugin, single := s.server.promises()
	return &pluginv1.DescribeResponse{
		Name:                 s.server.plugin.Name,
		Version:              s.server.plugin.Version,
		Sdk:                  &pluginv1.Sdk{Name: "agenthost-go", Version: Version, Language: runtime.Version()},
		Capabilities:         plugin,
		CategoryCapabilities: single,
		ConfigSchema:         s.server.configuration.schemaText(),
	}, nil
}

func (s pluginService) Configure(ctx context.Context, request *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	response := &pluginv1.ConfigureResponse{}
	errs, err := s.server.configure(ctx, request.GetConfig())
	for _, e := range errs {
		response.Errors = append(response.Errors, &pluginv1.ConfigError{Key: e.Key, Message: e.Message})
	}
	return response, err
}

func (s pluginService) Metrics(context.Context, *pluginv1.MetricsRequest) (*pluginv1.MetricsResponse, error) {
	if s.server.metrics == nil {
		return nil, status.Error(codes.Unimplemented, "the plugin has no metrics of its own")
	}
	response := &pluginv1.MetricsResponse{}
	err := guard(&registration{name: s.server.plugin.Name}, Category{}, "Metrics", func() (err error) {
		response.Text, err = s.server.metrics()
		return err
	})
	return response, err
}
