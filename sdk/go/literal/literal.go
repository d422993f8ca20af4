// Package literal turns Flyte's literals into Go values and back.
//
// | literal                     | Go, when any is asked for      | Go, when asked for by type                   |
// |-----------------------------|--------------------------------|----------------------------------------------|
// | integer                     | int64                          | any int or uint that holds it, floats        |
// | float                       | float64                        | floats; ints that hold it exactly            |
// | string, enum                | string                         | any string type, encoding.TextUnmarshaler    |
// | boolean                     | bool                           | any bool type                                |
// | datetime, duration          | time.Time (UTC), time.Duration | the same                                     |
// | none                        | nil                            | nil pointer, map, slice, interface           |
// | collection                  | []any                          | slices                                       |
// | map                         | map[string]any                 | maps with string keys, structs               |
// | union                       | its value                      | its value                                    |
// | generic, msgpack            | map[string]any, map[any]any    | structs and maps, by encoding/json's rules   |
// |                             | where a key is no string, …    |                                              |
// | bytes, timestamps in it     | []byte, Timestamp              | the same, in structs also as time.Time       |
// | other binary                | []byte, or Binary with a tag   | []byte, Binary                               |
// | blob                        | File, Directory                | the same                                     |
// | structured dataset, schema  | StructuredDataset, Schema      | the same, a schema also as StructuredDataset |
//
// A *core.Literal, at any depth, is passed through both ways for what the table lacks. What the Go type cannot hold is an
// error, and so is what the declared type cannot: nothing is rounded, cut or read as text. A duration has 292 years at most.
//
// Encode follows the type that the task's interface declares: a Go int becomes a float where a float is declared, and
// a union literal names its variant. Without a declared type it takes what is natural for the Go value.
package literal

import (
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// Decode reads a literal as a T. The error says where inside the literal, what is there and what was asked for.
func Decode[T any](l *core.Literal) (T, error) {
	var value T
	err := DecodeInto(l, &value)
	return value, err
}

// IsNone says whether a literal is None, perhaps as a variant of a union.
func IsNone(l *core.Literal) bool {
	for l.GetScalar().GetUnion() != nil {
		l = l.GetScalar().GetUnion().GetValue()
	}
	return l.GetScalar().GetNoneType() != nil
}
