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

// answered is whether a plugin has answered a call on one of its agents: it works then, whatever ends it later. And whether it does so
// still.
type answered struct {
	has     atomic.Bool
	hearing hearing
}

// onAgents says that a call is one on the plugin's agents. Discovery and health are none.
func onAgents(method string) bool {
	return strings.Contains(method, ".AsyncAgentService/") || strings.Contains(method, ".SyncAgentService/")
}

// note takes note of how a call went that was begun with hearing.begin.
func (a *answered) note(method string, call *heardCall, err error) {
	if !onAgents(method) {
		return
	}
	a.hearing.end(call, err)
	if isAnswer(err) && status.Code(err) != codes.Internal { // which a broken connection makes too
		a.has.Store(true)
	}
}

// stream has the messages of an answer, and its end, noted. How long the whole takes does not count: it may be meant to last.
func (a *answered) stream(method string, stream grpc.ClientStream, err error) (grpc.ClientStream, error) {
	if err != nil || !onAgents(method) {
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
		s.answered.note(s.method, nil, nil)
	} else {
		s.answered.note(s.method, nil, err)
	}
	return err
}

// notedConn is the connection to the servers of a remote plugin.
type notedConn struct {
	*grpc.ClientConn
	answered *answered
}

func (c notedConn) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	call := c.answered.hearing.begin(method)
	err := c.ClientConn.Invoke(ctx, method, request, response, options...)
	c.answered.note(method, call, err)
	return err
}

func (c notedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConn.NewStream(ctx, desc, method, options...)
	return c.answered.stream(method, stream, err)
}
