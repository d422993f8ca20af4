package scripted

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// frames is a codec that leaves messages as they are: a *[]byte on either side.
type frames struct{}

// Marshal takes a *[]byte.
func (frames) Marshal(message any) (mem.BufferSlice, error) {
	frame, ok := message.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("scripted: %T is not a frame", message)
	}
	return mem.BufferSlice{mem.SliceBuffer(*frame)}, nil
}

// Unmarshal fills a *[]byte with a copy.
func (frames) Unmarshal(data mem.BufferSlice, message any) error {
	frame, ok := message.(*[]byte)
	if !ok {
		return fmt.Errorf("scripted: %T is not a frame", message)
	}
	*frame = data.Materialize()
	return nil
}

// Name is that of the codec that it stands in for.
func (frames) Name() string { return "proto" }
