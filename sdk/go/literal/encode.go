package literal

import (
	"errors"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// Encode writes a Go value as a literal of the declared type, or, when that is nil, of the type that is natural for the
// value. The error says where inside the value, what is there and what the type asks for.
func Encode(value any, declared *core.LiteralType) (*core.Literal, error) {
	return nil, errors.New("not yet")
}
