package gateway

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

// What FlytePropeller 1.16 and Flyte 2 really sent, frame by frame, arrives at the plugin as the same bytes, and the
// plugin's bytes, unknown fields included, arrive back.
func TestRecordedRequestsCrossByteForByte(t *testing.T) {
	// An answer with a field that no version of flyteidl has.
	newer := []byte{0xfa, 0x3f, 3, 'n', 'e', 'w'}
	asyncAnswer := append(frameOf(running).bytes(), newer...)
	syncAnswer := append(frameOf(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED})).bytes(), newer...)
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		message := &frame{}
		message.set(asyncAnswer)
		if call.method == syncCalls {
			message.set(syncAnswer)
		}
		return stream.SendMsg(message)
	})
	agents := map[string]plugin.Agent{"syncy": syncAgent("syncy")}
	for _, trace := range append(traces.Load(1), traces.Load(2)...) {
		if trace.TaskType != "syncy" {
			agents[trace.TaskType] = asyncAgent(trace.TaskType)
		}
	}
	f := startGateway(t, agent, slices.Collect(maps.Values(agents))...)

	frames := map[string]int{}
	for flyte, service := range map[int]string{1: async1, 2: async2} {
		for _, trace := range traces.Load(flyte) {
			if trace.TaskType == "syncy" && trace.TaskTypeVersion != 0 {
				continue // FlytePropeller 1 sends this one, a sync type with another version, to CreateTask: refused, see above
			}
			for _, call := range trace.Calls {
				if len(call.Frames) == 0 {
					continue
				}
				agent.received = nil
				method, answer := service+call.Method, asyncAnswer
				if call.Method == "ExecuteTaskSync" {
					method, answer = syncCalls, syncAnswer
				}
				back := f.replay(t, method, call.Frames)
				got := agent.only(t)
				if len(got.frames) != len(call.Frames) {
					t.Fatalf("flyte %d, %s, %s: %d frames became %d", flyte, trace.Name, call.Method, len(call.Frames), len(got.frames))
				}
				for i := range call.Frames {
					if !bytes.Equal(got.frames[i], call.Frames[i]) {
						t.Errorf("flyte %d, %s, %s: frame %d\nleft as    %x\narrived as %x", flyte, trace.Name, call.Method, i, call.Frames[i], got.frames[i])
					}
					frames[method]++
				}
				if !bytes.Equal(back, answer) {
					t.Errorf("flyte %d, %s, %s: the answer\nleft as    %x\narrived as %x", flyte, trace.Name, call.Method, answer, back)
				}
			}
		}
	}
	for _, method := range []string{async1 + "CreateTask", async1 + "GetTask", async1 + "DeleteTask", syncCalls, async2 + "CreateTask", async2 + "GetTask", async2 + "DeleteTask"} {
		if frames[method] == 0 {
			t.Errorf("no recorded frame of %s was tried", method)
		}
	}
	t.Logf("frames by method: %v", frames)
}

// replay sends recorded frames and returns the one answer.
func (f *front) replay(t *testing.T, method string, frames [][]byte) []byte {
	t.Helper()
	stream, err := f.conn.NewStream(soon(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(frameCodec))
	if err != nil {
		t.Fatal(err)
	}
	for _, recorded := range frames {
		message := &frame{}
		message.set(recorded)
		if err := stream.SendMsg(message); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	back := &frame{}
	if err := stream.RecvMsg(back); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	if err := stream.RecvMsg(&frame{}); !errors.Is(err, io.EOF) {
		t.Fatalf("%s ended with %v", method, err)
	}
	return back.bytes()
}

func TestLargeFramesCrossUnchanged(t *testing.T) {
	agent := startAgent(t, answering(running))
	f := startGateway(t, agent, asyncAgent("x"))
	request := create("x")
	request.Inputs = &core.LiteralMap{Literals: map[string]*core.Literal{"big": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
		Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: string(bytes.Repeat([]byte("x"), 40<<20))}}}}}}}}
	if _, err := f.call(soon(t), async1+"CreateTask", request); err != nil {
		t.Fatal(err)
	}
	got := &admin.CreateTaskRequest{}
	if err := proto.Unmarshal(agent.only(t).frames[0], got); err != nil || !proto.Equal(got, request) {
		t.Errorf("40 MiB of inputs arrived as %d bytes, %v", len(agent.only(t).frames[0]), err)
	}
}
