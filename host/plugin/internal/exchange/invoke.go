package exchange

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Invoke makes a call, as [grpc.ClientConnInterface] has it: with ctx's deadline, cancellation and outgoing metadata, and grpc's own
// errors, or one of this package's. It takes calls that bring their codec (grpc.ForceCodecV2), one without a name, and may bound the
// answer, and ask for header, trailer and peer; others are not taken.
//
// An answer of more than maxAnswer bytes is not sent: ErrTooLarge. One that the call's own options refuse is grpc's error.
func (x *Exchange) Invoke(ctx context.Context, method string, maxAnswer int, request, response any, opts ...grpc.CallOption) error {
	wants, ok := read(opts)
	if !ok {
		return ErrNotTaken
	}
	s := x.stream()
	if s == nil || !s.methods[method] {
		return ErrNotTaken
	}
	message, err := wants.codec.Marshal(request)
	if err != nil {
		return ErrNotTaken // grpc-go says what is wrong with it
	}
	defer message.Free()
	bounded := wants.maxAnswer > 0 && wants.maxAnswer <= maxAnswer
	if bounded {
		maxAnswer = wants.maxAnswer
	}
	one, err := s.call(ctx, method, message, maxAnswer, wants)
	if one == nil {
		return err
	}
	if one.oversize > 0 && bounded {
		err = status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", one.oversize, maxAnswer)
	} else if one.oversize > 0 {
		return ErrTooLarge
	}
	header, trailer := one.metadata(err)
	if wants.header != nil {
		*wants.header = header
	}
	if wants.trailer != nil {
		*wants.trailer = trailer
	}
	if err != nil {
		return err
	}
	if err := wants.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(one.message)}, response); err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// contentType is the header that comes with every answer of a gRPC server. The map is the caller's, who may change it.
func contentType() metadata.MD { return metadata.MD{"content-type": applicationGRPC} }

var applicationGRPC = []string{"application/grpc"}

// metadata is the answer's, as it comes from a gRPC server, which sends an error without headers of its own in one piece.
func (a *answer) metadata(err error) (header, trailer metadata.MD) {
	if err != nil && len(a.headers) == 0 {
		return nil, with(contentType(), a.trailers)
	}
	return with(contentType(), a.headers), a.trailers
}

// with adds metadata to some.
func with(md, more metadata.MD) metadata.MD {
	for name, values := range more {
		md[name] = append(slices.Clip(md[name]), values...)
	}
	return md
}

// callOptions are those that an exchange knows.
type callOptions struct {
	codec           encoding.CodecV2
	header, trailer *metadata.MD
	peer            *peer.Peer
	maxAnswer       int
}

// Admission is an option of a call whose answer, where it is larger than one that may come at will, waits for room. An exchange has answers
// that may come at will.
type Admission interface {
	grpc.CallOption
	// Wait waits for as much room as any answer may take.
	Wait(ctx context.Context) error
}

// read says whether it knows all of the options, and whether there is a codec that goes by plain application/grpc.
func read(opts []grpc.CallOption) (o callOptions, ok bool) {
	for _, option := range opts {
		switch option := option.(type) {
		case grpc.ForceCodecV2CallOption:
			o.codec = option.CodecV2
		case grpc.HeaderCallOption:
			o.header = option.HeaderAddr
		case grpc.TrailerCallOption:
			o.trailer = option.TrailerAddr
		case grpc.PeerCallOption:
			o.peer = option.PeerAddr
		case grpc.MaxRecvMsgSizeCallOption:
			o.maxAnswer = option.MaxRecvMsgSize
		case Admission:
		default:
			return callOptions{}, false
		}
	}
	return o, o.codec != nil && o.codec.Name() == ""
}
