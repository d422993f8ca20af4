package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// grpc-go reads a message into memory as soon as it knows how long it is. A server that is to have room for it first has to read
// itself: the length, and, when there is room, the message, of which no more than smallMessage has come by then, because HTTP/2's
// flow control lets no more pass.

const (
	// messagePrefix is what gRPC puts before a message: whether it is compressed, and its length.
	messagePrefix = 5
	// receiveStep is how much of a large message is asked for at a time, in bytes.
	receiveStep = 256 << 10
	// receiveTime bounds how long the rest of a large message may take once there is room for it: who holds room has to use it.
	receiveTime = 30 * time.Second
)

// incoming is grpc-go's stream of a call from Flyte, as far as it is needed here.
type incoming interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	RecvCompress() string
}

var errManyMessages = status.Error(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")

// receive receives the message of a call that has one.
func (g *Gateway) receive(ctx context.Context, m *method, fallback func(any) error) (*frame, error) {
	request := &frame{}
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(incoming)
	if !ok {
		return request, fallback(request)
	}
	if err := g.receiveNext(ctx, m, stream, request); err != nil {
		if errors.Is(err, io.EOF) {
			err = status.Error(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
		}
		return nil, err
	}
	err := stream.ReadMessageHeader(request.prefix[:])
	switch {
	case errors.Is(err, io.EOF):
		return request, nil
	case err == nil:
		err = errManyMessages
	}
	request.free()
	return nil, asStatus(err)
}

// receiveNext receives one of a call's messages into an empty frame; io.EOF where there is none.
func (g *Gateway) receiveNext(ctx context.Context, m *method, stream incoming, into *frame) error {
	if err := stream.ReadMessageHeader(into.prefix[:]); err != nil {
		return asStatus(err)
	}
	length := int64(binary.BigEndian.Uint32(into.prefix[1:]))
	if length > int64(g.memory.maxMessage) {
		return g.memory.tooLong(m, length)
	}
	var err error
	if length <= smallMessage {
		into.buffers, err = stream.Read(int(length))
	} else {
		err = g.receiveLarge(ctx, m, stream, into, int(length))
	}
	if err == nil && into.prefix[0] != 0 {
		err = g.uncompress(ctx, m, stream, into)
	}
	if err != nil {
		into.free()
		return asStatus(err)
	}
	return nil
}

func (m *memory) tooLong(of *method, length int64) error {
	m.refused.WithLabelValues("message_size").Inc()
	return status.Errorf(codes.ResourceExhausted, "this %s has %d bytes, more than the %d that max_message_size allows", of.name, length, m.maxMessage)
}

// receiveLarge waits for room for a message, and reads it bit by bit into one piece, so that it is never there twice.
func (g *Gateway) receiveLarge(ctx context.Context, m *method, stream incoming, into *frame, length int) error {
	share, err := g.memory.request(ctx, m.name, length)
	if err != nil {
		return err
	}
	whole := make([]byte, 0, length)
	read := make(chan error, 1)
	go func() { // a stream that is being read is left only by the end of its call
		for len(whole) < length {
			part, err := stream.Read(min(receiveStep, length-len(whole)))
			if err != nil {
				read <- err
				return
			}
			for _, piece := range part {
				whole = append(whole, piece.ReadOnlyData()...)
			}
			part.Free()
		}
		read <- nil
	}()
	timer := time.NewTimer(receiveTime)
	defer timer.Stop()
	select {
	case err = <-read:
	case <-timer.C:
		err = status.Errorf(codes.ResourceExhausted, "this %s has %d bytes, of which not all came within %v: there is room only for what comes", m.name, length, receiveTime)
	}
	if err != nil {
		share.Release()
		return err
	}
	into.room = &room{share: share}
	into.buffers = into.room.buffer(whole)
	return nil
}

// uncompress puts the message that was compressed in the place of the compressed one. How large it is nobody says: it is
// uncompressed once to find out, and again when there is room.
func (g *Gateway) uncompress(ctx context.Context, m *method, stream incoming, f *frame) error {
	name := stream.RecvCompress()
	how := encoding.GetCompressor(name)
	if f.prefix[0] != 1 || how == nil || name == encoding.Identity {
		return status.Errorf(codes.Internal, "grpc: this %s is marked as compressed (%d), and its encoding is %q", m.name, f.prefix[0], name)
	}
	into := func(do func(io.Reader) error) error {
		plain, err := how.Decompress(f.buffers.Reader())
		if err == nil {
			err = do(io.LimitReader(plain, int64(g.memory.maxMessage)+1))
		}
		if err != nil {
			return status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
		}
		return nil
	}
	var size int64
	if err := into(func(plain io.Reader) (err error) { size, err = io.Copy(io.Discard, plain); return err }); err != nil {
		return err
	}
	if size > int64(g.memory.maxMessage) {
		return g.memory.tooLong(m, size)
	}
	var larger *room
	if size > smallMessage {
		share, err := g.memory.request(ctx, m.name, int(size))
		if err != nil {
			return err
		}
		larger = &room{share: share}
	}
	whole := make([]byte, size)
	err := into(func(plain io.Reader) error { _, err := io.ReadFull(plain, whole); return err })
	f.buffers.Free()
	f.room = larger
	f.buffers = larger.buffer(whole)
	return err
}

// asStatus is an error of a stream as grpc-go has it.
func asStatus(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return status.Error(codes.Internal, io.ErrUnexpectedEOF.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}
