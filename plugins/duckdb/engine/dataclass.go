package engine

import (
	"fmt"
	"maps"
	"slices"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// fieldsOf are the fields of a dataclass with their types; a struct of another kind has none.
func fieldsOf(declared *core.LiteralType) map[string]*core.LiteralType {
	if fields := declared.GetStructure().GetDataclassType(); len(fields) > 0 {
		return fields
	}
	for _, variant := range declared.GetUnionType().GetVariants() {
		if fields := fieldsOf(variant); fields != nil {
			return fields
		}
	}
	return nil
}

// toField is a part of a struct that is declared as a type. flytekit turns 1.5 into 1 for an int of a dataclass, and 5 into "5.0"
// for a str, and cannot read NULL for either; so a part is what a value of its type alone would be, or an error.
func toField(data any, declared *core.LiteralType) (any, error) {
	if text, ok := data.(jsonText); ok && declared.GetUnionType() == nil && declared.GetSimple() != core.SimpleType_STRING {
		parsed, err := parseJSON(text)
		if err != nil {
			return nil, err
		}
		data = parsed
	}
	switch t := declared.GetType().(type) {
	case *core.LiteralType_UnionType:
		return toFieldOfUnion(data, t.UnionType)
	case *core.LiteralType_CollectionType:
		list, ok := data.([]any)
		if !ok {
			break
		}
		fields := make([]any, len(list))
		for i, element := range list {
			var err error
			if fields[i], err = toField(element, t.CollectionType); err != nil {
				return nil, fmt.Errorf("element %d %w", i, err)
			}
		}
		return fields, nil
	case *core.LiteralType_MapValueType:
		if object, ok := asObject(data); ok {
			return toFields(object, func(string) *core.LiteralType { return t.MapValueType })
		}
	case *core.LiteralType_Simple:
		if t.Simple != core.SimpleType_STRUCT {
			return toSimpleField(data, declared)
		}
		if object, ok := asObject(data); ok {
			return toDataclass(object, declared)
		}
	case *core.LiteralType_EnumType:
		return toSimpleField(data, declared)
	default:
		return toPlain(data)
	}
	return nil, fmt.Errorf("is %s, but %s is declared", sqlName(data), typeName(declared))
}

func toFieldOfUnion(data any, declared *core.UnionType) (any, error) {
	if text, ok := data.(jsonText); ok && text == "null" {
		data = nil
	}
	err := fmt.Errorf("is %s, which none of the declared types is", sqlName(data))
	for _, variant := range declared.GetVariants() {
		if isNone(variant) != (data == nil) {
			continue
		}
		field, wrong := toField(data, variant)
		if wrong == nil {
			return field, nil
		}
		err = wrong
	}
	return nil, err
}

// toSimpleField is a value without parts, in the form in which a struct holds it.
func toSimpleField(data any, declared *core.LiteralType) (any, error) {
	if text, ok := data.(string); ok && (declared.GetSimple() == core.SimpleType_DATETIME || declared.GetSimple() == core.SimpleType_DURATION) {
		return text, nil // as JSON has them, for flytekit to read
	}
	interval, isInterval := data.(duckdb.Interval)
	if declared.GetSimple() == core.SimpleType_DURATION && !isInterval {
		if seconds, ok := toFloat(data); ok {
			return seconds, nil
		}
	}
	literal, err := toLiteral(data, declared)
	if err != nil {
		return nil, err
	}
	primitive := literal.GetScalar().GetPrimitive()
	switch v := primitive.GetValue().(type) {
	case *core.Primitive_Integer:
		return v.Integer, nil
	case *core.Primitive_FloatValue:
		return v.FloatValue, nil
	case *core.Primitive_StringValue:
		return v.StringValue, nil
	case *core.Primitive_Boolean:
		return v.Boolean, nil
	case *core.Primitive_Duration:
		// flytekit's dataclasses have seconds, of which it takes whole microseconds.
		micros := v.Duration.GetSeconds()*1e6 + int64(v.Duration.GetNanos()/1000)
		const exact = 1 << 53
		if micros > exact || micros < -exact {
			return nil, fmt.Errorf("is the INTERVAL %s, whose microseconds no float holds in a dataclass: declare it beside the dataclass", intervalText(interval))
		}
		return float64(micros) / 1e6, nil
	default:
		return toPlain(data)
	}
}

// toDataclass is a struct with its fields as they are declared. What is not declared goes along, for the readers of other kinds of
// struct.
func toDataclass(object map[string]any, declared *core.LiteralType) (map[string]any, error) {
	fields := fieldsOf(declared)
	made, err := toFields(object, func(name string) *core.LiteralType { return fields[name] })
	if err != nil || fields == nil {
		return made, err
	}
	for _, required := range declared.GetMetadata().GetFields()["required"].GetListValue().GetValues() {
		if _, ok := object[required.GetStringValue()]; !ok {
			return nil, fmt.Errorf("has no %q, which the declared dataclass has without a default", required.GetStringValue())
		}
	}
	return made, nil
}

func toFields(object map[string]any, declared func(name string) *core.LiteralType) (map[string]any, error) {
	made := make(map[string]any, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		var err error
		if of := declared(name); of != nil {
			made[name], err = toField(object[name], of)
		} else {
			made[name], err = toPlain(object[name])
		}
		if err != nil {
			return nil, fmt.Errorf("entry %q %w", name, err)
		}
	}
	return made, nil
}

// asObject gives the parts of what a struct or dict can be made of.
func asObject(data any) (map[string]any, bool) {
	switch v := data.(type) {
	case map[string]any:
		return v, true
	case duckdb.OrderedMap:
		object := make(map[string]any, v.Len())
		values := v.Values()
		for i, key := range v.Keys() {
			object[key.(string)] = values[i]
		}
		return object, true
	}
	return nil, false
}
