package config

import (
	"reflect"
	"strings"
	"time"
)

// shape is what the configuration looks like, read once from the struct tags of [Config]: the one place that read, the
// environment's names and the schema all stand on.
type shape struct {
	kind kind
	// fields of an object, in the order of the struct.
	fields []field
	// elem is the shape of a table's values or a list's elements.
	elem *shape
	// short, if there is one, is the key of an object that a text in its place sets.
	short string
	// keys is the rule for a table's keys, check the rule for a scalar's value or a list as a whole; either may be nil.
	keys, check *rule
}

type field struct {
	name  string
	shape *shape
	// required says that the key cannot be left out.
	required bool
	// only is the kind of plugin, command or address, that the key is for; empty where it is for both.
	only string
	// spec says that a change of the key makes a new generation of the plugin; live that a running host takes it up.
	spec, live bool
	// private says that it names a file that is nobody's but the host's.
	private bool
	// index is which of its struct's fields it is.
	index int
}

// in gives the field of a struct of its type.
func (f field) in(structValue reflect.Value) reflect.Value { return structValue.Field(f.index) }

type kind int

const (
	object   kind = iota // a struct: the keys are known
	table                // a map: the keys are the user's
	list                 // a list
	text                 // a string
	integer              // an int or int32
	decimal              // a float64
	truth                // a bool
	duration             // a time.Duration
	size                 // a Size
	free                 // anything that JSON can say: the plugin's own configuration
)

var configShape = shapeOf(reflect.TypeFor[Config](), reflect.StructTag(""))

func shapeOf(t reflect.Type, tag reflect.StructTag) *shape {
	if t.Kind() == reflect.Pointer { // nil where the key is left out
		t = t.Elem()
	}
	s := &shape{keys: ruleNamed(tag.Get("keys")), check: ruleNamed(tag.Get("check"))}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		s.kind = duration
	case t == reflect.TypeFor[Size]():
		s.kind = size
	case t.Kind() == reflect.Struct:
		s.kind, s.short = object, tag.Get("short")
		for f := range t.Fields() {
			if name := f.Tag.Get("koanf"); name != "" {
				s.fields = append(s.fields, field{
					name: name, shape: shapeOf(f.Type, f.Tag), required: f.Tag.Get("required") == "true", only: f.Tag.Get("only"),
					spec: f.Tag.Get("spec") == "true", live: f.Tag.Get("live") == "true",
					private: f.Tag.Get("private") == "true", index: f.Index[0],
				})
			}
		}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Interface:
		s.kind, s.elem = table, &shape{kind: free}
	case t.Kind() == reflect.Map:
		s.kind, s.elem = table, shapeOf(t.Elem(), reflect.StructTag(""))
		if s.elem.kind == text { // the rule on a map of strings is for each of them
			s.elem.check, s.check = s.check, nil
		}
	case t.Kind() == reflect.Slice:
		s.kind, s.elem = list, shapeOf(t.Elem(), reflect.StructTag(""))
		if s.check != nil && s.check.list == nil { // likewise on a list of strings
			s.elem.check, s.check = s.check, nil
		} else if s.check != nil {
			s.elem.check = ruleNamed(s.check.each)
		}
	case t.Kind() == reflect.String:
		s.kind = text
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int32:
		s.kind = integer
	case t.Kind() == reflect.Float64:
		s.kind = decimal
	case t.Kind() == reflect.Bool:
		s.kind = truth
	default:
		panic("config: no shape for " + t.String()) // a field of a new kind was added without its shape
	}
	return s
}

// field gives the shape below a known key; nil if there is no such key.
func (s *shape) field(name string) *shape {
	for _, f := range s.fields {
		if f.name == name {
			return f.shape
		}
	}
	return nil
}

func (s *shape) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

// wants says what a value of this shape looks like, for errors.
func (s *shape) wants() string {
	if s.check != nil && s.check.want != "" {
		return s.check.want
	}
	switch s.kind {
	case object, table:
		if s.short != "" {
			return strings.Join(s.field(s.short).check.enum, ", ") + " or a mapping"
		}
		return "a mapping"
	case list:
		switch s.elem.kind {
		case integer:
			return "a list of whole numbers"
		case object:
			return "a list of mappings"
		}
		return "a list of texts"
	case text:
		return "a text"
	case integer:
		return "a whole number"
	case decimal:
		return "a number"
	case truth:
		return "true or false"
	case duration:
		return "a duration such as 30s or 5m"
	case size:
		return "a size such as 64MiB"
	}
	return "a value"
}
