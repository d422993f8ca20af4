package agent

import (
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// Input reads one input as a T: string, int64, []float64, time.Time, StructuredDataset, *string for an optional one, a
// struct with json tags for a dataclass, any for whatever it is. See package literal for all of them. The error is an
// INVALID_ARGUMENT that names the input and the types. A pointer to nothing is also the answer for an absent input.
func Input[T any](task *Task, name string) (T, error) {
	var value T
	err := task.decodeInput(name, &value)
	return value, err
}

// InputOr is Input with a default for an input that is absent or None.
func InputOr[T any](task *Task, name string, fallback T) (T, error) {
	value, err := Input[*T](task, name)
	if err != nil || value == nil {
		return fallback, err
	}
	return *value, nil
}

// HasInput says whether the task has an input of that name that is not None.
func (t *Task) HasInput(name string) bool {
	l, ok := t.Inputs.GetLiterals()[name]
	return ok && !literal.IsNone(l)
}

// InputValues reads all inputs as the Go values that are natural for them. See package literal.
func (t *Task) InputValues() (map[string]any, error) {
	values := make(map[string]any, len(t.Inputs.GetLiterals()))
	for name := range t.Inputs.GetLiterals() {
		value, err := Input[any](t, name)
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	return values, nil
}

// DecodeInputs reads the inputs into the struct that into points to. A field takes the input that its tag names,
// `input:"name"`, or else its own name in snake case (MaxRows takes max_rows); `input:"-"` takes none. An absent or None
// input is an error, unless the field is a pointer or the tag says `input:"name,optional"`: then the field keeps its
// value. Inputs without a field are ignored.
func (t *Task) DecodeInputs(into any) error { return t.decodeInputs(into) }

// The Go types of values that Go has no type for. See package literal for what becomes what.
type (
	// StructuredDataset is a table that lies in storage.
	StructuredDataset = literal.StructuredDataset
	// Column is one column of a StructuredDataset.
	Column = literal.Column
	// File is one file in storage.
	File = literal.File
	// Directory is a folder in storage.
	Directory = literal.Directory
	// Schema is flytekit's deprecated FlyteSchema.
	Schema = literal.Schema
	// SchemaColumn is one column of a Schema.
	SchemaColumn = literal.SchemaColumn
	// Binary is bytes with the name of their encoding.
	Binary = literal.Binary
	// JSON marks an output to be written as a generic literal instead of msgpack.
	JSON = literal.JSON
)

// Decode reads a literal as a T. See package literal.
func Decode[T any](l *core.Literal) (T, error) { return literal.Decode[T](l) }

// Encode writes a Go value as a literal of the declared type, or of the natural one when that is nil. See package literal.
func Encode(value any, declared *core.LiteralType) (*core.Literal, error) {
	return literal.Encode(value, declared)
}
