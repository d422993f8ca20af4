package pollconn

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Invoke calls the method, as [grpc.ClientConnInterface] has it: with ctx's deadline, cancellation and outgoing metadata,
// and grpc's own errors. It takes calls that bring their codec (grpc.ForceCodecV2), one without a name, and may ask for
// header, trailer and peer. A call with any other option, or without a codec, is not taken.
func (c *Conn) Invoke(ctx context.Context, request, response any, options ...grpc.CallOption) error {
	t := c.current.Load()
	wants, ok := read(options)
	if t == nil || !ok {
		return ErrNotTaken
	}
	message, err := wants.codec.Marshal(request)
	if err != nil {
		return ErrNotTaken // grpc-go says what is wrong with it
	}
	defer message.Free()
	a, err := t.call(ctx, message, wants)
	if errors.Is(err, ErrNotTaken) || a == nil {
		return err
	}
	if wants.header != nil {
		*wants.header = a.header
	}
	if wants.trailer != nil {
		*wants.trailer = a.trailer
	}
	if err != nil {
		return err
	}
	if err := wants.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(a.message)}, response); err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// callOptions are those that a poll connection knows.
type callOptions struct {
	codec           encoding.CodecV2
	header, trailer *metadata.MD
	peer            *peer.Peer
	admission       Admission
}

// Admission is an option of a call: its answer, where it is larger than one call may send at will, waits for room.
type Admission interface {
	grpc.CallOption
	// Now says whether there is room for an answer of so many bytes, and takes it. It must not wait, and may be called after the end of
	// the call.
	Now(size int) bool
	// Wait waits for as much room as any answer may take, in the place of Now, where the call is made another way.
	Wait(ctx context.Context) error
}

// read says whether it knows all of the options, and whether there is a codec that goes by plain application/grpc.
func read(options []grpc.CallOption) (o callOptions, ok bool) {
	for _, option := range options {
		switch option := option.(type) {
		case grpc.ForceCodecV2CallOption:
			o.codec = option.CodecV2
		case grpc.HeaderCallOption:
			o.header = option.HeaderAddr
		case grpc.TrailerCallOption:
			o.trailer = option.TrailerAddr
		case grpc.PeerCallOption:
			o.peer = option.PeerAddr
		case Admission:
			o.admission = option
		default:
			return callOptions{}, false
		}
	}
	return o, o.codec != nil && o.codec.Name() == ""
}
