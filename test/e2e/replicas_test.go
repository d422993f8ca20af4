package e2e_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/test/hosttest"
)

// Replicas need nothing from each other: whatever one has made, another polls and deletes, after a restart and after the
// generation that made it is gone, too.
func TestReplicasAreEquivalent(t *testing.T) {
	for _, pin := range []string{"never", "always"} {
		t.Run("pin "+pin, func(t *testing.T) {
			plugins := func(version string) map[string]any {
				hello := hosttest.Plugin("hello")
				hello["pin"], hello["env"] = pin, map[string]any{"VERSION": version}
				return map[string]any{"hello": hello}
			}
			one := hosttest.Start(t, map[string]any{"plugins": plugins("1")})
			other := hosttest.Start(t, map[string]any{"plugins": plugins("1")})
			maker := dial(t, one.Endpoint())
			var metas [][]byte
			for i := range 10 {
				metas = append(metas, createHello(t, maker, fmt.Sprint("Ada ", i)))
			}
			check := func(h *hosttest.Host) {
				t.Helper()
				client := dial(t, h.Endpoint())
				for i, meta := range metas {
					wantGreeting(t, client, meta, fmt.Sprint("Hello, Ada ", i))
				}
			}
			check(one)
			check(other)
			one.Kill(t)
			one.Restart(t)
			check(one)
			other.Reload(t, plugins("2")) // one replica is always first
			check(other)
			one.Reload(t, plugins("2"))
			check(one)
			client := dial(t, other.Endpoint())
			for range 2 { // twice is fine
				for _, meta := range metas {
					ctx, cancel := context.WithTimeout(t.Context(), maxWait)
					if _, err := client.DeleteTask(ctx, &admin.DeleteTaskRequest{TaskCategory: hello, ResourceMeta: meta}); err != nil {
						t.Errorf("%q: %v", meta, err)
					}
					cancel()
				}
			}
		})
	}
}

var hello = &admin.TaskCategory{Name: "hello"}

func dial(t *testing.T, endpoint string) service.AsyncAgentServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return service.NewAsyncAgentServiceClient(conn)
}

// createHello begins a job of the hello agent, and gives its name.
func createHello(t *testing.T, client service.AsyncAgentServiceClient, name string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	created, err := client.CreateTask(ctx, helloTask(name))
	if err != nil {
		t.Fatal(err)
	}
	return created.GetResourceMeta()
}

func helloTask(name string) *admin.CreateTaskRequest {
	return &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: "hello"},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: name}}}}}}}},
	}
}

// wantGreeting polls a job of the hello agent.
func wantGreeting(t *testing.T, client service.AsyncAgentServiceClient, meta []byte, greeting string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	got, err := client.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: hello, ResourceMeta: meta})
	said := got.GetResource().GetOutputs().GetLiterals()["greeting"].GetScalar().GetPrimitive().GetStringValue()
	if err != nil || said != greeting {
		t.Errorf("%q is %v, %v; want %q", meta, got.GetResource(), err, greeting)
	}
}
