package gateway

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

func textOutput(text string) *core.LiteralMap {
	return &core.LiteralMap{Literals: map[string]*core.Literal{"o": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
		Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: text}}}}}}}}
}

// randomText does not compress well.
func randomText(size int) string {
	text := make([]byte, size)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = byte('0' + source.IntN(64))
	}
	return string(text)
}

// recording lets a front accept tasks.
func (f *front) recording(t *testing.T) {
	t.Helper()
	creation := DefaultCreation()
	creation.OnRecord, creation.Keys = true, testKeys(t)
	f.gateway.SetCreation(creation)
}

// Flyte forgets for a while after one failed discovery which agents are sync.
func TestASyncTaskThatComesAsCreateTaskIsRunOnceAndPolledToItsEnd(t *testing.T) {
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		header, inputs := &admin.ExecuteTaskSyncRequest{}, &admin.ExecuteTaskSyncRequest{}
		if len(call.frames) != 2 || proto.Unmarshal(call.frames[0], header) != nil || proto.Unmarshal(call.frames[1], inputs) != nil {
			return status.Errorf(codes.InvalidArgument, "%d frames", len(call.frames))
		}
		return stream.SendMsg(frameOf(syncHeaderOf(&admin.Resource{
			Phase: core.TaskExecution_SUCCEEDED, Outputs: textOutput(header.GetHeader().GetOutputPrefix() + " " +
				header.GetHeader().GetTemplate().GetType() + " " + inputs.GetInputs().GetLiterals()["o"].GetScalar().GetPrimitive().GetStringValue()),
		})))
	})
	f := startClaims(t, nil, agent.claims(route.Policy{}, syncAgent("x")))
	request := attempt("x", 0)
	request.Inputs = textOutput("input")
	if _, err := f.call(soon(t), async1+"CreateTask", request); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("without records: %v", err)
	}
	f.recording(t)
	meta := f.create(t, request)
	for range 2 {
		f.create(t, request)
		got, err := f.poll(soon(t), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}})
		if err != nil || got.GetPhase() != core.TaskExecution_SUCCEEDED || got.GetOutputs().GetLiterals()["o"].GetScalar().GetPrimitive().GetStringValue() != "s3://bucket/e/n0/0 x input" {
			t.Errorf("polled: %v, %v", got, err)
		}
	}
	if n := agent.calls("ExecuteTaskSync"); n != 1 {
		t.Errorf("it was run %d times", n)
	}
	if _, err := f.call(soon(t), async1+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Errorf("deleted: %v", err)
	}
	if n := f.recorded(t, guarantee.OnRecord); n != 1 {
		t.Errorf("counted %d times", n)
	}
}

func TestASyncTasksEndThatIsTooLargeForARecordSaysSo(t *testing.T) {
	agent := startAgent(t, answering(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED, Outputs: textOutput(randomText(64 << 10))})))
	f := startClaims(t, nil, agent.claims(route.Policy{}, syncAgent("x")))
	f.recording(t)
	meta := f.create(t, attempt("x", 0))
	got, err := f.poll(soon(t), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}})
	if err != nil || got.GetPhase() != pluginv1.PhaseRetryableFailed || !strings.Contains(got.GetMessage(), "more than the create.record_max of 8192") || !strings.Contains(got.GetMessage(), `"echo"`) {
		t.Errorf("polled: %v, %v", got, err)
	}
}

func TestASyncTaskThatFailsAsACallFailsItsCreation(t *testing.T) {
	agent := startAgent(t, failing(codes.PermissionDenied))
	f := startClaims(t, nil, agent.claims(route.Policy{}, syncAgent("x")))
	f.recording(t)
	if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 0)); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "scripted") {
		t.Errorf("got %v", err)
	}
	hanging := startAgent(t, hang)
	f.publish(t, hanging.claims(route.Policy{}, syncAgent("x")))
	ctx, cancel := context.WithTimeout(soon(t), 500*time.Millisecond)
	defer cancel()
	if _, err := f.call(ctx, async1+"CreateTask", attempt("x", 1)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}
