package agentclient_test

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/agenthost/agenthost/proto/agentclient"
	"github.com/agenthost/agenthost/proto/flyteidl2"
)

// server answers whatever method is called with what answer gives, after it has read all that is sent.
func server(t *testing.T, answer func(method string, requests [][]byte) ([]proto.Message, error)) grpc.ClientConnInterface {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	s := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		var requests [][]byte
		for {
			var request []byte
			if stream.RecvMsg(&request) != nil {
				break
			}
			requests = append(requests, request)
		}
		answers, err := answer(method, requests)
		for _, a := range answers {
			if err := stream.SendMsg(a); err != nil {
				return err
			}
		}
		return err
	}))
	go func() { _ = s.Serve(listener) }() // ends with Stop
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// raw reads bytes and writes messages.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return proto.Marshal(v.(proto.Message)) }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

var job = agentclient.Job{
	Category: &admin.TaskCategory{Name: "spark", Version: 2}, Meta: []byte("job 1"), OutputPrefix: "s3://bucket/1",
	Connection: &agentclient.Connection{TaskType: "spark", Secrets: map[string]string{"token": "t"}, Configs: map[string]string{"a": "1", "b": "2"}},
}

// calls makes every call that both generations have.
func calls(ctx context.Context, c agentclient.Client) error {
	create := &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "spark"}}
	job.Connection.AddTo(create)
	_, err := c.Create(ctx, create)
	if err == nil {
		_, err = c.List(ctx)
	}
	if err == nil {
		_, err = c.Get(ctx, job)
	}
	if err == nil {
		err = c.Delete(ctx, job)
	}
	for _, logs := range c.Logs(ctx, job, 3, "page 2") {
		if err == nil {
			err = logs
		}
	}
	return err
}

func TestBothGenerationsAreCalledByMethodsTheyHaveAndInTheirOwnWords(t *testing.T) {
	for flyte, files := range map[agentclient.Flyte]*protoregistry.Files{
		agentclient.Flyte1: protoregistry.GlobalFiles, agentclient.Flyte2: flyteidl2.Files(),
	} {
		t.Run(fmt.Sprint("Flyte ", flyte), func(t *testing.T) {
			var called []string
			conn := server(t, func(method string, requests [][]byte) ([]proto.Message, error) {
				called = append(called, path.Base(method))
				name := protoreflect.FullName(path.Base(path.Dir(method)))
				service, err := files.FindDescriptorByName(name)
				if err != nil {
					return nil, err
				}
				described := service.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(path.Base(method)))
				if described == nil {
					return nil, fmt.Errorf("there is no %s", method)
				}
				request := dynamicpb.NewMessage(described.Input())
				if err := proto.Unmarshal(requests[0], request); err != nil {
					return nil, err
				}
				if unknown := request.GetUnknown(); flyte == agentclient.Flyte2 && len(unknown) > 0 {
					t.Errorf("%s has unknown fields %x", method, unknown)
				}
				if field := described.Input().Fields().ByName("task_type"); field != nil && field.Number() == 1 {
					if text := request.Get(field).String(); flyte == agentclient.Flyte1 && text != "spark" {
						t.Errorf("%s has task_type %q", method, text)
					}
				}
				if field := described.Input().Fields().ByName("output_prefix"); field != nil && path.Base(method) == "GetTask" {
					if prefix := request.Get(field).String(); prefix != job.OutputPrefix {
						t.Errorf("%s has output_prefix %q", method, prefix)
					}
				}
				if field := described.Input().Fields().ByName("connection"); field != nil {
					connection := request.Get(field).Message()
					entries := connection.Descriptor().Fields()
					taskType := connection.Get(entries.ByName("task_type")).String()
					token := connection.Get(entries.ByName("secrets")).Map().Get(protoreflect.ValueOfString("token").MapKey()).String()
					configs := connection.Get(entries.ByName("configs")).Map().Len()
					if taskType != "spark" || token != "t" || configs != 2 {
						t.Errorf("%s has connection %v", method, connection)
					}
				}
				return []proto.Message{&admin.DeleteTaskResponse{}}, nil
			})
			if err := calls(t.Context(), agentclient.Client{Conn: conn, Flyte: flyte}); err != nil {
				t.Fatal(err)
			}
			if len(called) != 5 {
				t.Errorf("it was called by %v", called)
			}
		})
	}
}

func TestASyncCallGivesAllThatIsAnsweredAndThenTheError(t *testing.T) {
	task := &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: "query"}, OutputPrefix: "s3://bucket/1",
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"n": {Hash: "1"}}},
	}
	var sent []*admin.ExecuteTaskSyncRequest
	conn := server(t, func(_ string, requests [][]byte) ([]proto.Message, error) {
		for _, request := range requests {
			part := &admin.ExecuteTaskSyncRequest{}
			if err := proto.Unmarshal(request, part); err != nil {
				return nil, err
			}
			sent = append(sent, part)
		}
		return []proto.Message{
			&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{Header: &admin.ExecuteTaskSyncResponseHeader{}}},
			&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Outputs{Outputs: task.GetInputs()}},
		}, status.Error(codes.Aborted, "no more")
	})
	var got []string
	for part, err := range (agentclient.Client{Conn: conn}).Sync(t.Context(), task) {
		switch {
		case err != nil:
			got = append(got, status.Code(err).String())
		case part.GetHeader() != nil:
			got = append(got, "header")
		case proto.Equal(part.GetOutputs(), task.GetInputs()):
			got = append(got, "outputs")
		}
	}
	if want := []string{"header", "outputs", "Aborted"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(sent) != 2 || sent[0].GetHeader().GetTemplate().GetType() != "query" || sent[0].GetHeader().GetOutputPrefix() != task.GetOutputPrefix() ||
		!proto.Equal(sent[1].GetInputs(), task.GetInputs()) {
		t.Errorf("sent %v", sent)
	}
}
