package gateway

import (
	"bytes"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// frame is one protobuf message as it crossed the wire. The host looks into it and passes it on; it is not decoded and
// encoded again, so that what a newer Flyte or a newer plugin puts in it arrives.
//
// A frame holds a reference on its buffers from the moment it is filled. The owner calls free exactly once; a frame
// handed to grpc for sending may be sent again until then.
type frame struct {
	buffers mem.BufferSlice
	room    *room               // that the message is counted on, where it is large
	prefix  [messagePrefix]byte // as it came, where it was received by the gateway itself
}

// newFrame returns a frame with a message of the host's own.
func newFrame(message []byte) *frame {
	return &frame{buffers: mem.BufferSlice{mem.SliceBuffer(message)}}
}

// bytes returns the message in one piece, without copying it where it came in one.
func (f *frame) bytes() []byte {
	switch len(f.buffers) {
	case 0:
		return nil
	case 1:
		return f.buffers[0].ReadOnlyData()
	}
	whole := f.buffers.MaterializeToBuffer(mem.DefaultBufferPool())
	f.buffers.Free()
	f.buffers = mem.BufferSlice{whole}
	return whole.ReadOnlyData()
}

// keep returns the message for somebody who keeps it for longer than the frame. What is counted on a room has memory of its own; that of
// others is used again.
func (f *frame) keep() []byte {
	if f.room != nil {
		return f.bytes()
	}
	return bytes.Clone(f.bytes())
}

// set replaces the message.
func (f *frame) set(message []byte) {
	former := f.buffers
	f.buffers = f.room.buffer(message)
	former.Free()
}

// share returns a frame with the same message and an owner of its own.
func (f *frame) share() *frame {
	f.buffers.Ref()
	return &frame{buffers: f.buffers, room: f.room}
}

func (f *frame) free() {
	f.buffers.Free()
	f.buffers, f.room = nil, nil
}

// codec lets frames through as they are and leaves every other message (health, reflection, discovery) to protobuf.
// It is forced on both sides. Its name is empty because grpc puts a codec's name into the content-type, and what
// crosses is plain application/grpc.
type codec struct{ encoding.CodecV2 }

var frameCodec encoding.CodecV2 = codec{encoding.GetCodecV2(proto.Name)}

// withFrames is the option of every call to a plugin.
var withFrames = grpc.ForceCodecV2(frameCodec)

func (codec) Name() string { return "" }

func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	f, ok := message.(*frame)
	if !ok {
		return c.CodecV2.Marshal(message)
	}
	f.buffers.Ref() // grpc frees what it is given; the frame keeps its own reference
	return f.buffers, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, message any) error {
	f, ok := message.(*frame)
	if !ok {
		return c.CodecV2.Unmarshal(data, message)
	}
	f.buffers.Free()
	data.Ref()
	f.buffers = data
	return nil
}
