package literal

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// Error says why a literal and a Go value do not fit.
type Error struct {
	// Path leads to the part in question, such as "[3].name"; empty for the value as a whole.
	Path string
	// Problem says what is there and what was asked for.
	Problem string
	// Cause is what another library said, if it did.
	Cause error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Problem
	}
	return "at " + e.Path + ": " + e.Problem
}

func (e *Error) Unwrap() error { return e.Cause }

func problem(path, format string, args ...any) error {
	formatted := fmt.Errorf(format, args...)
	return &Error{Path: path, Problem: formatted.Error(), Cause: errors.Unwrap(formatted)}
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func key(path, name string) string { return path + "." + name }

// TypeName names a declared type for people, such as "list[integer]".
func TypeName(t *core.LiteralType) string {
	switch of := t.GetType().(type) {
	case *core.LiteralType_Simple:
		if isPickle(t) {
			return "pickle"
		}
		return strings.ToLower(of.Simple.String())
	case *core.LiteralType_CollectionType:
		return "list[" + TypeName(of.CollectionType) + "]"
	case *core.LiteralType_MapValueType:
		return "map[string, " + TypeName(of.MapValueType) + "]"
	case *core.LiteralType_UnionType:
		names := make([]string, len(of.UnionType.GetVariants()))
		for i, variant := range of.UnionType.GetVariants() {
			names[i] = TypeName(variant)
		}
		return "union[" + strings.Join(names, ", ") + "]"
	case *core.LiteralType_EnumType:
		return "enum[" + strings.Join(of.EnumType.GetValues(), ", ") + "]"
	case *core.LiteralType_Blob:
		if of.Blob.GetDimensionality() == core.BlobType_MULTIPART {
			return "directory"
		}
		return "file"
	case *core.LiteralType_Schema:
		return "schema"
	case *core.LiteralType_StructuredDatasetType:
		return "structured dataset"
	}
	return "unknown type"
}

// literalName names what a literal is, for people.
func literalName(l *core.Literal) string {
	switch value := l.GetValue().(type) {
	case *core.Literal_Collection:
		return "a list"
	case *core.Literal_Map:
		return "a map"
	case *core.Literal_OffloadedMetadata:
		return "an offloaded literal"
	case *core.Literal_Scalar:
		return scalarName(value.Scalar)
	}
	return "an empty literal"
}

func scalarName(s *core.Scalar) string {
	switch value := s.GetValue().(type) {
	case *core.Scalar_Primitive:
		switch value.Primitive.GetValue().(type) {
		case *core.Primitive_Integer:
			return "an integer"
		case *core.Primitive_FloatValue:
			return "a float"
		case *core.Primitive_StringValue:
			return "a string"
		case *core.Primitive_Boolean:
			return "a boolean"
		case *core.Primitive_Datetime:
			return "a datetime"
		case *core.Primitive_Duration:
			return "a duration"
		}
		return "an empty primitive"
	case *core.Scalar_Blob:
		if value.Blob.GetMetadata().GetType().GetDimensionality() == core.BlobType_MULTIPART {
			return "a directory"
		}
		return "a file"
	case *core.Scalar_Binary:
		return fmt.Sprintf("a binary with tag %q", value.Binary.GetTag())
	case *core.Scalar_Schema:
		return "a schema"
	case *core.Scalar_NoneType:
		return "none"
	case *core.Scalar_Error:
		return "an error"
	case *core.Scalar_Generic:
		return "a JSON object"
	case *core.Scalar_StructuredDataset:
		return "a structured dataset"
	case *core.Scalar_Union:
		return "a union"
	}
	return "an empty scalar"
}

// valueName names what a Go value is, for people.
func valueName(v reflect.Value) string {
	if !v.IsValid() {
		return "nil"
	}
	return "a Go " + v.Type().String()
}
