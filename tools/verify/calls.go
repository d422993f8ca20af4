package verify

import (
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// caller makes calls on one connection, as the host does.
type caller struct {
	agentclient.Client
}

func callerOn(conn grpc.ClientConnInterface) caller { return caller{agentclient.Client{Conn: conn}} }

func (c caller) create(ctx context.Context, request *admin.CreateTaskRequest) ([]byte, error) {
	return c.Create(withKey(ctx, request), request)
}

// sync makes the one call of a sync agent, and collects all that is answered.
func (c caller) sync(ctx context.Context, request *admin.CreateTaskRequest) ([]*admin.ExecuteTaskSyncResponse, error) {
	var parts []*admin.ExecuteTaskSyncResponse
	for part, err := range c.Sync(withKey(ctx, request), request) {
		if err != nil {
			return parts, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func withKey(ctx context.Context, request *admin.CreateTaskRequest) context.Context {
	key := pluginv1.IdempotencyKey(request.GetTaskExecutionMetadata().GetTaskExecutionId(), request.GetOutputPrefix())
	return metadata.AppendToOutgoingContext(ctx, pluginv1.IdempotencyKeyHeader, key)
}

// health asks for the plugin's health, and is content with any answer: one that is stopping may well be NOT_SERVING.
func (c caller) health(ctx context.Context) error {
	_, err := healthpb.NewHealthClient(c.Conn).Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
	return err
}

// raw sends bytes as they are to a unary method.
func (c caller) raw(ctx context.Context, method string, message []byte) error {
	var answer []byte
	return c.Conn.Invoke(ctx, method, &message, &answer, grpc.ForceCodec(rawCodec{}))
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
