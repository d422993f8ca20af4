package exchange

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

// The numbers of plugin.proto's fields. What crosses is written and read here, bit by bit: the generated code would make an object for
// each call.
const (
	callsCalls    protowire.Number = 1
	callsCanceled protowire.Number = 2

	callID        protowire.Number = 1
	callMethod    protowire.Number = 2
	callRequest   protowire.Number = 3
	callTimeout   protowire.Number = 4
	callHeaders   protowire.Number = 5
	callMaxAnswer protowire.Number = 6

	headerName  protowire.Number = 1
	headerValue protowire.Number = 2

	answersAnswers protowire.Number = 1
	answersLast    protowire.Number = 3

	answerID       protowire.Number = 1
	answerMessage  protowire.Number = 2
	answerStatus   protowire.Number = 3
	answerTrailers protowire.Number = 4
	answerOversize protowire.Number = 5
	answerHeaders  protowire.Number = 6
)

// Answers share messages of some hundred KiB; a larger answer has one to itself, with what there is of it besides.
const besides = 1 << 20

// options are those of a stream whose answers have up to maxAnswer bytes.
func options(maxAnswer int) []grpc.CallOption {
	return []grpc.CallOption{grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(maxAnswer + besides)}
}

// codec lets messages through as bytes, by plain application/grpc.
type codec struct{}

var _ encoding.CodecV2 = codec{}

func (codec) Name() string { return "" }

// Marshal takes a []byte, which is grpc's from then on.
func (codec) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

// Unmarshal fills a *mem.BufferSlice, which is to be freed.
func (codec) Unmarshal(data mem.BufferSlice, message any) error {
	data.Ref()
	*message.(*mem.BufferSlice) = data
	return nil
}

// greeting is the methods that a plugin names in its first message.
func greeting(raw grpc.ClientStream) (map[string]bool, error) {
	var received mem.BufferSlice
	if err := raw.RecvMsg(&received); err != nil {
		return nil, err
	}
	defer received.Free()
	first := &pluginv1.Answers{}
	if err := proto.Unmarshal(received.Materialize(), first); err != nil {
		return nil, fmt.Errorf("the plugin's first message on the stream is none: %w", err)
	}
	methods := map[string]bool{}
	for _, method := range first.GetMethods() {
		methods[method] = true
	}
	return methods, nil
}

// appendCall adds a call to a message.
func appendCall(message []byte, id uint64, method string, request mem.BufferSlice, end time.Time, headers metadata.MD, maxAnswer int) []byte {
	message = protowire.AppendTag(message, callsCalls, protowire.BytesType)
	message, begun := beginField(message)
	message = fields.AppendVarint(message, callID, id)
	message = fields.Append(message, callMethod, method)
	message = protowire.AppendTag(message, callRequest, protowire.BytesType)
	message = protowire.AppendVarint(message, uint64(request.Len()))
	for _, part := range request {
		message = append(message, part.ReadOnlyData()...)
	}
	if !end.IsZero() {
		message = fields.AppendVarint(message, callTimeout, uint64(max(time.Until(end).Microseconds(), 1)))
	}
	for name, values := range headers {
		for _, value := range values {
			message = appendHeader(message, strings.ToLower(name), value)
		}
	}
	if maxAnswer > 0 {
		message = fields.AppendVarint(message, callMaxAnswer, uint64(maxAnswer))
	}
	return endField(message, begun)
}

func appendHeader(message []byte, name, value string) []byte {
	size := protowire.SizeTag(headerName) + protowire.SizeBytes(len(name)) + protowire.SizeTag(headerValue) + protowire.SizeBytes(len(value))
	message = protowire.AppendTag(message, callHeaders, protowire.BytesType)
	message = protowire.AppendVarint(message, uint64(size))
	return fields.Append(fields.Append(message, headerName, name), headerValue, value)
}

func appendCancel(message []byte, id uint64) []byte {
	return fields.AppendVarint(message, callsCanceled, id)
}

// sizeBytes is how many bytes the length of a field has that is written before the field itself: enough for 2 MiB.
const sizeBytes = 3

// beginField leaves room for the length of what follows.
func beginField(message []byte) (_ []byte, begun int) {
	message = append(message, make([]byte, sizeBytes)...)
	return message, len(message)
}

// endField writes the length, as a varint of all of its bytes: protobuf takes longer ones than need be.
func endField(message []byte, begun int) []byte {
	size := len(message) - begun
	for i := range sizeBytes {
		message[begun-sizeBytes+i] = byte(size>>(7*i))&0x7f | 0x80
	}
	message[begun-1] &= 0x7f
	return message
}

// answer is one as it came. Its bytes are the message's that it came in.
type answer struct {
	id                uint64
	message, status   []byte
	headers, trailers metadata.MD
	oversize          uint64
}

// eachAnswer reads a message of a plugin's. last is set where it is the stream's last.
func eachAnswer(message []byte, take func(*answer)) (last *uint64, err error) {
	err = fields.Each(message, func(number fields.Number, value fields.Value) error {
		switch {
		case number == answersAnswers && value.Kind == protowire.BytesType:
			var one answer
			if err := one.read(value.Bytes); err != nil {
				return err
			}
			take(&one)
		case number == answersLast && value.Kind == protowire.VarintType:
			last = &value.Varint
		}
		return nil
	})
	return last, err
}

func (a *answer) read(message []byte) error {
	return fields.Each(message, func(number fields.Number, value fields.Value) error {
		switch value.Kind { //nolint:exhaustive // its fields are of these
		case protowire.BytesType:
			switch number {
			case answerMessage:
				a.message = value.Bytes
			case answerStatus:
				a.status = value.Bytes
			case answerTrailers:
				return keep(&a.trailers, value.Bytes)
			case answerHeaders:
				return keep(&a.headers, value.Bytes)
			}
		case protowire.VarintType:
			switch number {
			case answerID:
				a.id = value.Varint
			case answerOversize:
				a.oversize = value.Varint
			}
		}
		return nil
	})
}

func keep(in *metadata.MD, header []byte) error {
	var one pluginv1.Header
	if err := proto.Unmarshal(header, &one); err != nil {
		return err
	}
	if *in == nil {
		*in = metadata.MD{}
	}
	in.Append(one.GetName(), string(one.GetValue()))
	return nil
}
