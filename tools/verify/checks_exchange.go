package verify

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

const (
	methodGet    = service.AsyncAgentService_GetTask_FullMethodName
	methodCreate = service.AsyncAgentService_CreateTask_FullMethodName
	methodDelete = service.AsyncAgentService_DeleteTask_FullMethodName
)

// pollsAtOnce is how many polls are sent in one message.
const pollsAtOnce = 200

// exchangeChecks are about CallService, where it is served.
func exchangeChecks() []*Check {
	return []*Check{
		{
			Name:   "exchange/greeting",
			Reason: "the host waits for it, and sends by the stream only what it names",
			Advice: "send one Answers with the full names of the methods that you take, and nothing else, as soon as the stream is opened",
			run: onExchange(func(_ context.Context, _ *kit, e *exchange) (string, error) {
				return strings.Join(e.names(), ", "), nil
			}),
		},
		{
			Name:   "exchange/polls",
			Reason: "Flyte polls each job every few seconds: what the stream is for",
			Advice: "run the calls of one message at once, and answer each once with what the same call by itself gets",
			run:    onExchange(pollsShared),
		},
		{
			Name:   "exchange/errors",
			Reason: "no caller may see which way his call went",
			Advice: "answer with the google.rpc.Status that the same call by itself gets: the same code, the same message",
			run:    onExchange(sameErrors),
		},
		{
			Name:   "exchange/not-protobuf",
			Reason: "one broken message must not take the others with it",
			Advice: "catch what decoding a call's request raises, and answer that call with INTERNAL or INVALID_ARGUMENT",
			run:    onExchange(brokenCalls),
		},
		{
			Name:   "exchange/unknown-method",
			Reason: "a host of a later version may know more methods",
			Advice: "answer a call of a method that you do not take with UNIMPLEMENTED, and go on",
			run:    onExchange(unknownMethod),
		},
		{
			Name:   "exchange/oversize",
			Reason: "a large answer waits until there is room for it, which the stream does not: it would hold up all others",
			Advice: "compare the answer's size with max_answer, and answer with oversize where it is more",
			run:    onExchange(oversize),
		},
		{
			Name:   "exchange/end",
			Reason: "where the stream ends without it, calls count as begun, and a creation that may have been begun is not made again",
			Advice: "on Shutdown let the calls under way end, send their answers, then Answers with last, and end the stream with OK",
			run:    onExchange(endsWithLast),
		},
	}
}

// onExchange is a check on a stream of its own, where the plugin serves any.
func onExchange(check func(context.Context, *kit, *exchange) (string, error)) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		i, err := k.able(ctx)
		if err != nil {
			return "", err
		}
		ctx, cancel := k.call(ctx)
		defer cancel()
		e, err := openExchange(ctx, i)
		if err != nil {
			return "", err
		}
		return check(ctx, k, e)
	}
}

// exchange is a stream to a plugin.
type exchange struct {
	stream  pluginv1.CallService_ExchangeClient
	plugin  *instance
	methods map[string]bool
	last    uint64 // call
}

func openExchange(ctx context.Context, i *instance) (*exchange, error) {
	stream, err := pluginv1.NewCallServiceClient(i.conn).Exchange(ctx)
	if err != nil {
		return nil, &blocked{"exchange/greeting", failed("Exchange: %s", describeError(err))}
	}
	greeting, err := stream.Recv()
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, skipped("it takes each call by itself: serving CallService is optional")
	case err != nil:
		err = failed("Exchange ends before its first message: %s", describeError(err))
	case len(greeting.GetAnswers()) > 0:
		err = failed("the first message on the stream has %d answers, before there is a call", len(greeting.GetAnswers()))
	case len(greeting.GetMethods()) == 0:
		err = failed("the first message on the stream names no methods")
	}
	if err != nil {
		return nil, &blocked{"exchange/greeting", err}
	}
	e := &exchange{stream: stream, plugin: i, methods: map[string]bool{}}
	for _, method := range greeting.GetMethods() {
		if !strings.HasPrefix(method, "/") || strings.Count(method, "/") != 2 {
			return nil, &blocked{"exchange/greeting", failed("the method %q is not named as /package.Service/Method", method)}
		}
		e.methods[method] = true
	}
	return e, nil
}

// names are those of the methods, for people.
func (e *exchange) names() []string {
	names := sortedKeys(e.methods)
	for i, name := range names {
		names[i] = name[strings.LastIndex(name, "/")+1:]
	}
	return names
}

// ask makes calls in one message, and waits for their answers.
func (e *exchange) ask(calls ...*pluginv1.Call) (map[uint64]*pluginv1.Answer, error) {
	wanted := map[uint64]bool{}
	for _, call := range calls {
		e.last++
		call.Id, call.Timeout = e.last, uint64((10 * time.Second).Microseconds())
		wanted[call.Id] = true
	}
	if err := e.stream.Send(&pluginv1.Calls{Calls: calls}); err != nil {
		_, err = e.stream.Recv() // which says why
		return nil, failed("the stream ended: %s", describeError(err))
	}
	answers := map[uint64]*pluginv1.Answer{}
	for len(answers) < len(calls) {
		message, err := e.stream.Recv()
		if err != nil {
			return nil, failed("the stream ended after %d of %d answers: %s", len(answers), len(calls), describeError(err))
		}
		for _, answer := range message.GetAnswers() {
			switch {
			case !wanted[answer.GetId()]:
				return nil, failed("there is an answer to the call %d, which was not made", answer.GetId())
			case answers[answer.GetId()] != nil:
				return nil, failed("the call %d was answered twice", answer.GetId())
			}
			answers[answer.GetId()] = answer
		}
	}
	return answers, nil
}

// one makes one call.
func (e *exchange) one(call *pluginv1.Call) (*pluginv1.Answer, error) {
	answers, err := e.ask(call)
	return answers[e.last], err
}

// errorOf is what an answer's status says.
func errorOf(answer *pluginv1.Answer) error {
	said := &spb.Status{}
	if err := proto.Unmarshal(answer.GetStatus(), said); err != nil {
		return failed("the status of an answer is no google.rpc.Status: %v", err)
	}
	return status.ErrorProto(said)
}

func encoded(message proto.Message) []byte {
	data, err := proto.Marshal(message)
	if err != nil {
		panic(err) // of messages that are made here
	}
	return data
}

func getRequest(job agentclient.Job) *admin.GetTaskRequest {
	return agentclient.Client{}.GetRequest(job)
}

// polled is a job to ask about, and its answer to a poll by itself: one that has finished, where there is any, else one that nobody knows.
func (k *kit) polled(ctx context.Context, e *exchange) (job agentclient.Job, answer *admin.GetTaskResponse, failure error, err error) {
	job = unknownJob()
	if samples, err := k.samplesOf(ctx, false); err == nil {
		for _, s := range samples {
			if s.finished != nil && s.broken == nil {
				job = s.finished.job
			}
		}
	}
	answer = &admin.GetTaskResponse{}
	failure = e.plugin.conn.Invoke(ctx, methodGet, getRequest(job), answer)
	if lost(failure) {
		return job, nil, nil, failed("GetTask by itself: %s", describeError(failure))
	}
	return job, answer, failure, nil
}

func (e *exchange) takes(method string) error {
	if !e.methods[method] {
		return skipped("it does not take %s by the stream", method[strings.LastIndex(method, "/")+1:])
	}
	return nil
}

func pollsShared(ctx context.Context, k *kit, e *exchange) (string, error) {
	if err := e.takes(methodGet); err != nil {
		return "", err
	}
	job, want, failure, err := k.polled(ctx, e)
	if err != nil {
		return "", err
	}
	calls := make([]*pluginv1.Call, pollsAtOnce)
	for i := range calls {
		calls[i] = &pluginv1.Call{Method: methodGet, Request: encoded(getRequest(job))}
	}
	began := time.Now()
	answers, err := e.ask(calls...)
	if err != nil {
		return "", err
	}
	took := time.Since(began)
	for _, answer := range answers {
		if err := errorOf(answer); status.Code(err) != status.Code(failure) {
			return "", failed("a poll is answered with %s, and by itself with %s", answerName(err), answerName(failure))
		}
		got := &admin.GetTaskResponse{}
		if err := proto.Unmarshal(answer.GetMessage(), got); err != nil {
			return "", failed("the answer to a poll is no GetTaskResponse: %v", err)
		}
		if failure == nil && got.GetResource().GetPhase() != want.GetResource().GetPhase() {
			return "", failed("a poll is answered with %s, and by itself with %s", got.GetResource().GetPhase(), want.GetResource().GetPhase())
		}
	}
	return fmt.Sprintf("%d polls in one message, in %v", len(calls), took.Round(time.Millisecond)), nil
}

// sameErrors makes calls on a task category that no agent has, by the stream and by themselves.
func sameErrors(ctx context.Context, _ *kit, e *exchange) (string, error) {
	job := unknownJob()
	create := &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: nobody}, Inputs: &core.LiteralMap{}}
	tried := 0
	for _, c := range []struct {
		method            string
		request, response proto.Message
	}{
		{methodGet, getRequest(job), &admin.GetTaskResponse{}},
		{methodDelete, &admin.DeleteTaskRequest{TaskCategory: job.Category, ResourceMeta: job.Meta}, &admin.DeleteTaskResponse{}},
		{methodCreate, create, &admin.CreateTaskResponse{}},
	} {
		if !e.methods[c.method] {
			continue
		}
		tried++
		alone := status.Convert(e.plugin.conn.Invoke(ctx, c.method, c.request, c.response))
		answer, err := e.one(&pluginv1.Call{Method: c.method, Request: encoded(c.request)})
		if err != nil {
			return "", err
		}
		if shared := status.Convert(errorOf(answer)); shared.Code() != alone.Code() || shared.Message() != alone.Message() {
			return "", failed("%s is answered with %s: %q, and by itself with %s: %q", c.method[strings.LastIndex(c.method, "/")+1:],
				shared.Code(), shared.Message(), alone.Code(), alone.Message())
		}
	}
	return fmt.Sprintf("%d methods", tried), nil
}

func brokenCalls(_ context.Context, _ *kit, e *exchange) (string, error) {
	var calls []*pluginv1.Call
	for method := range e.methods {
		for _, garbage := range [][]byte{{0xff, 0xff, 0xff}, {0x0a, 0x7f, 'x'}, slices.Repeat([]byte{0x08}, 1001)} {
			calls = append(calls, &pluginv1.Call{Method: method, Request: garbage})
		}
	}
	answers, err := e.ask(calls...)
	if err != nil {
		return "", err
	}
	for _, call := range calls {
		if len(answers[call.GetId()].GetStatus()) == 0 {
			return "", failed("%s with a request that is no message is answered with OK", call.GetMethod())
		}
	}
	return fmt.Sprintf("%d calls answered", len(calls)), e.goesOn()
}

// goesOn says that the stream still takes calls.
func (e *exchange) goesOn() error {
	_, err := e.one(&pluginv1.Call{Method: sortedKeys(e.methods)[0], Request: encoded(&admin.DeleteTaskRequest{TaskCategory: unknownJob().Category})})
	return err
}

func unknownMethod(_ context.Context, _ *kit, e *exchange) (string, error) {
	for _, method := range []string{"/flyteidl.service.AsyncAgentService/ThankTask", "/some.Service/GetTask", "nonsense", ""} {
		answer, err := e.one(&pluginv1.Call{Method: method})
		if err != nil {
			return "", err
		}
		if err := errorOf(answer); status.Code(err) != codes.Unimplemented {
			return "", failed("the method %q is answered with %s", method, answerName(err))
		}
	}
	return "UNIMPLEMENTED", e.goesOn()
}

func oversize(ctx context.Context, k *kit, e *exchange) (string, error) {
	if err := e.takes(methodGet); err != nil {
		return "", err
	}
	job, _, failure, err := k.polled(ctx, e)
	switch {
	case err != nil:
		return "", err
	case failure != nil:
		return "", skipped("no sample task has finished: give one with --task")
	}
	request := encoded(getRequest(job))
	whole, err := e.one(&pluginv1.Call{Method: methodGet, Request: request})
	if err != nil {
		return "", err
	}
	size := uint64(len(whole.GetMessage()))
	for _, most := range []uint64{1, size - 1} {
		answer, err := e.one(&pluginv1.Call{Method: methodGet, Request: request, MaxAnswer: most})
		switch {
		case err != nil:
			return "", err
		case len(answer.GetMessage()) > 0:
			return "", failed("an answer of %d bytes was sent where max_answer is %d", len(answer.GetMessage()), most)
		case answer.GetOversize() <= most:
			return "", failed("where max_answer is %d, oversize is %d", most, answer.GetOversize())
		}
	}
	return fmt.Sprintf("%d bytes are not sent where fewer are wanted", size), nil
}

// endsWithLast asks a process of its own to stop.
func endsWithLast(ctx context.Context, k *kit, _ *exchange) (string, error) {
	i, err := k.fresh(ctx, k.asTheHost())
	if err != nil {
		return "", err
	}
	defer i.kill()
	e, err := openExchange(ctx, i)
	if err != nil {
		return "", err
	}
	if err := e.goesOn(); err != nil {
		return "", err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- k.askToStop(ctx, i) }()
	var last *uint64
	for {
		message, err := e.stream.Recv()
		if err == nil {
			last = message.Last
			continue
		}
		if err := <-stopped; err != nil {
			return "", &blocked{"stop/shutdown", err}
		}
		switch {
		case err != io.EOF: //nolint:errorlint // grpc-go's own
			return "", failed("after Shutdown the stream ends with %s", describeError(err))
		case last == nil:
			return "", failed("the last message on the stream has no last")
		case *last != e.last:
			return "", failed("last is %d, and the last call was %d", *last, e.last)
		}
		return fmt.Sprintf("last is %d", *last), nil
	}
}
