package plugin

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// answered is whether a plugin has answered a call on one of its agents: it works then, whatever ends it later.
type answered struct{ has atomic.Bool }

// note takes note of how a call went. Discovery and health are no calls on an agent.
func (a *answered) note(method string, err error) {
	if a.has.Load() || !strings.Contains(method, ".AsyncAgentService/") && !strings.Contains(method, ".SyncAgentService/") {
		return
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Internal: // which a broken connection makes too
	default:
		a.has.Store(true)
	}
}

// stream has the first message of an answer, or its end, noted.
func (a *answered) stream(method string, stream grpc.ClientStream, err error) (grpc.ClientStream, error) {
	if err != nil || a.has.Load() {
		return stream, err
	}
	return &notedStream{stream, method, a}, nil
}

type notedStream struct {
	grpc.ClientStream
	method   string
	answered *answered
}

func (s *notedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if errors.Is(err, io.EOF) {
		s.answered.note(s.method, nil)
	} else {
		s.answered.note(s.method, err)
	}
	return err
}

// notedConn is the connection to the servers of a remote plugin.
type notedConn struct {
	*grpc.ClientConn
	answered *answered
}

func (c notedConn) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	err := c.ClientConn.Invoke(ctx, method, request, response, options...)
	c.answered.note(method, err)
	return err
}

func (c notedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConn.NewStream(ctx, desc, method, options...)
	return c.answered.stream(method, stream, err)
}
