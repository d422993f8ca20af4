package agenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

// Task is a task to run, in Go values. Only Type is needed.
type Task struct {
	// Type and Version are the task category.
	Type    string
	Version int32
	// Inputs are encoded as InputTypes says, or as is natural.
	Inputs map[string]any
	// InputTypes and OutputTypes make the task's interface.
	InputTypes, OutputTypes agent.OutputTypes
	// Custom becomes the template's custom part: a map, or a struct with json tags.
	Custom any
	// Config is the template's config.
	Config map[string]string
	// SQL becomes the template's sql.statement.
	SQL string
	// OutputPrefix defaults to a temporary folder of the test, as a plain path: the same for the same ExecutionID, so that two
	// calls with one are calls for one attempt.
	OutputPrefix string
	// ExecutionID defaults to one that is new for every call.
	ExecutionID *core.TaskExecutionIdentifier
	// IdempotencyKey is what the host would send; when it is empty the plugin derives it from the execution id.
	IdempotencyKey string
	// Connection is what Flyte 2 sends.
	Connection *Connection
	// Change is called last, for whatever is missing above.
	Change func(request *admin.CreateTaskRequest)
}

// Connection is what Flyte 2 sends with a call, in clear.
type Connection = agentclient.Connection

func (c *Client) createRequest(task Task) (*admin.CreateTaskRequest, error) {
	inputs, err := literal.EncodeMap(task.Inputs, task.InputTypes)
	if err != nil {
		return nil, fmt.Errorf("input %w", err)
	}
	template := &core.TaskTemplate{
		Type: task.Type, TaskTypeVersion: task.Version, Config: task.Config,
		Id:        &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "test", Domain: "development", Name: c.t.Name(), Version: "1"},
		Interface: &core.TypedInterface{Inputs: variables(task.InputTypes), Outputs: variables(task.OutputTypes)},
	}
	if task.SQL != "" {
		template.Target = &core.TaskTemplate_Sql{Sql: &core.Sql{Statement: task.SQL}}
	}
	if template.Custom, err = customOf(task.Custom); err != nil {
		return nil, fmt.Errorf("the custom part: %w", err)
	}
	id := task.ExecutionID
	if id == nil {
		id = c.newExecutionID(template.GetId())
	}
	request := &admin.CreateTaskRequest{
		Inputs: inputs, Template: template, OutputPrefix: task.OutputPrefix,
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: id, Namespace: "test-development"},
	}
	if request.OutputPrefix == "" {
		request.OutputPrefix = outputFolder(c.t, task.ExecutionID)
	}
	task.Connection.AddTo(request)
	if task.Change != nil {
		task.Change(request)
	}
	return request, nil
}

// outputFolders has the folders of attempts by test and execution id. A test may run one plugin after the other.
var outputFolders sync.Map

func outputFolder(t testing.TB, id *core.TaskExecutionIdentifier) string {
	type attempt struct {
		t  testing.TB
		id string
	}
	of := attempt{t, pluginv1.IdempotencyKey(id, "")}
	if of.id == "" {
		return t.TempDir()
	}
	made, loaded := outputFolders.LoadOrStore(of, sync.OnceValue(t.TempDir))
	if !loaded {
		t.Cleanup(func() { outputFolders.Delete(of) })
	}
	return made.(func() string)()
}

func (c *Client) newExecutionID(task *core.Identifier) *core.TaskExecutionIdentifier {
	return &core.TaskExecutionIdentifier{
		TaskId: task,
		NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId: "n0",
			ExecutionId: &core.WorkflowExecutionIdentifier{
				Project: "test", Domain: "development", Name: "f" + strconv.FormatInt(c.attempts.Add(1), 10),
			},
		},
	}
}

func withKey(ctx context.Context, task Task) context.Context {
	if task.IdempotencyKey == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, pluginv1.IdempotencyKeyHeader, task.IdempotencyKey)
}

func variables(types agent.OutputTypes) *core.VariableMap {
	made := &core.VariableMap{Variables: map[string]*core.Variable{}}
	for name, t := range types {
		made.Variables[name] = &core.Variable{Type: t}
	}
	return made
}

func customOf(value any) (*structpb.Struct, error) {
	if value == nil {
		return nil, nil
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	custom := &structpb.Struct{}
	return custom, custom.UnmarshalJSON(data)
}
