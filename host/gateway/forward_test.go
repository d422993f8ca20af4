package gateway

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

const (
	async1    = "/flyteidl.service.AsyncAgentService/"
	async2    = "/flyteidl2.connector.AsyncConnectorService/"
	syncCalls = "/flyteidl.service.SyncAgentService/ExecuteTaskSync"
)

var running = &admin.GetTaskResponse{Resource: &admin.Resource{Phase: core.TaskExecution_RUNNING, Message: "half way"}}

func create(taskType string) *admin.CreateTaskRequest {
	return &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: taskType}}
}

func get(category string) *admin.GetTaskRequest {
	return &admin.GetTaskRequest{ResourceMeta: []byte("job 1"), TaskCategory: &admin.TaskCategory{Name: category}}
}

func TestDeadlineMetadataAndTrailersCross(t *testing.T) {
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		_ = stream.SetHeader(metadata.Pairs("agent-header", "h"))
		stream.SetTrailer(metadata.Pairs("agent-trailer", "t", "agent-trailer-bin", "\x00\xff"))
		return stream.SendMsg(frameOf(running))
	})
	f := startGateway(t, agent, asyncAgent("x"))
	ctx, cancel := context.WithTimeout(soon(t), 9*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "bearer t0ken", "trace-bin", "\x01\xfe", "twice", "1", "twice", "2")
	var header, trailer metadata.MD
	if _, err := f.call(ctx, async1+"GetTask", get("x"), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}

	got := agent.only(t)
	deadline, ok := got.context.Deadline()
	if left := time.Until(deadline); !ok || left < 5*time.Second || left > 9*time.Second {
		t.Errorf("the agent had a deadline in %v (%v), the caller's was 9 s", left, ok)
	}
	for key, want := range map[string][]string{"authorization": {"bearer t0ken"}, "trace-bin": {"\x01\xfe"}, "twice": {"1", "2"}} {
		if !slices.Equal(got.metadata.Get(key), want) {
			t.Errorf("metadata %s: the agent got %q, want %q", key, got.metadata.Get(key), want)
		}
	}
	if !slices.Equal(header.Get("agent-header"), []string{"h"}) || !slices.Equal(trailer.Get("agent-trailer"), []string{"t"}) ||
		!slices.Equal(trailer.Get("agent-trailer-bin"), []string{"\x00\xff"}) {
		t.Errorf("the caller got header %v, trailer %v", header, trailer)
	}
}

func TestCancellationReachesThePlugin(t *testing.T) {
	reached, cancelled := make(chan struct{}), make(chan struct{})
	agent := startAgent(t, func(call *received, _ grpc.ServerStream) error {
		close(reached)
		<-call.context.Done()
		close(cancelled)
		return call.context.Err()
	})
	f := startGateway(t, agent, asyncAgent("x"))
	ctx, cancel := context.WithCancel(soon(t))
	go func() {
		<-reached
		cancel()
	}()
	if _, err := f.call(ctx, async1+"GetTask", get("x")); status.Code(err) != codes.Canceled {
		t.Errorf("the caller got %v", err)
	}
	select {
	case <-cancelled:
	case <-soon(t).Done():
		t.Error("the agent never saw the cancellation")
	}
}

// What an agent says arrives, with the name of its plugin before it.
func TestStatusesKeepCodeMessageAndDetails(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		agent := startAgent(t, func(*received, grpc.ServerStream) error {
			s, err := status.New(code, "as the agent said").WithDetails(&errdetails.ErrorInfo{Reason: "quota"})
			if err != nil {
				return err
			}
			return s.Err()
		})
		f := startGateway(t, agent, asyncAgent("x"))
		_, err := f.call(soon(t), async1+"CreateTask", create("x"))
		got := status.Convert(err)
		told := `plugin "echo": as the agent said`
		if code == codes.Canceled {
			told = "as the agent said"
		}
		if got.Code() != code || got.Message() != told || len(got.Details()) != 1 {
			t.Errorf("%v arrived as %v %q with details %v", code, got.Code(), got.Message(), got.Details())
		}
		agent.only(t) // an answer is an answer: it is not asked for again
	}
}

func TestCompressedRequestsAreTaken(t *testing.T) {
	agent := startAgent(t, answering(running))
	f := startGateway(t, agent, asyncAgent("x"))
	request := get("x")
	request.ResourceMeta = []byte(strings.Repeat("job", 10_000))
	if _, err := f.call(soon(t), async1+"GetTask", request, grpc.UseCompressor(gzip.Name)); err != nil {
		t.Fatal(err)
	}
	if got := agent.only(t).frames[0]; string(got) != string(frameOf(request).bytes()) {
		t.Errorf("%d bytes arrived", len(got))
	}
}

func TestTheContentTypeIsPlain(t *testing.T) {
	agent := startAgent(t, answering(running))
	f := startGateway(t, agent, asyncAgent("x"))
	var header metadata.MD
	if _, err := f.call(soon(t), async1+"GetTask", get("x"), grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if got := agent.only(t).metadata.Get("content-type"); !slices.Equal(got, []string{"application/grpc"}) {
		t.Errorf("towards the plugin: %q", got)
	}
	if got := header.Get("content-type"); !slices.Equal(got, []string{"application/grpc"}) {
		t.Errorf("towards the caller: %q", got)
	}
}

func TestTheIdempotencyKeyNamesTheAttemptAndIsTheHostsToGive(t *testing.T) {
	agent := startAgent(t, answering(&admin.CreateTaskResponse{}))
	f := startGateway(t, agent, asyncAgent("x"))
	request := create("x")
	id := &core.TaskExecutionIdentifier{
		TaskId:          &core.Identifier{Name: "t"},
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "e"}},
		RetryAttempt:    2,
	}
	request.TaskExecutionMetadata, request.OutputPrefix = &admin.TaskExecutionMetadata{TaskExecutionId: id}, "s3://b/f1-n1-0-n0-0"
	ctx := metadata.AppendToOutgoingContext(soon(t), pluginv1.IdempotencyKeyHeader, "forged")
	if _, err := f.call(ctx, async1+"CreateTask", request); err != nil {
		t.Fatal(err)
	}
	if got := agent.only(t).metadata.Get(pluginv1.IdempotencyKeyHeader); !slices.Equal(got, []string{pluginv1.IdempotencyKey(id, request.GetOutputPrefix())}) {
		t.Errorf("the agent got key %q", got)
	}
}

func TestWhatCannotBeRoutedSaysWhy(t *testing.T) {
	agent := startAgent(t, answering(running))
	f := startGateway(t, agent, asyncAgent("async"), syncAgent("sync"))
	for name, c := range map[string]struct {
		method  string
		message []byte
		code    codes.Code
		says    string
	}{
		"an unknown category":      {async1 + "CreateTask", frameOf(create("ray")).bytes(), codes.NotFound, `"ray"`},
		"a create of a sync agent": {async1 + "CreateTask", frameOf(create("sync")).bytes(), codes.FailedPrecondition, "ExecuteTaskSync"},
		"a get of a sync agent":    {async1 + "GetTask", frameOf(get("sync")).bytes(), codes.FailedPrecondition, "ExecuteTaskSync"},
		"an empty frame":           {async1 + "CreateTask", nil, codes.InvalidArgument, "no task category"},
		"an empty frame, get":      {async1 + "GetTask", nil, codes.InvalidArgument, "no task category"},
		"garbage":                  {async1 + "DeleteTask", []byte("\xff\xff\xffgarbage"), codes.InvalidArgument, "not a protobuf message"},
		"garbage in the template":  {async1 + "CreateTask", []byte{0x12, 2, 0x12, 0x7f}, codes.InvalidArgument, "not a protobuf message"},
		"80 MiB":                   {async1 + "CreateTask", make([]byte, 80<<20), codes.ResourceExhausted, "has 83886080 bytes, more than the 67108864 that max_message_size allows"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.callRaw(soon(t), c.method, c.message)
			if status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.code, c.says)
			}
		})
	}
	t.Run("a sync call of an async agent", func(t *testing.T) {
		_, err := f.sync(soon(t), &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{
			Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "async"}}}})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "CreateTask") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a sync call without its header", func(t *testing.T) {
		_, err := f.sync(soon(t), &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: &core.LiteralMap{}}})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "header") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a sync call without any message", func(t *testing.T) {
		_, err := f.sync(soon(t))
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
	if len(agent.received) != 0 {
		t.Errorf("the agent got %d calls", len(agent.received))
	}
	// Nothing of this hurt the connection: the next call is answered.
	if _, err := f.call(soon(t), async1+"GetTask", get("async")); err != nil {
		t.Error(err)
	}
}

// sync makes a sync call as FlytePropeller does, and returns all answers.
func (f *front) sync(ctx context.Context, requests ...*admin.ExecuteTaskSyncRequest) ([]*admin.ExecuteTaskSyncResponse, error) {
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, syncCalls)
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var answers []*admin.ExecuteTaskSyncResponse
	for {
		answer := &admin.ExecuteTaskSyncResponse{}
		err := stream.RecvMsg(answer)
		if errors.Is(err, io.EOF) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		answers = append(answers, answer)
	}
}

func TestASyncCallPassesAllItsParts(t *testing.T) {
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		stream.SetTrailer(metadata.Pairs("agent-trailer", "t"))
		return stream.SendMsg(frameOf(&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{
			Header: &admin.ExecuteTaskSyncResponseHeader{Resource: &admin.Resource{Phase: core.TaskExecution_SUCCEEDED}}}}))
	})
	f := startGateway(t, agent, syncAgent("s"))
	requests := []*admin.ExecuteTaskSyncRequest{
		{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "s"}, OutputPrefix: "p"}}},
		{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"x": {}}}}},
		{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"y": {}}}}},
	}
	answers, err := f.sync(soon(t), requests...)
	if err != nil || len(answers) != 1 || answers[0].GetHeader().GetResource().GetPhase() != core.TaskExecution_SUCCEEDED {
		t.Fatalf("got %v, %v", answers, err)
	}
	got := agent.only(t)
	if got.method != syncCalls || len(got.frames) != len(requests) {
		t.Fatalf("the agent got %s with %d messages", got.method, len(got.frames))
	}
	for i, request := range requests {
		if string(got.frames[i]) != string(frameOf(request).bytes()) {
			t.Errorf("message %d arrived as %x", i, got.frames[i])
		}
	}
}

func TestLogsArriveAsTheyAreWritten(t *testing.T) {
	seen := make(chan struct{})
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		line := func(text string) error {
			return stream.SendMsg(frameOf(&admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Body{Body: &admin.GetTaskLogsResponseBody{Results: []string{text}}}}))
		}
		if err := line("first"); err != nil {
			return err
		}
		select {
		case <-seen: // the second line is written only when the first has been read at the far end
		case <-call.context.Done():
			return call.context.Err()
		}
		return line("second")
	})
	f := startGateway(t, agent, asyncAgent("x"))
	for _, method := range []string{async1 + "GetTaskLogs", async2 + "GetTaskLogs"} {
		seen = make(chan struct{})
		stream, err := f.conn.NewStream(soon(t), &grpc.StreamDesc{ServerStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(stream.SendMsg(&admin.GetTaskLogsRequest{TaskCategory: &admin.TaskCategory{Name: "x"}}), stream.CloseSend()); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"first", "second"} {
			line := &admin.GetTaskLogsResponse{}
			if err := stream.RecvMsg(line); err != nil || line.GetBody().GetResults()[0] != want {
				t.Fatalf("%s, line %d: %v, %v", method, i, line, err)
			}
			if i == 0 {
				close(seen)
			}
		}
		if err := stream.RecvMsg(&admin.GetTaskLogsResponse{}); !errors.Is(err, io.EOF) {
			t.Errorf("%s ended with %v", method, err)
		}
	}
}

func TestAnUndefinedPhaseNeverLeavesTheHost(t *testing.T) {
	state := func(s admin.State) []byte { // written out even where it is 0
		inner := protowire.AppendVarint(protowire.AppendTag(nil, resourceState, protowire.VarintType), uint64(s))
		return protowire.AppendBytes(protowire.AppendTag(nil, responseResource, protowire.BytesType), inner)
	}
	for name, c := range map[string]struct {
		answer []byte
		want   core.TaskExecution_Phase
	}{
		"a phase":           {frameOf(running).bytes(), core.TaskExecution_RUNNING},
		"pending":           {state(admin.State_PENDING), core.TaskExecution_INITIALIZING},
		"running":           {state(admin.State_RUNNING), core.TaskExecution_RUNNING},
		"succeeded":         {state(admin.State_SUCCEEDED), core.TaskExecution_SUCCEEDED},
		"permanent failure": {state(admin.State_PERMANENT_FAILURE), core.TaskExecution_FAILED},
		"retryable failure": {state(admin.State_RETRYABLE_FAILURE), pluginv1.PhaseRetryableFailed},
		"neither":           {frameOf(&admin.GetTaskResponse{Resource: &admin.Resource{Message: "?"}}).bytes(), pluginv1.PhaseRetryableFailed},
		"nothing":           {nil, pluginv1.PhaseRetryableFailed},
	} {
		t.Run(name, func(t *testing.T) {
			agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
				answer := &frame{}
				answer.set(c.answer)
				return stream.SendMsg(answer)
			})
			f := startGateway(t, agent, asyncAgent("x"))
			for _, service := range []string{async1, async2} {
				answer, err := f.call(soon(t), service+"GetTask", get("x"))
				if err != nil {
					t.Fatal(err)
				}
				got := &admin.GetTaskResponse{}
				if err := proto.Unmarshal(answer, got); err != nil {
					t.Fatal(err)
				}
				if got.GetResource().GetPhase() != c.want {
					t.Errorf("the caller got %v, want %v", got.GetResource(), c.want)
				}
			}
		})
	}
	t.Run("garbage", func(t *testing.T) {
		agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
			answer := &frame{}
			answer.set([]byte("\xff garbage"))
			return stream.SendMsg(answer)
		})
		f := startGateway(t, agent, asyncAgent("x"))
		if _, err := f.call(soon(t), async1+"GetTask", get("x")); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), `"echo"`) {
			t.Errorf("got %v", err)
		}
	})
}

// jobRequest is what all requests about a job have.
type jobRequest interface {
	proto.Message
	GetTaskType() string
	GetTaskCategory() *admin.TaskCategory
	GetResourceMeta() []byte
}

// Agents from before task categories read task_type alone, Flyte 2's and others task_category alone; and of the callers, too,
// there are some that send the one, the other or both.
func TestEachAgentFindsTheCategoryWhereItReadsIt(t *testing.T) {
	agent := startAgent(t, answering(running))
	old, versioned := asyncAgent("old"), asyncAgent("versioned")
	old.ByTaskType = true
	versioned.Categories[0].Version = 3
	f := startGateway(t, agent, asyncAgent("new"), old, versioned)
	category := func(name string, version int32) *admin.TaskCategory {
		return &admin.TaskCategory{Name: name, Version: version}
	}
	for _, c := range []struct {
		services, taskType string
		category           *admin.TaskCategory
		wantType           string
		want               *admin.TaskCategory
	}{
		{async2, "", category("new", 0), "", category("new", 0)},
		{async2, "", category("old", 0), "old", category("old", 0)},
		{async1, "", category("old", 0), "old", category("old", 0)},
		{async1, "new", category("new", 0), "new", category("new", 0)},
		{async1, "new", nil, "new", category("new", 0)},
		{async1, "new", category("", 0), "new", category("new", 0)},
		{async1, "old", nil, "old", nil},
		{async1, "versioned", nil, "versioned", category("versioned", 3)},
		{async1, "versioned", category("", 3), "versioned", category("versioned", 3)},
	} {
		for method, request := range map[string]jobRequest{
			"GetTask":        &admin.GetTaskRequest{TaskType: c.taskType, TaskCategory: c.category, ResourceMeta: []byte("job 1")},
			"DeleteTask":     &admin.DeleteTaskRequest{TaskType: c.taskType, TaskCategory: c.category, ResourceMeta: []byte("job 1")},
			"GetTaskMetrics": &admin.GetTaskMetricsRequest{TaskType: c.taskType, TaskCategory: c.category, ResourceMeta: []byte("job 1")},
			"GetTaskLogs":    &admin.GetTaskLogsRequest{TaskType: c.taskType, TaskCategory: c.category, ResourceMeta: []byte("job 1")},
		} {
			agent.received = nil
			if _, err := f.call(soon(t), c.services+method, request); err != nil {
				t.Fatal(err)
			}
			got := request.ProtoReflect().New().Interface().(jobRequest)
			if err := proto.Unmarshal(agent.only(t).frames[0], got); err != nil {
				t.Fatal(err)
			}
			if got.GetTaskType() != c.wantType || !proto.Equal(got.GetTaskCategory(), c.want) || string(got.GetResourceMeta()) != "job 1" {
				t.Errorf("%s with %q and %v: the agent got %v", method, c.taskType, c.category, got)
			}
		}
	}
}

// restarting is a target whose instances the test provides, one after the other.
type restarting struct {
	leases chan route.Lease
	err    error
}

func (restarting) Plugin() string { return "restarting" }

func (r restarting) TryAcquire(route.Want) (route.Lease, bool) { return route.Lease{}, false }

func (r restarting) Acquire(ctx context.Context, _ route.Want) (route.Lease, error) {
	select {
	case lease := <-r.leases:
		return lease, nil
	case <-ctx.Done():
		return route.Lease{}, r.err
	}
}

func (r restarting) Trouble() (route.Trouble, bool) {
	if r.err == nil {
		return route.Trouble{}, false
	}
	return route.Trouble{Reason: r.err.Error()}, true
}

func leaseOn(agent *agentServer, ended chan struct{}, released *sync.WaitGroup) route.Lease {
	released.Add(1)
	return route.Lease{Conn: agent.conn, Ended: ended, Release: released.Done}
}

func TestACallWaitsForAStartingPluginUntilJustBeforeItsDeadline(t *testing.T) {
	target := restarting{leases: make(chan route.Lease), err: errors.New(`plugin "restarting" is restarting: exit status 3`)}
	f := startGateway(t, target, asyncAgent("x"))
	ctx, cancel := nearlyFlytesDeadline(t)
	defer cancel()
	_, err := f.call(ctx, async1+"CreateTask", create("x"))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v: the caller should read what the plugin is busy with, not run into its deadline", err)
	}

	agent := startAgent(t, answering(running))
	var released sync.WaitGroup
	go func() { target.leases <- leaseOn(agent, nil, &released) }()
	if _, err := f.call(soon(t), async1+"GetTask", get("x")); err != nil {
		t.Errorf("the plugin came back and the caller got %v", err)
	}
	released.Wait()
}

// dyingAgent stands for a plugin that is killed while it answers: the connection breaks and the process has ended.
func dyingAgent(t *testing.T) (agent *agentServer, ended chan struct{}) {
	ended = make(chan struct{})
	agent = startAgent(t, func(call *received, _ grpc.ServerStream) error {
		go agent.server.Stop()
		<-call.context.Done()
		close(ended)
		return nil
	})
	return agent, ended
}

func TestAPollIsRepeatedOnTheNextInstanceWhenThePluginDies(t *testing.T) {
	for _, method := range []string{"GetTask", "DeleteTask", "GetTaskMetrics"} {
		dying, ended := dyingAgent(t)
		healthy := startAgent(t, answering(running))
		var released sync.WaitGroup
		target := restarting{leases: make(chan route.Lease, 2)}
		target.leases <- leaseOn(dying, ended, &released)
		target.leases <- leaseOn(healthy, nil, &released)
		f := startGateway(t, target, asyncAgent("x"))
		request := proto.Message(get("x"))
		if method == "GetTaskMetrics" {
			request = &admin.GetTaskMetricsRequest{TaskCategory: &admin.TaskCategory{Name: "x"}}
		}
		if _, err := f.call(soon(t), async1+method, request); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if string(dying.only(t).frames[0]) != string(healthy.only(t).frames[0]) {
			t.Errorf("%s: the second instance got another request", method)
		}
		released.Wait()
	}
}

func TestACreateWhosePluginDiesIsNotRepeatedUnlessThePluginSaysItMayBe(t *testing.T) {
	dying, ended := dyingAgent(t)
	var released sync.WaitGroup
	target := restarting{leases: make(chan route.Lease, 1)}
	target.leases <- leaseOn(dying, ended, &released)
	f := startGateway(t, target, asyncAgent("x"))
	_, err := f.call(soon(t), async1+"CreateTask", create("x"))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `plugin "restarting" died`) {
		t.Errorf("got %v", err)
	}
	released.Wait()
}

func TestASyncCallWhosePluginDiesSaysSo(t *testing.T) {
	dying, ended := dyingAgent(t)
	var released sync.WaitGroup
	target := restarting{leases: make(chan route.Lease, 1)}
	target.leases <- leaseOn(dying, ended, &released)
	f := startGateway(t, target, syncAgent("x"))
	_, err := f.sync(soon(t), &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{
		Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "x"}}}})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `plugin "restarting" died`) {
		t.Errorf("got %v", err)
	}
	released.Wait()
}
