package gateway

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/route"
)

// stream makes the handler of a method whose answer, and for sync calls whose request, is a stream.
func (g *Gateway) stream(m method) grpc.StreamHandler {
	return func(_ any, caller grpc.ServerStream) error {
		observed := g.metrics.begin(m)
		err := g.forwardStream(caller, m, observed)
		observed.end(err)
		return err
	}
}

func (g *Gateway) forwardStream(caller grpc.ServerStream, m method, observed *observation) error {
	first := &frame{}
	defer first.free()
	if err := caller.RecvMsg(first); err != nil {
		return noFirstMessage(m, err)
	}
	header, found, err := g.route(m, first.bytes())
	if err != nil {
		return err
	}
	observed.routed(found, header)
	if m.generation == flyte2 && found.ByTaskType && !header.hasTaskType {
		first.set(withTaskType(first.bytes(), header.category.Name))
	}

	lease, err := acquire(caller.Context(), found)
	if err != nil {
		return err
	}
	defer lease.Release()
	ctx, cancel := context.WithCancel(outgoing(caller.Context(), header))
	defer cancel() // ends the pump's receiver on the plugin's side when the answer is over

	answered, err := relay(ctx, caller, lease, m, first)
	if err != nil && !answered && diedWith(ctx, lease) {
		return died(m, found)
	}
	return err
}

// relay passes frames both ways until the plugin has answered in full.
func relay(ctx context.Context, caller grpc.ServerStream, lease route.Lease, m method, first *frame) (answered bool, err error) {
	desc := &grpc.StreamDesc{StreamName: m.name, ServerStreams: true, ClientStreams: true}
	agent, err := lease.Conn.NewStream(ctx, desc, m.target, grpc.ForceCodecV2(frameCodec))
	if err != nil {
		return false, err
	}
	go passRequests(caller, agent, first.share())

	headerSent := false
	for {
		message := &frame{}
		err := agent.RecvMsg(message)
		if !headerSent {
			headerSent = true
			if header, headerErr := agent.Header(); headerErr == nil {
				if err := caller.SetHeader(passed(header)); err != nil {
					return true, err
				}
			}
		}
		if err != nil {
			trailer := agent.Trailer()
			caller.SetTrailer(passed(trailer))
			if errors.Is(err, io.EOF) {
				return true, nil
			}
			return len(trailer) > 0, err
		}
		err = caller.SendMsg(message)
		message.free()
		if err != nil {
			return true, err
		}
	}
}

// passRequests sends the first frame and what follows it to the plugin. An error needs no handling here: one of the
// caller's ends the context of the call, one of the plugin's comes out of the other direction.
func passRequests(caller grpc.ServerStream, agent grpc.ClientStream, first *frame) {
	err := agent.SendMsg(first)
	first.free()
	for err == nil {
		message := &frame{}
		if err = caller.RecvMsg(message); err == nil {
			err = agent.SendMsg(message)
		}
		message.free()
	}
	if errors.Is(err, io.EOF) {
		_ = agent.CloseSend()
	}
}

func noFirstMessage(m method, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return status.Errorf(codes.InvalidArgument, "this %s ended before its first message", m.name)
	case status.Code(err) == codes.ResourceExhausted:
		return status.Errorf(codes.ResourceExhausted, "this %s is larger than the host takes: %s (max_message_size in its configuration)", m.name, status.Convert(err).Message())
	default:
		return err
	}
}
