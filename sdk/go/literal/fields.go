package literal

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// field is a struct's field as encoding/json has it.
type field struct {
	name                string
	tagged              bool
	index               []int
	omitEmpty, omitZero bool
}

var knownFields sync.Map // of a struct's reflect.Type: []field, nil where only encoding/json itself knows how

// fieldsOf returns a struct's fields by encoding/json's rules, and false where a field is one that only it can write.
func fieldsOf(t reflect.Type) ([]field, bool) {
	known, ok := knownFields.Load(t)
	if !ok {
		known, _ = knownFields.LoadOrStore(t, findFields(t))
	}
	fields := known.([]field)
	return fields, fields != nil
}

func findFields(t reflect.Type) []field {
	byName := map[string][]field{}
	order := []string{}
	var left [][]int // whose inner fields are not the outer struct's
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case startsWithAny(f.Index, left):
			continue
		case f.Tag.Get("json") == "-":
			left = append(left, f.Index)
			continue
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			continue // its fields follow
		case !f.IsExported():
			continue
		}
		left = append(left, f.Index)
		if hasOption(options, "string") {
			return nil
		}
		made := field{name: name, tagged: name != "", index: f.Index, omitEmpty: hasOption(options, "omitempty"), omitZero: hasOption(options, "omitzero")}
		if name == "" {
			made.name = f.Name
		}
		if byName[made.name] == nil {
			order = append(order, made.name)
		}
		byName[made.name] = append(byName[made.name], made)
	}
	fields := []field{}
	for _, name := range order {
		if chosen, ok := dominant(byName[name]); ok {
			fields = append(fields, chosen)
		}
	}
	return fields
}

// dominant is the field of a name that is least deep, and tagged where several are; none, where that are still several.
func dominant(fields []field) (field, bool) {
	better := func(a, b field) bool {
		return len(a.index) < len(b.index) || len(a.index) == len(b.index) && a.tagged && !b.tagged
	}
	best := fields[0]
	for _, f := range fields[1:] {
		if better(f, best) {
			best = f
		}
	}
	for _, f := range fields {
		if !better(best, f) && !slices.Equal(f.index, best.index) {
			return field{}, false
		}
	}
	return best, true
}

func startsWithAny(index []int, prefixes [][]int) bool {
	for _, prefix := range prefixes {
		if len(index) > len(prefix) && slices.Equal(index[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

func hasOption(options, wanted string) bool {
	return slices.Contains(strings.Split(options, ","), wanted)
}

// plainStruct writes a struct's fields each as what it is: JSON would make texts of bytes, and other numbers of large floats.
func plainStruct(v reflect.Value, fields []field) (any, error) {
	object := make(map[string]any, len(fields))
	for _, f := range fields {
		value, err := v.FieldByIndexErr(f.index)
		if err != nil || f.omitEmpty && isEmpty(value) || f.omitZero && isZero(value) {
			continue // the error is an embedded pointer that is nil
		}
		if object[f.name], err = toPlain(value); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func isZero(v reflect.Value) bool {
	if zeroer, ok := v.Interface().(interface{ IsZero() bool }); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		return zeroer.IsZero()
	}
	return v.IsZero()
}

// plainIntoStruct reads a dict's entries into fields of their names.
func plainIntoStruct(object map[string]any, v reflect.Value, fields []field, path string) error {
	for name, value := range object {
		f, ok := fieldNamed(fields, name)
		if !ok {
			continue
		}
		target := fieldAt(v, f.index)
		switch {
		case !target.IsValid():
			return problem(key(path, name), "%s embeds a pointer that is not exported", v.Type())
		case value == nil && !nillable(target.Kind()) && !readsItself(target.Type()):
			return problem(key(path, name), "it is none, not %s", target.Type())
		}
		read := plainInto
		if holdsAny(target.Type()) { // whose numbers are float64, by encoding/json's rules
			read = plainThroughJSON
		}
		if err := read(value, target, key(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func fieldNamed(fields []field, name string) (field, bool) {
	found, ok := field{}, false
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
		if !ok && strings.EqualFold(f.name, name) {
			found, ok = f, true
		}
	}
	return found, ok
}

// fieldAt is a field, for which embedded pointers are made; invalid, where that cannot be.
func fieldAt(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !v.CanSet() {
					return reflect.Value{}
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// holdsAny says whether a type is any, or a list or map of it.
func holdsAny(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
		return holdsAny(t.Elem())
	}
	return false
}
