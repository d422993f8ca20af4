package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/wait"
)

// told is what a generation was told, such as "create error 1, poll ok 2".
func told(counts route.Counts) string {
	var all []string
	for _, call := range route.Calls {
		for _, outcome := range route.Outcomes {
			if part := counts.Of(call); part.With(outcome) > 0 {
				all = append(all, fmt.Sprint(call, " ", outcome, " ", part.With(outcome)))
			}
		}
	}
	return strings.Join(all, ", ")
}

func (a *agentServer) told() string { return told(a.tally.Counts()) }

// pinnedTo is a poll of a job that a generation has made.
func pinnedTo(generation string) *admin.GetTaskRequest {
	poll := get("x")
	poll.ResourceMeta = envelope{plugin: "echo", generation: generation, meta: []byte("job")}.seal(sharedKeys)
	return poll
}

// What a call came to is put down to its plugin by what the plugin did, and not by what Flyte heard: guarantees hide failures.
func TestAGenerationIsToldWhatEachCallCameTo(t *testing.T) {
	garbage := func(_ *received, stream grpc.ServerStream) error {
		f := &frame{}
		f.set([]byte("\xff"))
		return stream.SendMsg(f)
	}
	phase := func(phase core.TaskExecution_Phase) *admin.GetTaskResponse {
		return &admin.GetTaskResponse{Resource: &admin.Resource{Phase: phase}}
	}
	poll := func(f *front, t *testing.T) { _, _ = f.poll(soon(t), get("x")) }
	pollOf := func(generation string) func(*front, *testing.T) {
		return func(f *front, t *testing.T) { _, _ = f.call(soon(t), async1+"GetTask", pinnedTo(generation)) }
	}
	begin := func(f *front, t *testing.T) { _, _ = f.call(soon(t), async1+"CreateTask", create("x")) }
	del := func(f *front, t *testing.T) {
		_, _ = f.call(soon(t), async1+"DeleteTask", &admin.DeleteTaskRequest{TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("job")})
	}
	metrics := func(f *front, t *testing.T) {
		_, _ = f.call(soon(t), async1+"GetTaskMetrics", &admin.GetTaskMetricsRequest{TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("job")})
	}
	for promise, c := range map[string]struct {
		does   func(*received, grpc.ServerStream) error
		make   func(*front, *testing.T)
		policy route.Policy
		want   string
	}{
		"an answer":                                      {answering(running), poll, usual, "poll ok 1"},
		"a job that has failed":                          {answering(phase(core.TaskExecution_FAILED)), poll, usual, "poll ok 1"},
		"a job that was aborted":                         {answering(phase(core.TaskExecution_ABORTED)), poll, usual, "poll ok 1"},
		"a poll that fails, where memory answers":        {failing(codes.Internal), poll, usual, "poll error 1"},
		"a poll that fails":                              {failing(codes.Internal), poll, route.Policy{}, "poll error 1"},
		"a poll whose own name of the job is refused":    {failing(codes.InvalidArgument), poll, usual, "poll error 1"},
		"a poll of a job that it may not know":           {failing(codes.NotFound), poll, usual, "poll rejected 1"},
		"a poll of a job of another generation":          {failing(codes.NotFound), pollOf("another"), usual, "poll rejected 1"},
		"a poll of a job of its own that it has lost":    {failing(codes.NotFound), pollOf("generation of echo"), usual, "poll error 1"},
		"an answer that cannot be read":                  {garbage, poll, usual, "poll error 1"},
		"an answer without a phase":                      {answering(&admin.GetTaskResponse{}), poll, usual, "poll error 1"},
		"no answer":                                      {func(*received, grpc.ServerStream) error { return nil }, poll, usual, "poll error 1"},
		"a job that is made":                             {answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}), begin, usual, "create ok 1"},
		"a task that it rejects":                         {failing(codes.InvalidArgument), begin, usual, "create rejected 1"},
		"a task whose user may not":                      {failing(codes.PermissionDenied), begin, usual, "create rejected 1"},
		"a quota that is used up":                        {failing(codes.ResourceExhausted), begin, usual, "create rejected 1"},
		"a plugin whose credentials are not taken":       {failing(codes.Unauthenticated), begin, usual, "create error 1"},
		"a task that fails by the plugin":                {failing(codes.Unknown), begin, usual, "create error 1"},
		"a creation whose answer cannot be read":         {garbage, begin, usual, "create error 1"},
		"a deletion of what is gone":                     {failing(codes.NotFound), del, usual, "delete rejected 1"},
		"a deletion that fails":                          {failing(codes.FailedPrecondition), del, usual, "delete error 1"},
		"metrics of an agent without":                    {failing(codes.Unimplemented), metrics, usual, "other rejected 1"},
		"a method of its category that it does not have": {failing(codes.Unimplemented), begin, usual, "create error 1"},
		"a call that does not reach the plugin": {
			answering(running), func(f *front, t *testing.T) { poll(f, t); poll(f, t); poll(f, t) }, route.Policy{MinInterval: time.Hour}, "poll ok 1",
		},
		"a poll that hangs": {hang, func(f *front, t *testing.T) {
			ctx, cancel := context.WithTimeout(soon(t), 500*time.Millisecond)
			defer cancel()
			_, _ = f.poll(ctx, get("x"))
		}, usual, "poll error 1"},
	} {
		t.Run(promise, func(t *testing.T) {
			agent := startAgent(t, c.does)
			f := startClaims(t, nil, agent.claims(c.policy, asyncAgent("x")))
			c.make(f, t)
			wait.Until(t, "it is told: "+c.want, func() bool { return agent.told() != "" })
			if got := agent.told(); got != c.want {
				t.Errorf("told %q, want %q", got, c.want)
			}
		})
	}
}

// A caller that goes away says nothing of the plugin.
func TestACallThatItsCallerGivesUpIsNotPutDownToThePlugin(t *testing.T) {
	asked := make(chan struct{})
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error { close(asked); return hang(call, stream) })
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	ctx, cancel := context.WithCancel(soon(t))
	go func() { <-asked; cancel() }()
	_, _ = f.poll(ctx, get("x"))
	wait.Until(t, "it is told", func() bool { return agent.told() != "" })
	if got := agent.told(); got != "poll canceled 1" {
		t.Errorf("told %q", got)
	}
}

// A sync call is the whole job: its answer is a stream, of which Flyte reads one message.
func TestAGenerationIsToldWhatASyncCallCameTo(t *testing.T) {
	header := func(phase core.TaskExecution_Phase) *admin.ExecuteTaskSyncResponse {
		return &admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{
			Header: &admin.ExecuteTaskSyncResponseHeader{Resource: &admin.Resource{Phase: phase}},
		}}
	}
	for want, does := range map[string]func(*received, grpc.ServerStream) error{
		"execute ok 1":       answering(header(core.TaskExecution_SUCCEEDED)),
		"execute rejected 1": failing(codes.InvalidArgument),
		"execute error 1":    failing(codes.Internal),
		"execute error 2":    func(*received, grpc.ServerStream) error { return nil },
		"execute error 3":    answering(header(core.TaskExecution_RUNNING)),
	} {
		t.Run(want, func(t *testing.T) {
			agent := startAgent(t, does)
			f := startClaims(t, nil, agent.claims(usual, syncAgent("x")))
			for range int(want[len(want)-1] - '0') {
				_, _ = f.sync(soon(t), syncRequest())
			}
			wait.Until(t, "it is told "+want, func() bool { return agent.told() == want })
		})
	}
}
