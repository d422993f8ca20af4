package agent

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"os"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/chaos/ledger"
)

// syncAgent is a sync agent. It is written with go-plugin and flyteidl alone, as agents were before there was an SDK: that would not
// let it answer in parts, or with a phase that is no end.
type syncAgent struct {
	flags     Flags
	client    ledger.Client
	misbehave *misbehaviour
}

func serveSync(a *syncAgent) {
	os.Stdout = a.misbehave.stdout // which the SDK, being linked, has put away
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion, MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{pluginv1.ProtocolVersion: {"flyte": syncPlugin{agent: a}}},
		Logger:           hclog.New(&hclog.LoggerOptions{Output: a.misbehave.stderr, JSONFormat: true, Level: hclog.Info}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32))...)
		},
	})
}

// syncPlugin is the agent as go-plugin wants it.
type syncPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	agent *syncAgent
}

func (p syncPlugin) GRPCServer(_ *plugin.GRPCBroker, registrar *grpc.Server) error {
	service.RegisterSyncAgentServiceServer(registrar, p.agent)
	service.RegisterAgentMetadataServiceServer(registrar, p.agent)
	return nil
}

func (syncPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's side")
}

func (a *syncAgent) listed() *admin.Agent {
	return &admin.Agent{Name: a.flags.Agent, IsSync: true, SupportedTaskCategories: []*admin.TaskCategory{{Name: a.flags.Type}}}
}

// ListAgents names the agent.
func (a *syncAgent) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: []*admin.Agent{a.listed()}}, nil
}

// GetAgent describes it.
func (a *syncAgent) GetAgent(context.Context, *admin.GetAgentRequest) (*admin.GetAgentResponse, error) {
	return &admin.GetAgentResponse{Agent: a.listed()}, nil
}

// ExecuteTaskSync has the ledger do the task, and tells what came out in the shape that the ledger wants.
func (a *syncAgent) ExecuteTaskSync(stream service.SyncAgentService_ExecuteTaskSyncServer) error {
	request, err := receive(stream)
	if err != nil {
		return err
	}
	answer, err := insist(stream.Context(), a.client, ledger.Execute, request)
	a.misbehave.obey(answer.Do)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	for _, message := range shaped(answer) {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
}

func receive(stream service.SyncAgentService_ExecuteTaskSyncServer) (ledger.Request, error) {
	request, inputs := ledger.Request{}, map[string]*core.Literal{}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return request, err
		}
		if header := part.GetHeader(); header != nil {
			id := header.GetTaskExecutionMetadata().GetTaskExecutionId()
			request.Task, request.Attempt = id.GetNodeExecutionId().GetExecutionId().GetName(), int(id.GetRetryAttempt())
		}
		maps.Copy(inputs, part.GetInputs().GetLiterals())
	}
	request.Number = inputs["number"].GetScalar().GetPrimitive().GetInteger()
	request.Text = inputs["text"].GetScalar().GetPrimitive().GetStringValue()
	return request, nil
}

// shaped is an answer of the ledger's as the messages that Flyte gets.
func shaped(answer ledger.Answer) []*admin.ExecuteTaskSyncResponse {
	resource, outputs := syncResource(answer)
	switch answer.Shape {
	case ledger.Parts:
		messages := []*admin.ExecuteTaskSyncResponse{headed(resource)}
		for name, value := range outputs {
			messages = append(messages, &admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Outputs{
				Outputs: &core.LiteralMap{Literals: map[string]*core.Literal{name: value}},
			}})
		}
		return messages
	case ledger.Open:
		resource.Phase = core.TaskExecution_RUNNING
		return []*admin.ExecuteTaskSyncResponse{headed(resource)}
	case ledger.Old:
		resource.State = admin.State_PERMANENT_FAILURE
		if resource.Phase == core.TaskExecution_SUCCEEDED {
			resource.State = admin.State_SUCCEEDED
		}
		resource.Phase = core.TaskExecution_UNDEFINED
	}
	if outputs != nil {
		resource.Outputs = &core.LiteralMap{Literals: outputs}
	}
	if answer.Shape == ledger.Early {
		return []*admin.ExecuteTaskSyncResponse{headed(&admin.Resource{Phase: core.TaskExecution_RUNNING}), headed(resource)}
	}
	return []*admin.ExecuteTaskSyncResponse{headed(resource)}
}

// syncResource is what came out, without outputs, and the outputs. That a failure need not be the end is in the error's kind, which
// Flyte does not read.
func syncResource(answer ledger.Answer) (*admin.Resource, map[string]*core.Literal) {
	switch answer.State {
	case ledger.Succeeded:
		return &admin.Resource{Phase: core.TaskExecution_SUCCEEDED}, map[string]*core.Literal{
			"number": primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: answer.Number}}),
			"text":   primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: answer.Text}}),
		}
	case ledger.Retryable:
		return &admin.Resource{
			Phase: core.TaskExecution_FAILED, Message: answer.Message,
			AgentError: &admin.AgentError{Code: "Busy", Kind: admin.AgentError_RECOVERABLE},
		}, nil
	default:
		return &admin.Resource{Phase: core.TaskExecution_FAILED, Message: answer.Message}, nil
	}
}

func headed(resource *admin.Resource) *admin.ExecuteTaskSyncResponse {
	return &admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{
		Header: &admin.ExecuteTaskSyncResponseHeader{Resource: resource},
	}}
}

func primitive(value *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: value}}}}
}
