// Package agentclient makes Flyte's calls on agents, as either generation of Flyte does, of the host or straight of a plugin.
package agentclient

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/flyteidl2"
)

// Flyte is a generation of Flyte. Their messages are the same on the wire, so v1's types serve for both; their services
// have different names, and Flyte 2 has no sync agents.
type Flyte int

// The generations.
const (
	Flyte1 Flyte = 1
	Flyte2 Flyte = 2
)

// Client makes the calls of one generation on one connection. Plugins are called as Flyte 1 calls.
type Client struct {
	Conn  grpc.ClientConnInterface
	Flyte Flyte
}

// Job is what names a job in every call on it.
type Job struct {
	Category *admin.TaskCategory
	Meta     []byte
	// CategoryOnly leaves out the deprecated task_type, as Flyte 2 always does.
	CategoryOnly bool
	// OutputPrefix is sent with Get, Connection with Get and Delete, where they are set.
	OutputPrefix string
	Connection   *Connection
}

// List returns the agents.
func (c Client) List(ctx context.Context) ([]*admin.Agent, error) {
	method := service.AgentMetadataService_ListAgents_FullMethodName
	if c.Flyte == Flyte2 {
		method = flyteidl2.MethodListConnectors
	}
	var answer admin.ListAgentsResponse
	err := c.Conn.Invoke(ctx, method, &admin.ListAgentsRequest{}, &answer)
	return answer.GetAgents(), err
}

// Create starts a job, and returns its resource_meta.
func (c Client) Create(ctx context.Context, request *admin.CreateTaskRequest) ([]byte, error) {
	var answer admin.CreateTaskResponse
	err := c.Conn.Invoke(ctx, c.named(service.AsyncAgentService_CreateTask_FullMethodName, flyteidl2.MethodCreateTask), request, &answer)
	return answer.GetResourceMeta(), err
}

// Get asks how a job is.
func (c Client) Get(ctx context.Context, job Job) (*admin.Resource, error) {
	var answer admin.GetTaskResponse
	err := c.Conn.Invoke(ctx, c.named(service.AsyncAgentService_GetTask_FullMethodName, flyteidl2.MethodGetTask), c.GetRequest(job), &answer)
	return answer.GetResource(), err
}

// GetRequest is what Get sends.
func (c Client) GetRequest(job Job) *admin.GetTaskRequest {
	request := &admin.GetTaskRequest{TaskType: c.taskType(job), TaskCategory: job.Category, ResourceMeta: job.Meta}
	addOutputPrefix(request, job.OutputPrefix)
	job.Connection.AddTo(request)
	return request
}

// Delete ends a job.
func (c Client) Delete(ctx context.Context, job Job) error {
	request := &admin.DeleteTaskRequest{TaskType: c.taskType(job), TaskCategory: job.Category, ResourceMeta: job.Meta}
	job.Connection.AddTo(request)
	return c.Conn.Invoke(ctx, c.named(service.AsyncAgentService_DeleteTask_FullMethodName, flyteidl2.MethodDeleteTask), request, &admin.DeleteTaskResponse{})
}

// Logs reads a job's log, from a token on if there is one, and lines at a time if that is not 0. It ends where the agent
// has no more now, with an error, or with the loop over it.
func (c Client) Logs(ctx context.Context, job Job, lines uint64, token string) iter.Seq2[*admin.GetTaskLogsResponse, error] {
	request := &admin.GetTaskLogsRequest{TaskType: c.taskType(job), TaskCategory: job.Category, ResourceMeta: job.Meta, Lines: lines, Token: token}
	method := c.named(service.AsyncAgentService_GetTaskLogs_FullMethodName, flyteidl2.MethodGetTaskLogs)
	return stream[admin.GetTaskLogsResponse](ctx, c.Conn, &grpc.StreamDesc{ServerStreams: true}, method, request)
}

// Sync makes the one call of a sync agent for a task as Create takes it, and gives all that is answered: a header, and
// perhaps outputs of their own, of which FlytePropeller reads the header alone.
func (c Client) Sync(ctx context.Context, task *admin.CreateTaskRequest) iter.Seq2[*admin.ExecuteTaskSyncResponse, error] {
	header := &admin.CreateRequestHeader{
		Template: task.GetTemplate(), OutputPrefix: task.GetOutputPrefix(), TaskExecutionMetadata: task.GetTaskExecutionMetadata(),
	}
	header.ProtoReflect().SetUnknown(task.ProtoReflect().GetUnknown()) // a connection has the same number in both
	return stream[admin.ExecuteTaskSyncResponse](ctx, c.Conn, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		service.SyncAgentService_ExecuteTaskSync_FullMethodName,
		&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}},
		&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: task.GetInputs()}})
}

func (c Client) named(flyte1, flyte2 string) string {
	if c.Flyte == Flyte2 {
		return flyte2
	}
	return flyte1
}

func (c Client) taskType(job Job) string {
	if c.Flyte == Flyte2 || job.CategoryOnly {
		return ""
	}
	return job.Category.GetName()
}

// stream sends requests and gives what is answered. It makes the call when it is ranged over, and cancels it when the loop
// is left.
func stream[T any, M interface {
	*T
	proto.Message
}](ctx context.Context, conn grpc.ClientConnInterface, desc *grpc.StreamDesc, method string, requests ...proto.Message) iter.Seq2[M, error] {
	return func(yield func(M, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := conn.NewStream(ctx, desc, method)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, request := range requests {
			if err := stream.SendMsg(request); errors.Is(err, io.EOF) {
				break // the call is over: RecvMsg says why
			} else if err != nil {
				yield(nil, err)
				return
			}
		}
		if err := stream.CloseSend(); err != nil {
			yield(nil, err)
			return
		}
		for {
			part := M(new(T))
			if err := stream.RecvMsg(part); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				yield(nil, err)
				return
			}
			if !yield(part, nil) {
				return
			}
		}
	}
}
