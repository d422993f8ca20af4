package verify

import (
	"context"
	"errors"
	"io"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// job is what names a job in every call on it.
type job struct {
	category *admin.TaskCategory
	meta     []byte
	// flyte2 says that calls look as Flyte 2's do: without task_type, with a connection.
	flyte2 bool
}

// caller makes calls on one connection.
type caller struct {
	conn *grpc.ClientConn
}

func (c caller) create(ctx context.Context, request *admin.CreateTaskRequest) ([]byte, error) {
	key := pluginv1.IdempotencyKey(request.GetTaskExecutionMetadata().GetTaskExecutionId())
	ctx = metadata.AppendToOutgoingContext(ctx, pluginv1.IdempotencyKeyHeader, key)
	answer, err := service.NewAsyncAgentServiceClient(c.conn).CreateTask(ctx, request)
	return answer.GetResourceMeta(), err
}

func (c caller) get(ctx context.Context, j job) (*admin.Resource, error) {
	request := &admin.GetTaskRequest{TaskCategory: j.category, ResourceMeta: j.meta}
	if j.flyte2 {
		asFlyte2(request)
	} else {
		request.TaskType = j.category.GetName()
	}
	answer, err := service.NewAsyncAgentServiceClient(c.conn).GetTask(ctx, request)
	return answer.GetResource(), err
}

func (c caller) delete(ctx context.Context, j job) error {
	request := &admin.DeleteTaskRequest{TaskCategory: j.category, ResourceMeta: j.meta}
	if j.flyte2 {
		asFlyte2(request)
	} else {
		request.TaskType = j.category.GetName()
	}
	_, err := service.NewAsyncAgentServiceClient(c.conn).DeleteTask(ctx, request)
	return err
}

// connectionField is flyteidl2's Connection in field 5, which Flyte 2 always sends and flyteidl 1 does not know: here with
// nothing in it.
var connectionField = []byte{5<<3 | 2, 0}

func asFlyte2(request proto.Message) { request.ProtoReflect().SetUnknown(connectionField) }

// sync makes the one call of a sync agent, and collects all that is answered.
func (c caller) sync(ctx context.Context, request *admin.CreateTaskRequest) ([]*admin.ExecuteTaskSyncResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	key := pluginv1.IdempotencyKey(request.GetTaskExecutionMetadata().GetTaskExecutionId())
	stream, err := service.NewSyncAgentServiceClient(c.conn).ExecuteTaskSync(metadata.AppendToOutgoingContext(ctx, pluginv1.IdempotencyKeyHeader, key))
	if err != nil {
		return nil, err
	}
	for _, part := range []*admin.ExecuteTaskSyncRequest{
		{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{
			Template: request.GetTemplate(), OutputPrefix: request.GetOutputPrefix(), TaskExecutionMetadata: request.GetTaskExecutionMetadata(),
		}}},
		{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: request.GetInputs()}},
	} {
		if err := stream.Send(part); err != nil {
			break // the call is over: Recv says why
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var parts []*admin.ExecuteTaskSyncResponse
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		parts = append(parts, part)
	}
}

// health asks for the plugin's health, and is content with any answer: one that is stopping may well be NOT_SERVING.
func (c caller) health(ctx context.Context) error {
	_, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
	return err
}

// raw sends bytes as they are to a unary method.
func (c caller) raw(ctx context.Context, method string, message []byte) error {
	var answer []byte
	return c.conn.Invoke(ctx, method, &message, &answer, grpc.ForceCodec(rawCodec{}))
}

// rawCodec passes bytes through. It has the name of the usual codec, which goes into the content type.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

// lost says that an error is not an answer of the plugin's code, but of a connection or server that gave up.
func lost(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return true
	}
	return false
}
