package plugin

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin/internal/exchange"
)

// Conn is the connection to a plugin's process. Where the plugin serves CallService, its stream takes the calls that it can, many in a
// message; all else goes call by call. A caller sees no difference.
type Conn struct {
	conn          *grpc.ClientConn
	exchange      *exchange.Exchange
	shared, alone atomic.Uint64
	answered      answered
}

var _ grpc.ClientConnInterface = (*Conn)(nil)

const (
	// MaxAnswer is the largest message, in bytes, that the host reads of what a plugin answers to anything. What is larger is not
	// received. It is more than the 4 MiB that Flyte's clients read, so that an answer whose message is too long keeps its phase and outputs.
	MaxAnswer = 16 << 20
	// maxAtWill is the largest answer to a poll, in bytes, that comes without there being room for it first.
	maxAtWill = 64 << 10
	// maxAnswerHeaders bounds the headers of an answer, in bytes.
	maxAnswerHeaders = 1 << 20
	// streamWindow is how much a plugin may send of one answer before it is read, and connWindow of all, in bytes.
	streamWindow, connWindow = 1 << 20, 4 << 20
	// readBuffer is what a connection to a plugin takes at once of what TLS, which has a buffer of its own, has read, in bytes: most are idle.
	readBuffer = 4 << 10
)

// Admission is an option of a poll: its answer, where it is large, waits for room.
type Admission = exchange.Admission

// NewConn makes calls by a connection to a plugin. Close must be called, and leaves conn open.
func NewConn(conn *grpc.ClientConn, log *slog.Logger) *Conn {
	return &Conn{conn: conn, exchange: exchange.New(conn, MaxAnswer, log)}
}

// Invoke makes a call with one request and one answer. A poll may reach the plugin twice.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	call := c.answered.hearing.begin(method)
	err := c.invoke(ctx, method, request, response, options...)
	c.answered.note(method, call, err)
	return err
}

func (c *Conn) invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	polls := method == service.AsyncAgentService_GetTask_FullMethodName
	maxAnswer := MaxAnswer
	if polls {
		maxAnswer = maxAtWill
	}
	err := c.exchange.Invoke(ctx, method, maxAnswer, request, response, options...)
	switch {
	case errors.Is(err, exchange.ErrNotTaken):
	case polls && (errors.Is(err, exchange.ErrTooLarge) || errors.Is(err, exchange.ErrCut)):
	case errors.Is(err, exchange.ErrTooLarge):
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (more than %d)", maxAnswer)
	case errors.Is(err, exchange.ErrCut):
		return status.Error(codes.Unavailable, "the plugin's stream of calls ended before the answer")
	default:
		c.shared.Add(1)
		return err
	}
	c.alone.Add(1)
	for _, option := range options {
		if admission, ok := option.(Admission); ok {
			if err := admission.Wait(ctx); err != nil {
				return err
			}
		}
	}
	return c.conn.Invoke(ctx, method, request, response, append([]grpc.CallOption{atMost}, options...)...)
}

// atMost bounds every answer; a call may have a bound of its own.
var atMost = grpc.MaxCallRecvMsgSize(MaxAnswer)

// NewStream begins a call with any number of messages.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.conn.NewStream(ctx, desc, method, options...)
	return c.answered.stream(method, stream, err)
}

// Answered says whether the plugin has answered a call on one of its agents.
func (c *Conn) Answered() bool { return c.answered.has.Load() }

// Silence says what the plugin's calls tell of whether it answers.
func (c *Conn) Silence() Silence { return c.answered.hearing.silence() }

// Close ends the stream of calls, where there is one.
func (c *Conn) Close() { c.exchange.Close() }

// Shares says whether the plugin serves the stream that calls share, once that is known.
func (c *Conn) Shares(ctx context.Context) bool { return c.exchange.Open(ctx) }

// CallStats says how calls with one request and one answer went: `agenthost verify` tells authors by it whether their server takes what
// it says it does.
type CallStats struct {
	// Shared is how many calls went by the stream that they share, Alone how many by themselves.
	Shared, Alone uint64
}

// CallStats is what the Conn has counted so far.
func (c *Conn) CallStats() CallStats {
	return CallStats{Shared: c.shared.Load(), Alone: c.alone.Load()}
}
