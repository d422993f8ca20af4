package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/test/bench/load"
)

// method is a call that contenders are compared by.
type method struct {
	name, call string
	// prepare makes what the call needs to be there.
	prepare func(context.Context, grpc.ClientConnInterface) (load.Call, error)
}

// methods are those that loads name.
var methods = map[string]method{
	"get":          {"get", "GetTask", prepareGet},
	"get-running":  {"get-running", "GetTask of a job that runs", prepareGetRunning},
	"create":       {"create", "CreateTask", prepareCreate(len("bench"))},
	"create-large": {"create-large", "CreateTask, 256 KiB", prepareCreate(256 * kib)},
	"sync":         {"sync", "ExecuteTaskSync", prepareSync},
}

// The task types of test/bench/plugin, where one of it is enough.
const benchType, syncType = "bench", "bench_sync"

func prepareGet(ctx context.Context, conn grpc.ClientConnInterface) (load.Call, error) {
	return getOf(ctx, conn, attempt{taskType: "hello", name: "bench"})
}

// prepareGetRunning is for jobs of test/bench/plugin. Statuses of jobs that have ended are answered from memory only under names that
// no other job has, and hello's jobs have none.
func prepareGetRunning(ctx context.Context, conn grpc.ClientConnInterface) (load.Call, error) {
	return getOf(ctx, conn, attempt{taskType: benchType, name: "bench"})
}

// getOf makes a job and returns the poll for it.
func getOf(ctx context.Context, conn grpc.ClientConnInterface, of attempt) (load.Call, error) {
	client := service.NewAsyncAgentServiceClient(conn)
	job, err := client.CreateTask(ctx, of.creation())
	if err != nil {
		return nil, err
	}
	request := of.poll(job.GetResourceMeta())
	return func(ctx context.Context) error {
		_, err := client.GetTask(ctx, request)
		return err
	}, nil
}

// prepareCreate returns calls that make a job of another attempt each time, with a name of so many bytes, which comes back as the
// job's resource_meta.
func prepareCreate(size int) func(context.Context, grpc.ClientConnInterface) (load.Call, error) {
	return func(_ context.Context, conn grpc.ClientConnInterface) (load.Call, error) {
		client := service.NewAsyncAgentServiceClient(conn)
		next := attempts("hello", size)
		return func(ctx context.Context) error {
			_, err := client.CreateTask(ctx, next().creation())
			return err
		}, nil
	}
}

func prepareSync(_ context.Context, conn grpc.ClientConnInterface) (load.Call, error) {
	client := service.NewSyncAgentServiceClient(conn)
	next := attempts(syncType, len("bench"))
	return func(ctx context.Context) error {
		stream, err := client.ExecuteTaskSync(ctx)
		if err != nil {
			return err
		}
		creation := next().creation()
		header := &admin.CreateRequestHeader{
			Template: creation.GetTemplate(), OutputPrefix: creation.GetOutputPrefix(), TaskExecutionMetadata: creation.GetTaskExecutionMetadata(),
		}
		// What fails here is told by what is received.
		_ = stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}})
		_ = stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: creation.GetInputs()}})
		_ = stream.CloseSend()
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if resource := answer.GetHeader().GetResource(); resource.GetPhase() != core.TaskExecution_SUCCEEDED {
			return fmt.Errorf("ExecuteTaskSync answered %v", resource)
		}
		return nil
	}, nil
}

// attempt is a try of a task, of an execution of its own.
type attempt struct {
	taskType, name string
	number         int64
}

// attempts gives another one each time.
func attempts(taskType string, size int) func() attempt {
	name := strings.Repeat("b", size)
	var last atomic.Int64
	return func() attempt { return attempt{taskType: taskType, name: name, number: last.Add(1)} }
}

func (a attempt) outputPrefix() string {
	return fmt.Sprintf("s3://bucket/metadata/propeller/p-d-e%d/n0/data/0", a.number)
}

// creation asks for a job.
func (a attempt) creation() *admin.CreateTaskRequest {
	text := &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}}
	inputs := &core.VariableMap{Variables: map[string]*core.Variable{"name": text}}
	outputs := &core.VariableMap{Variables: map[string]*core.Variable{"greeting": text}}
	task := &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "p", Domain: "d", Name: "greet", Version: "1"}
	return &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{
			Id: task, Type: a.taskType, Interface: &core.TypedInterface{Inputs: inputs, Outputs: outputs},
			Metadata: &core.TaskMetadata{Runtime: &core.RuntimeMetadata{Type: core.RuntimeMetadata_FLYTE_SDK, Version: "1.16.0", Flavor: "python"}},
		},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: a.name}}}}}}}},
		OutputPrefix: a.outputPrefix(),
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId: task,
			NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{
				Project: "p", Domain: "d", Name: fmt.Sprint("e", a.number)}},
		}},
	}
}

// poll asks for its job.
func (a attempt) poll(meta []byte) *admin.GetTaskRequest {
	return &admin.GetTaskRequest{TaskType: a.taskType, ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: a.taskType}}
}
