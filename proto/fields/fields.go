// Package fields reads and edits protobuf messages field by field, by their numbers and without their types: for fields
// that the linked flyteidl does not know, and where decoding a whole message to read two fields would cost too much.
package fields

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Number is a field's number.
type Number = protowire.Number

// ErrMalformed says that bytes are not a protobuf message.
var ErrMalformed = errors.New("it is not a protobuf message")

// Value is the value of one field. One of another kind than the schema's is an unknown field to protobuf: Text and Int32
// set nothing of it either.
type Value struct {
	Kind   protowire.Type
	Varint uint64 // of a varint
	Bytes  []byte // of a length-delimited field; they refer to the message
}

// Text sets s to a string field, and says whether the value is one.
func (v Value) Text(s *string) bool {
	if v.Kind == protowire.BytesType {
		*s = string(v.Bytes)
	}
	return v.Kind == protowire.BytesType
}

// Int32 sets n to an int32 or enum field, and says whether the value can be one.
func (v Value) Int32(n *int32) bool {
	if v.Kind == protowire.VarintType {
		*n = int32(v.Varint)
	}
	return v.Kind == protowire.VarintType
}

// Each calls visit for every field of a message, in the order of the wire, until visit returns an error. Later values of
// one field override earlier ones, and a message may come in parts: visitors merge, as protobuf does.
func Each(message []byte, visit func(Number, Value) error) error {
	for len(message) > 0 {
		number, kind, tagLength := protowire.ConsumeTag(message)
		if tagLength < 0 {
			return ErrMalformed
		}
		valueLength := protowire.ConsumeFieldValue(number, kind, message[tagLength:])
		if valueLength < 0 {
			return ErrMalformed
		}
		value := Value{Kind: kind}
		switch kind {
		case protowire.VarintType:
			value.Varint, _ = protowire.ConsumeVarint(message[tagLength:])
		case protowire.BytesType:
			value.Bytes, _ = protowire.ConsumeBytes(message[tagLength:])
		}
		if err := visit(number, value); err != nil {
			return err
		}
		message = message[tagLength+valueLength:]
	}
	return nil
}

// EachRaw calls visit for every field of a message with the bytes of its tag and value.
func EachRaw(message []byte, visit func(number Number, kind protowire.Type, raw []byte)) error {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeField(message)
		if length < 0 {
			return ErrMalformed
		}
		visit(number, kind, message[:length])
		message = message[length:]
	}
	return nil
}

// Take returns a length-delimited field, its parts put together as protobuf merges those of a message, and the fields
// besides it.
func Take(message []byte, wanted Number) (value, rest []byte, err error) {
	parts := 0
	err = Each(message, func(number Number, v Value) error {
		if number == wanted && v.Kind == protowire.BytesType {
			if parts++; parts == 1 {
				value = v.Bytes
			} else {
				value = append(value[:len(value):len(value)], v.Bytes...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	err = EachRaw(message, func(number Number, kind protowire.Type, raw []byte) {
		if number != wanted || kind != protowire.BytesType {
			rest = append(rest, raw...)
		}
	})
	return value, rest, err
}

// Set returns the message with a length-delimited field set, and all else as it is.
func Set(message []byte, number Number, value []byte) ([]byte, error) {
	_, rest, err := Take(message, number)
	if err != nil {
		return nil, err
	}
	return Append(slices.Clip(rest), number, value), nil
}

// Append appends a length-delimited field: a string, bytes or a message.
func Append[T string | []byte](to []byte, number Number, value T) []byte {
	to = protowire.AppendTag(to, number, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(len(value)))
	return append(to, value...)
}

// AppendVarint appends a field that is a number, a bool or an enum.
func AppendVarint(to []byte, number Number, value uint64) []byte {
	to = protowire.AppendTag(to, number, protowire.VarintType)
	return protowire.AppendVarint(to, value)
}
