package agent

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

func (t *Task) decodeInput(name string, into any) error {
	l, ok := t.Inputs.GetLiterals()[name]
	if !ok {
		if reflect.TypeOf(into).Elem().Kind() == reflect.Pointer {
			return nil
		}
		return InvalidArgument("input %q is missing: %s", name, t.inputNames())
	}
	if err := literal.DecodeInto(l, into); err != nil {
		return inputError(name, err)
	}
	return nil
}

func (t *Task) inputNames() string {
	names := slices.Sorted(maps.Keys(t.Inputs.GetLiterals()))
	if len(names) == 0 {
		return "the task has no inputs"
	}
	return "the task's inputs are " + strings.Join(names, ", ")
}

func inputError(name string, err error) error {
	var at *literal.Error
	if errors.As(err, &at) {
		return InvalidArgument("input %s%s: %s", name, at.Path, at.Problem)
	}
	return InvalidArgument("input %s: %w", name, err)
}

func (t *Task) decodeInputs(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("DecodeInputs needs a pointer to a struct, got %T", into)
	}
	var failures []error
	for _, field := range reflect.VisibleFields(v.Elem().Type()) {
		name, optional := inputTag(field)
		if name == "-" || !field.IsExported() || field.Anonymous {
			continue
		}
		value := v.Elem().FieldByIndex(field.Index)
		if (optional || value.Kind() == reflect.Pointer) && !t.HasInput(name) {
			continue
		}
		failures = append(failures, t.decodeInput(name, value.Addr().Interface()))
	}
	if err := errors.Join(failures...); err != nil {
		return InvalidArgument("%w", err)
	}
	return nil
}

// inputTag returns the input that a field takes and whether it may be absent.
func inputTag(field reflect.StructField) (name string, optional bool) {
	name, options, _ := strings.Cut(field.Tag.Get("input"), ",")
	if name == "" {
		name = snakeCase(field.Name)
	}
	return name, options == "optional"
}

// snakeCase turns MaxRows into max_rows and DatasetURI into dataset_uri.
func snakeCase(name string) string {
	letters := []rune(name)
	var snake strings.Builder
	for i, letter := range letters {
		startsWord := i > 0 && unicode.IsUpper(letter) &&
			(!unicode.IsUpper(letters[i-1]) || (i+1 < len(letters) && unicode.IsLower(letters[i+1])))
		if startsWord {
			snake.WriteByte('_')
		}
		snake.WriteRune(unicode.ToLower(letter))
	}
	return snake.String()
}
