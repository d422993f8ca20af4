package agent

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// callService takes calls of the asynchronous agents many at a time. Each runs as one of its own does.
type callService struct {
	pluginv1.UnimplementedCallServiceServer
	server *Server
}

// calledMethod is a method that the stream takes.
type calledMethod struct {
	handle func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)
}

var calledMethods = func() map[string]calledMethod {
	methods := map[string]calledMethod{}
	for _, m := range service.AsyncAgentService_ServiceDesc.Methods {
		methods["/"+service.AsyncAgentService_ServiceDesc.ServiceName+"/"+m.MethodName] = calledMethod{m.Handler}
	}
	return methods
}()

func (c callService) Exchange(stream pluginv1.CallService_ExchangeServer) error {
	greeting := &pluginv1.Answers{}
	for name := range calledMethods {
		greeting.Methods = append(greeting.Methods, name)
	}
	slices.Sort(greeting.Methods)
	if err := stream.Send(greeting); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	e := &exchange{server: c.server, stream: stream, ctx: ctx, service: asyncService{c.server}, wake: make(chan struct{}, 1), work: make(chan begunCall), underWay: map[uint64]underWay{}}
	received := make(chan error, 1)
	go func() { received <- e.receive() }()
	sent := make(chan error, 1)
	go func() { sent <- e.send() }()
	select {
	case err := <-received: // the host has closed it, or has gone
		return err
	case err := <-sent:
		return err
	case <-c.server.drained:
		return e.end()
	}
}

// exchange is a stream of calls.
type exchange struct {
	server  *Server
	stream  pluginv1.CallService_ExchangeServer
	service asyncService
	ctx     context.Context //nolint:containedctx // the stream's, which the calls on it are made in
	wake    chan struct{}   // has an element when there is something to send
	work    chan begunCall  // to workers that wait
	idle    atomic.Int32    // how many do

	sending sync.Mutex // held by whoever sends

	mu       sync.Mutex // guards what follows
	out      []*pluginv1.Answer
	underWay map[uint64]underWay
	last     uint64
	ended    bool // no call is begun any more
}

// underWay is a call that was begun.
type underWay struct {
	cancel context.CancelFunc
	end    func() // counts it out
}

// receive begins the calls that come, until none do.
func (e *exchange) receive() error {
	for {
		calls, err := e.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, call := range calls.GetCalls() {
			if ctx, ok := e.begin(call); ok {
				e.handOver(begunCall{ctx, call})
			}
		}
		for _, id := range calls.GetCanceled() {
			e.cancel(id)
		}
	}
}

// begin takes a call, unless the stream ends. One that the plugin does not take because it is stopping is answered here, so that no end of
// the stream comes before its answer.
func (e *exchange) begin(call *pluginv1.Call) (context.Context, bool) {
	end, refusal := e.server.track(call.GetMethod())
	var ctx context.Context
	var cancel context.CancelFunc
	if call.GetTimeout() > 0 {
		ctx, cancel = context.WithTimeout(e.ctx, microseconds(call.GetTimeout()))
	} else {
		ctx, cancel = context.WithCancel(e.ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		cancel()
		if refusal == nil {
			end()
		}
		return nil, false
	}
	e.last = call.GetId()
	if refusal != nil {
		cancel()
		e.out = append(e.out, &pluginv1.Answer{Id: call.GetId(), Status: encodedStatus(refusal), Trailers: headersOf(notTaken)})
		e.wakeSender()
		return nil, false
	}
	e.underWay[call.GetId()] = underWay{cancel, end}
	return ctx, true
}

func (e *exchange) wakeSender() {
	select {
	case e.wake <- struct{}{}:
	default: // it is awake
	}
}

func (e *exchange) cancel(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if one, ok := e.underWay[id]; ok {
		one.cancel()
	}
}

// microseconds is a time of as many, or the longest there is.
func microseconds(n uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	return time.Duration(min(n, most)) * time.Microsecond
}

// begunCall is a call with the context that it is made in.
type begunCall struct {
	ctx  context.Context //nolint:containedctx // on its way from the stream to a worker
	call *pluginv1.Call
}

// maxIdle is how many workers of a stream wait for calls.
const maxIdle = 64

// handOver gives a call to a worker that waits, or to a new one. A goroutine whose stack has grown already saves a fifth of a poll.
func (e *exchange) handOver(one begunCall) {
	select {
	case e.work <- one:
	default:
		go e.worker(one)
	}
}

// worker makes a call, and then those that it gets while there are not too many who wait for them.
func (e *exchange) worker(one begunCall) {
	for {
		e.run(one.ctx, one.call)
		if e.idle.Add(1) > maxIdle {
			e.idle.Add(-1)
			return
		}
		select {
		case one = <-e.work:
			e.idle.Add(-1)
		case <-e.ctx.Done():
			return
		}
	}
}

// run makes a call and answers it.
func (e *exchange) run(ctx context.Context, call *pluginv1.Call) {
	answer := &pluginv1.Answer{Id: call.GetId()}
	said := &answerStream{method: call.GetMethod()}
	message, err := e.call(ctx, call, said)
	switch {
	case err != nil:
		answer.Status = encodedStatus(err)
	case call.GetMaxAnswer() > 0 && uint64(len(message)) > call.GetMaxAnswer():
		answer.Oversize = uint64(len(message))
	default:
		answer.Message = message
	}
	answer.Headers, answer.Trailers = headersOf(said.header), headersOf(said.trailer)
	e.mu.Lock()
	one := e.underWay[call.GetId()]
	delete(e.underWay, call.GetId())
	e.out = append(e.out, answer)
	alone := len(e.underWay) == 0
	e.mu.Unlock()
	one.cancel()
	// Where no other answer could go with it, it is sent here, which spares the awakening of a goroutine.
	if !alone || !e.sending.TryLock() {
		e.wakeSender()
	} else {
		_ = e.flush() // its error is the stream's end
		e.sending.Unlock()
	}
	one.end() // behind its answer, which the stream waits for then
}

// encodedStatus is the status of a call that ends with an error, as gRPC's server has it.
func encodedStatus(err error) []byte {
	known, ok := status.FromError(err)
	if !ok {
		known = status.FromContextError(err)
	}
	encoded, _ := proto.Marshal(known.Proto()) // which can be marshalled
	return encoded
}

// call makes a call as gRPC's server would.
func (e *exchange) call(ctx context.Context, call *pluginv1.Call, said *answerStream) ([]byte, error) {
	method, ok := calledMethods[call.GetMethod()]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "the stream of calls does not take %s", call.GetMethod())
	}
	headers := metadata.MD{}
	for _, header := range call.GetHeaders() {
		headers.Append(header.GetName(), string(header.GetValue()))
	}
	ctx = grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(ctx, headers), said)
	if caller, ok := peer.FromContext(e.ctx); ok {
		ctx = peer.NewContext(ctx, caller)
	}
	decode := func(into any) error {
		if err := proto.Unmarshal(call.GetRequest(), into.(proto.Message)); err != nil { //nolint:forcetypeassert // the handler's own request
			return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
		}
		return nil
	}
	answer, err := method.handle(e.service, context.WithValue(ctx, serverKey{}, e.server), decode, nil)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(answer.(proto.Message)) //nolint:forcetypeassert // the handler's own answer
}

// mostAnswers is how many bytes the answers of one message have, but for a single larger one.
const mostAnswers = 256 << 10

// send sends what there is, as much at once as has come together.
func (e *exchange) send() error {
	for {
		select {
		case <-e.wake:
		case <-e.ctx.Done():
			return nil
		}
		e.sending.Lock()
		err := e.flush()
		e.sending.Unlock()
		if err != nil {
			return err
		}
	}
}

// flush sends what there is, and what comes meanwhile. It needs e.sending.
func (e *exchange) flush() error {
	for {
		e.mu.Lock()
		ready := e.out
		e.out = nil
		e.mu.Unlock()
		if len(ready) == 0 {
			return nil
		}
		for len(ready) > 0 {
			size, taken := 0, 0
			for taken < len(ready) && (taken == 0 || size+len(ready[taken].GetMessage()) <= mostAnswers) {
				size += len(ready[taken].GetMessage())
				taken++
			}
			if err := e.stream.Send(&pluginv1.Answers{Answers: ready[:taken]}); err != nil {
				return err
			}
			ready = ready[taken:]
		}
	}
}

// end sends what is left, and says which call was the last.
func (e *exchange) end() error {
	e.mu.Lock()
	e.ended = true
	last := e.last
	e.mu.Unlock()
	e.sending.Lock()
	defer e.sending.Unlock()
	if err := e.flush(); err != nil {
		return err
	}
	return e.stream.Send(&pluginv1.Answers{Last: &last})
}

func headersOf(trailers metadata.MD) []*pluginv1.Header {
	var headers []*pluginv1.Header
	for name, values := range trailers {
		for _, value := range values {
			headers = append(headers, &pluginv1.Header{Name: name, Value: []byte(value)})
		}
	}
	return headers
}

// answerStream collects what a handler says besides its answer.
type answerStream struct {
	method string

	mu              sync.Mutex
	header, trailer metadata.MD
}

var _ grpc.ServerTransportStream = (*answerStream)(nil)

func (s *answerStream) Method() string { return s.method }

func (s *answerStream) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header = metadata.Join(s.header, md)
	return nil
}

// SendHeader is no different: all of an answer leaves at once.
func (s *answerStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

func (s *answerStream) SetTrailer(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trailer = metadata.Join(s.trailer, md)
	return nil
}
