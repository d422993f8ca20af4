package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// describeJSONError says what is wrong with JSON text in words that do not need Go.
func describeJSONError(err error) string {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return fmt.Sprintf("%s must be %s, not %s", wrongType.Field, jsonName(wrongType.Type), wrongType.Value)
	case errors.As(err, &wrongType):
		return fmt.Sprintf("it must be %s, not %s", jsonName(wrongType.Type), wrongType.Value)
	case errors.As(err, &syntax):
		return fmt.Sprintf("it is not JSON: %s at byte %d", syntax, syntax.Offset)
	}
	return err.Error()
}

// jsonName names what a Go type looks like in JSON.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonName(t.Elem())
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a non-negative integer of %d bits", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a " + t.Kind().String()
	}
}
