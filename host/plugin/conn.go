package plugin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/host/plugin/internal/pollconn"
)

// Conn is the connection to a plugin's process. A poll, GetTask with a codec of the caller's own (grpc.ForceCodecV2), goes by
// a second connection with a cheaper client where that takes it; all else, and what that does not take, by grpc-go. A caller
// sees no difference.
type Conn struct {
	conn            *grpc.ClientConn
	polls           *pollconn.Conn
	short, fallback atomic.Uint64
	answered        answered
}

var _ grpc.ClientConnInterface = (*Conn)(nil)

const (
	// MaxAnswer is the largest message, in bytes, that the host reads of what a plugin answers to anything. What is larger is not
	// received. It is more than the 4 MiB that Flyte's clients read, so that an answer whose message is too long keeps its phase and outputs.
	MaxAnswer = 16 << 20
	// maxAnswerHeaders bounds the headers of an answer, in bytes.
	maxAnswerHeaders = 1 << 20
)

// Admission is an option of a poll: its answer, where it is large, waits for room.
type Admission = pollconn.Admission

// serverName is what plugins are called on connections to them: they are all on this machine, and so are their certificates.
const serverName = "localhost"

// NewConn adds the connection for polls to one that was made to a plugin at the address of its handshake. tlsConfig is nil
// for a plugin without TLS. Close must be called, and leaves conn open.
func NewConn(conn *grpc.ClientConn, network, address string, tlsConfig *tls.Config, log *slog.Logger) *Conn {
	scheme, security := "http", insecure.NewCredentials()
	if tlsConfig != nil {
		scheme, security = "https", credentials.NewTLS(tlsConfig)
	}
	polls := pollconn.Open(pollconn.Options{
		Method: service.AsyncAgentService_GetTask_FullMethodName, Scheme: scheme, Authority: serverName, MaxAnswer: MaxAnswer, Log: log,
		Dial: func(ctx context.Context) (net.Conn, credentials.AuthInfo, error) {
			raw, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, nil, err
			}
			secured, auth, err := security.ClientHandshake(ctx, serverName, raw)
			if err != nil {
				_ = raw.Close()
				return nil, nil, err
			}
			return secured, auth, nil
		},
	})
	return &Conn{conn: conn, polls: polls}
}

// Invoke makes a call with one request and one answer. A poll may reach the plugin twice.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	call := c.answered.hearing.begin(method)
	err := c.invoke(ctx, method, request, response, options...)
	c.answered.note(method, call, err)
	return err
}

func (c *Conn) invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	if method != service.AsyncAgentService_GetTask_FullMethodName {
		return c.conn.Invoke(ctx, method, request, response, options...)
	}
	err := c.polls.Invoke(ctx, request, response, options...)
	if errors.Is(err, pollconn.ErrNotTaken) {
		c.fallback.Add(1)
		for _, option := range options {
			if admission, ok := option.(Admission); ok {
				if err := admission.Wait(ctx); err != nil {
					return err
				}
			}
		}
		return c.conn.Invoke(ctx, method, request, response, options...)
	}
	c.short.Add(1)
	return err
}

// NewStream begins a call with any number of messages.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.conn.NewStream(ctx, desc, method, options...)
	return c.answered.stream(method, stream, err)
}

// Answered says whether the plugin has answered a call on one of its agents.
func (c *Conn) Answered() bool { return c.answered.has.Load() }

// Silence says what the plugin's calls tell of whether it answers.
func (c *Conn) Silence() Silence { return c.answered.hearing.silence() }

// Close ends the connection for polls. Those under way and later ones go by grpc-go.
func (c *Conn) Close() { c.polls.Close() }

// PollStats says how polls go: `agenthost verify` tells authors by it whether their server takes the host's polls.
type PollStats struct {
	// Connected says that there is a connection for polls now.
	Connected bool
	// Short is how many polls went by it, Fallback how many by grpc-go.
	Short, Fallback uint64
}

// PollStats is what the Conn has counted so far.
func (c *Conn) PollStats() PollStats {
	return PollStats{Connected: c.polls.Connected(), Short: c.short.Load(), Fallback: c.fallback.Load()}
}
