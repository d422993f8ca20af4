// Package callservice is agenthost.plugin.v1.CallService as plainly as it can be, for plugins of tests: without a library's cleverness, and
// with hooks by which a bad plugin deviates.
package callservice

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Server answers calls one by one, each in a goroutine of its own.
type Server struct {
	pluginv1.UnimplementedCallServiceServer
	// Methods are named in the greeting.
	Methods []string
	// Call makes a call, with its metadata and deadline in ctx, where grpc.SetTrailer works, too.
	Call func(ctx context.Context, method string, request []byte) ([]byte, error)
	// Stop, where set, ends the streams when it is closed: no call is begun any more, and those under way come to an end.
	Stop <-chan struct{}

	// Greet and Answer may change what is sent; Answer may say that it is not. Receive is called for each message.
	Greet   func(*pluginv1.Answers)
	Answer  func(*pluginv1.Call, *pluginv1.Answer) (send bool)
	Receive func(*pluginv1.Calls) error

	streams sync.WaitGroup
}

// Wait waits until no stream is open.
func (s *Server) Wait() { s.streams.Wait() }

// Exchange serves a stream.
func (s *Server) Exchange(stream pluginv1.CallService_ExchangeServer) error {
	s.streams.Add(1)
	defer s.streams.Done()
	greeting := &pluginv1.Answers{Methods: s.Methods}
	if s.Greet != nil {
		s.Greet(greeting)
	}
	if err := stream.Send(greeting); err != nil {
		return err
	}
	e := &exchange{server: s, stream: stream, cancels: map[uint64]context.CancelFunc{}}
	received := make(chan error, 1)
	go func() { received <- e.receive() }()
	select {
	case err := <-received:
		e.calls.Wait()
		return err
	case <-s.Stop:
		return e.end()
	}
}

type exchange struct {
	server *Server
	stream pluginv1.CallService_ExchangeServer
	calls  sync.WaitGroup

	mu      sync.Mutex // guards what follows, and sending
	cancels map[uint64]context.CancelFunc
	last    uint64
	ended   bool
}

func (e *exchange) receive() error {
	for {
		calls, err := e.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && e.server.Receive != nil {
			err = e.server.Receive(calls)
		}
		if err != nil {
			return err
		}
		for _, call := range calls.GetCalls() {
			e.begin(call)
		}
		e.mu.Lock()
		for _, id := range calls.GetCanceled() {
			if cancel, ok := e.cancels[id]; ok {
				cancel()
			}
		}
		e.mu.Unlock()
	}
}

func (e *exchange) begin(call *pluginv1.Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	ctx, cancel := context.WithCancel(e.stream.Context())
	if call.GetTimeout() > 0 {
		ctx, cancel = context.WithTimeout(e.stream.Context(), time.Duration(call.GetTimeout())*time.Microsecond)
	}
	e.last = call.GetId()
	e.cancels[call.GetId()] = cancel
	e.calls.Go(func() {
		defer cancel()
		e.answer(call, e.call(ctx, call))
	})
}

func (e *exchange) call(ctx context.Context, call *pluginv1.Call) *pluginv1.Answer {
	headers := metadata.MD{}
	for _, header := range call.GetHeaders() {
		headers.Append(header.GetName(), string(header.GetValue()))
	}
	besides := &said{method: call.GetMethod()}
	ctx = grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(ctx, headers), besides)
	message, err := e.server.Call(ctx, call.GetMethod(), call.GetRequest())
	answer := &pluginv1.Answer{Id: call.GetId()}
	switch most := call.GetMaxAnswer(); {
	case err != nil:
		answer.Status, _ = proto.Marshal(statusOf(err).Proto())
	case most > 0 && uint64(len(message)) > most:
		answer.Oversize = uint64(len(message))
	default:
		answer.Message = message
	}
	answer.Headers, answer.Trailers = headersOf(besides.header), headersOf(besides.trailer)
	return answer
}

func (e *exchange) answer(call *pluginv1.Call, answer *pluginv1.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.cancels, call.GetId())
	if e.server.Answer == nil || e.server.Answer(call, answer) {
		_ = e.stream.Send(&pluginv1.Answers{Answers: []*pluginv1.Answer{answer}}) // to a host that may have gone
	}
}

func (e *exchange) end() error {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.calls.Wait()
	return e.stream.Send(&pluginv1.Answers{Last: &e.last})
}

// statusOf is the status of a call that ends with an error, as grpc-go's server has it.
func statusOf(err error) *status.Status {
	if known, ok := status.FromError(err); ok {
		return known
	}
	return status.FromContextError(err)
}

func headersOf(md metadata.MD) []*pluginv1.Header {
	var headers []*pluginv1.Header
	for name, values := range md {
		for _, value := range values {
			headers = append(headers, &pluginv1.Header{Name: name, Value: []byte(value)})
		}
	}
	return headers
}

// said is what a handler says besides its answer.
type said struct {
	method          string
	header, trailer metadata.MD
}

func (s *said) Method() string                  { return s.method }
func (s *said) SetHeader(md metadata.MD) error  { s.header = metadata.Join(s.header, md); return nil }
func (s *said) SendHeader(md metadata.MD) error { return s.SetHeader(md) }
func (s *said) SetTrailer(md metadata.MD) error { s.trailer = metadata.Join(s.trailer, md); return nil }
