package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

const (
	getMethod    = service.AsyncAgentService_GetTask_FullMethodName
	createMethod = service.AsyncAgentService_CreateTask_FullMethodName
	deleteMethod = service.AsyncAgentService_DeleteTask_FullMethodName
)

// exchange is a stream of calls to a plugin.
type exchange struct {
	pluginv1.CallService_ExchangeClient
	t *testing.T
}

func exchangeWith(t *testing.T, client *agenttest.Client) exchange {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := pluginv1.NewCallServiceClient(client.Conn()).Exchange(ctx)
	if err != nil {
		t.Fatal(err)
	}
	greeting, err := stream.Recv()
	if err != nil || len(greeting.GetAnswers()) != 0 {
		t.Fatalf("the greeting is %v, %v", greeting, err)
	}
	for _, want := range []string{createMethod, getMethod, deleteMethod} {
		if !strings.Contains(fmt.Sprint(greeting.GetMethods()), want) {
			t.Errorf("the greeting names %v, not %s", greeting.GetMethods(), want)
		}
	}
	return exchange{stream, t}
}

func (e exchange) send(calls *pluginv1.Calls) {
	e.t.Helper()
	if err := e.Send(calls); err != nil {
		e.t.Fatal(err)
	}
}

// next are so many answers, by their ids, as they come.
func (e exchange) next(n int) map[uint64]*pluginv1.Answer {
	e.t.Helper()
	answers := map[uint64]*pluginv1.Answer{}
	for len(answers) < n {
		message, err := e.Recv()
		if err != nil {
			e.t.Fatalf("after %d of %d answers: %v", len(answers), n, err)
		}
		for _, answer := range message.GetAnswers() {
			if answers[answer.GetId()] != nil {
				e.t.Errorf("call %d is answered twice", answer.GetId())
			}
			answers[answer.GetId()] = answer
		}
	}
	return answers
}

func (e exchange) one(call *pluginv1.Call) *pluginv1.Answer {
	e.t.Helper()
	e.send(&pluginv1.Calls{Calls: []*pluginv1.Call{call}})
	answer := e.next(1)[call.GetId()]
	if answer == nil {
		e.t.Fatalf("the answer is another call's")
	}
	return answer
}

func failureOf(t *testing.T, answer *pluginv1.Answer) error {
	t.Helper()
	var said spb.Status
	if err := proto.Unmarshal(answer.GetStatus(), &said); err != nil {
		t.Fatal(err)
	}
	return status.ErrorProto(&said)
}

func inBytes(t *testing.T, message proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pollOf(t *testing.T, taskType, meta string) []byte {
	t.Helper()
	return inBytes(t, &admin.GetTaskRequest{TaskCategory: &admin.TaskCategory{Name: taskType}, ResourceMeta: []byte(meta)})
}

func TestManyCallsInOneMessageAreAnsweredAsByThemselves(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{get: func(ctx context.Context, job agent.Job[meta]) (*agent.Resource, error) {
		if job.Meta.ID == "gone" {
			return nil, agent.NotFound("job %s is gone", job.Meta.ID)
		}
		_ = grpc.SetTrailer(ctx, metadata.Pairs("seen", job.Meta.ID))
		_ = grpc.SetHeader(ctx, metadata.Pairs("head", "h", "raw-bin", "\x00\xff"))
		return agent.Succeeded(agent.Outputs{"id": job.Meta.ID}), nil
	}}))
	e := exchangeWith(t, client)
	var calls pluginv1.Calls
	for n := range 300 {
		calls.Calls = append(calls.Calls, &pluginv1.Call{Id: uint64(n + 1), Method: getMethod, Request: pollOf(t, "query", fmt.Sprintf(`{"id":"j%d"}`, n+1))})
	}
	calls.Calls = append(calls.Calls, &pluginv1.Call{Id: 301, Method: getMethod, Request: pollOf(t, "query", `{"id":"gone"}`)})
	e.send(&calls)
	answers := e.next(301)
	for n := range 300 {
		id := uint64(n + 1)
		var header, trailer metadata.MD
		var alone, got admin.GetTaskResponse
		if err := client.Conn().Invoke(t.Context(), getMethod, &admin.GetTaskRequest{
			TaskCategory: &admin.TaskCategory{Name: "query"}, ResourceMeta: fmt.Appendf(nil, `{"id":"j%d"}`, id),
		}, &alone, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(answers[id].GetMessage(), &got); err != nil || !proto.Equal(&got, &alone) {
			t.Fatalf("call %d gets %v, %v; by itself %v", id, &got, err, &alone)
		}
		for _, said := range answers[id].GetTrailers() {
			if fmt.Sprint(trailer.Get(said.GetName())) != fmt.Sprintf("[%s]", said.GetValue()) {
				t.Errorf("call %d has the trailer %v, by itself %v", id, said, trailer)
			}
		}
		if len(answers[id].GetTrailers()) != 1 || len(answers[id].GetHeaders()) != 2 || header.Get("raw-bin")[0] != "\x00\xff" {
			t.Errorf("call %d has %v and %v", id, answers[id].GetHeaders(), answers[id].GetTrailers())
		}
	}
	wantStatus(t, failureOf(t, answers[301]), codes.NotFound, "agent query: Get: job gone is gone")
}

func TestACallByTheStreamHasItsMetadataAndItsDeadline(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{create: func(ctx context.Context, task *agent.Task) (meta, error) {
		deadline, _ := ctx.Deadline()
		return meta{ID: task.IdempotencyKey + "/" + agent.TraceContext(ctx)["traceparent"], Step: int(time.Until(deadline).Seconds() + 0.5)}, nil
	}}))
	e := exchangeWith(t, client)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	answer := e.one(&pluginv1.Call{
		Id: 1, Method: createMethod, Timeout: 60e6, Request: inBytes(t, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "query"}}),
		Headers: []*pluginv1.Header{{Name: pluginv1.IdempotencyKeyHeader, Value: []byte("key")}, {Name: "traceparent", Value: []byte(trace)}},
	})
	var made admin.CreateTaskResponse
	if err := proto.Unmarshal(answer.GetMessage(), &made); err != nil || string(made.GetResourceMeta()) != `{"id":"key/`+trace+`","step":60}` {
		t.Errorf("got %s, %v, %v", made.GetResourceMeta(), failureOf(t, answer), err)
	}
}

func TestASlowCallHoldsUpNoOtherAndEndsWhenNobodyWaits(t *testing.T) {
	begun := make(chan string, 2)
	client := agenttest.Run(t, agent.Async("query", funcs{get: func(ctx context.Context, job agent.Job[meta]) (*agent.Resource, error) {
		if strings.HasPrefix(job.Meta.ID, "slow") {
			begun <- job.Meta.ID
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return agent.Running("at it"), nil
	}}))
	e := exchangeWith(t, client)
	e.send(&pluginv1.Calls{Calls: []*pluginv1.Call{
		{Id: 1, Method: getMethod, Request: pollOf(t, "query", `{"id":"slow"}`)},
		{Id: 2, Method: getMethod, Request: pollOf(t, "query", `{"id":"quick"}`)},
	}})
	if answer := e.next(1)[2]; answer == nil || len(answer.GetStatus()) > 0 {
		t.Errorf("the quick call: %v", answer)
	}
	<-begun
	e.send(&pluginv1.Calls{Canceled: []uint64{1, 7}})
	wantStatus(t, failureOf(t, e.next(1)[1]), codes.Canceled)
	wantStatus(t, failureOf(t, e.one(&pluginv1.Call{Id: 3, Method: getMethod, Timeout: 1000, Request: pollOf(t, "query", `{"id":"slow too"}`)})), codes.DeadlineExceeded)
}

func TestWhatIsWrongWithACallIsItsOwn(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{get: func(_ context.Context, job agent.Job[meta]) (*agent.Resource, error) {
		if job.Meta.ID == "panic" {
			panic("out of luck")
		}
		return agent.Running(strings.Repeat("x", 100)), nil
	}}))
	e := exchangeWith(t, client)
	wantStatus(t, failureOf(t, e.one(&pluginv1.Call{Id: 1, Method: "/some.Service/Other"})), codes.Unimplemented, "/some.Service/Other")
	wantStatus(t, failureOf(t, e.one(&pluginv1.Call{Id: 2, Method: getMethod, Request: []byte{0xff}})), codes.Internal)
	wantStatus(t, failureOf(t, e.one(&pluginv1.Call{Id: 3, Method: getMethod, Request: pollOf(t, "query", `{"id":"panic"}`)})), codes.Internal, "out of luck")
	poll := pollOf(t, "query", `{"id":"j"}`)
	whole := e.one(&pluginv1.Call{Id: 4, Method: getMethod, Request: poll, MaxAnswer: 10_000})
	if size := len(whole.GetMessage()); size < 100 {
		t.Errorf("the answer has %d bytes", size)
	} else if cut := e.one(&pluginv1.Call{Id: 5, Method: getMethod, Request: poll, MaxAnswer: uint64(size - 1)}); len(cut.GetMessage()) > 0 || cut.GetOversize() != uint64(size) {
		t.Errorf("with a bound of one byte less it is %v", cut)
	}
}

func TestAPluginThatStopsEndsTheStreamBehindItsLastAnswer(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{})
	client := agenttest.Run(t, agent.Async("query", funcs{get: func(context.Context, agent.Job[meta]) (*agent.Resource, error) {
		close(begun)
		<-release
		return agent.Running("at it"), nil
	}}))
	e := exchangeWith(t, client)
	e.send(&pluginv1.Calls{Calls: []*pluginv1.Call{{Id: 5, Method: getMethod, Request: pollOf(t, "query", `{"id":"j"}`)}}})
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- client.Stop() }()
	last := uint64(5)
	for refused := false; !refused; { // from some call on
		last++
		answer := e.one(&pluginv1.Call{Id: last, Method: getMethod, Request: pollOf(t, "none", "")})
		refused = strings.Contains(fmt.Sprint(answer.GetTrailers()), pluginv1.NotTakenTrailer)
		if err := failureOf(t, answer); refused {
			wantStatus(t, err, codes.Unavailable, "is stopping")
		}
	}
	close(release)
	if answer := e.next(1)[5]; answer == nil || len(answer.GetStatus()) > 0 {
		t.Errorf("the call under way: %v", answer)
	}
	message, err := e.Recv()
	if err != nil || message.Last == nil || message.GetLast() != last {
		t.Errorf("the last message is %v, %v; the last call was %d", message, err, last)
	}
	if _, err := e.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAPluginWithInstrumentationOfItsOwnGetsEachCallByItself(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}), agent.GRPC(grpc.MaxHeaderListSize(1<<20)))
	stream, err := pluginv1.NewCallServiceClient(client.Conn()).Exchange(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, err, codes.Unimplemented)
}
