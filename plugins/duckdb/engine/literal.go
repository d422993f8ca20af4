package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// toLiteral makes a literal of the declared type from a value as the driver gives it. Nothing is lost on the way: a
// number that does not fit, a NULL where the type is not optional, text where a number is declared are errors, which
// complete a sentence that begins with what the value is of.
func toLiteral(data any, declared *core.LiteralType) (*core.Literal, error) {
	if union := declared.GetUnionType(); union != nil {
		return toUnion(data, declared)
	}
	if isNone(declared) {
		return none(), nil
	}
	if data == nil {
		return nil, fmt.Errorf("is NULL, but %s is declared: make it optional, or use coalesce", typeName(declared))
	}
	switch t := declared.GetType().(type) {
	case *core.LiteralType_CollectionType:
		return toList(data, t.CollectionType)
	case *core.LiteralType_MapValueType:
		return toMap(data, t.MapValueType)
	case *core.LiteralType_EnumType:
		text, ok := toText(data)
		if !ok || !slices.Contains(t.EnumType.GetValues(), text) {
			return nil, fmt.Errorf("is %v, but the declared enum has %v", data, t.EnumType.GetValues())
		}
		return primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: text}}), nil
	case *core.LiteralType_Simple:
		return toSimple(data, t.Simple)
	}
	return nil, fmt.Errorf("cannot be given as %s", typeName(declared))
}

func toSimple(data any, declared core.SimpleType) (*core.Literal, error) {
	wrong := fmt.Errorf("is %s, but %s is declared: cast it in the SQL", sqlName(data), simpleName(declared))
	switch declared {
	case core.SimpleType_INTEGER:
		number, ok := toInteger(data)
		if !ok {
			return nil, fmt.Errorf("is %s %v, which is no 64-bit integer: cast or round it in the SQL", sqlName(data), data)
		}
		return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: number}}), nil
	case core.SimpleType_FLOAT:
		if number, ok := toFloat(data); ok {
			return primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: number}}), nil
		}
	case core.SimpleType_STRING:
		if text, ok := toText(data); ok {
			return primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: text}}), nil
		}
	case core.SimpleType_BOOLEAN:
		if truth, ok := data.(bool); ok {
			return primitive(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: truth}}), nil
		}
	case core.SimpleType_DATETIME:
		if instant, ok := data.(time.Time); ok {
			stamp := timestamppb.New(instant)
			if err := stamp.CheckValid(); err != nil {
				return nil, fmt.Errorf("is %v, which is outside the years that Flyte has", instant)
			}
			return primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: stamp}}), nil
		}
	case core.SimpleType_DURATION:
		if interval, ok := data.(duckdb.Interval); ok {
			if interval.Months != 0 {
				return nil, fmt.Errorf("is an INTERVAL of months, which have no fixed length: subtract instants instead")
			}
			length := &durationpb.Duration{
				Seconds: int64(interval.Days)*86400 + interval.Micros/1e6,
				Nanos:   int32(interval.Micros%1e6) * 1000,
			}
			// Days and microseconds may disagree in sign, which protobuf does not allow of seconds and nanoseconds.
			if length.Seconds > 0 && length.Nanos < 0 {
				length.Seconds, length.Nanos = length.Seconds-1, length.Nanos+1e9
			} else if length.Seconds < 0 && length.Nanos > 0 {
				length.Seconds, length.Nanos = length.Seconds+1, length.Nanos-1e9
			}
			return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: length}}), nil
		}
	case core.SimpleType_BINARY:
		if raw, ok := data.([]byte); ok {
			return scalar(&core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: raw}}}), nil
		}
	case core.SimpleType_STRUCT:
		plain, err := toPlain(data)
		if err != nil {
			return nil, err
		}
		object, ok := plain.(map[string]any)
		if !ok {
			return nil, wrong
		}
		generic, err := structpb.NewStruct(object)
		if err != nil {
			return nil, fmt.Errorf("cannot be a struct: %w", err)
		}
		return scalar(&core.Scalar{Value: &core.Scalar_Generic{Generic: generic}}), nil
	}
	return nil, wrong
}

func toUnion(data any, declared *core.LiteralType) (*core.Literal, error) {
	var last error
	for _, variant := range declared.GetUnionType().GetVariants() {
		if isNone(variant) != (data == nil) {
			continue
		}
		literal, err := toLiteral(data, variant)
		if err == nil {
			return union(literal, variant), nil
		}
		last = err
	}
	if last == nil {
		last = fmt.Errorf("is %s, but %s is declared", sqlName(data), typeName(declared))
	}
	return nil, last
}

// inUnion wraps a literal that is already one of a union's variants; where the type is no union it is the literal itself.
func inUnion(literal *core.Literal, declared *core.LiteralType, fits func(*core.LiteralType) bool) *core.Literal {
	for _, variant := range declared.GetUnionType().GetVariants() {
		if fits(variant) {
			return union(literal, variant)
		}
	}
	return literal
}

func toList(data any, element *core.LiteralType) (*core.Literal, error) {
	values, ok := data.([]any)
	if !ok {
		return nil, fmt.Errorf("is %s, but a list is declared", sqlName(data))
	}
	list := &core.LiteralCollection{}
	for i, v := range values {
		literal, err := toLiteral(v, element)
		if err != nil {
			return nil, fmt.Errorf("element %d %w", i, err)
		}
		list.Literals = append(list.Literals, literal)
	}
	return &core.Literal{Value: &core.Literal_Collection{Collection: list}}, nil
}

func toMap(data any, element *core.LiteralType) (*core.Literal, error) {
	entries := map[string]*core.Literal{}
	add := func(key string, v any) error {
		literal, err := toLiteral(v, element)
		if err != nil {
			return fmt.Errorf("entry %q %w", key, err)
		}
		entries[key] = literal
		return nil
	}
	switch m := data.(type) {
	case map[string]any:
		for key, v := range m {
			if err := add(key, v); err != nil {
				return nil, err
			}
		}
	case duckdb.OrderedMap:
		values := m.Values()
		for i, key := range m.Keys() {
			text, ok := toText(key)
			if !ok {
				text = fmt.Sprint(key)
			}
			if err := add(text, values[i]); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("is %s, but a dict is declared", sqlName(data))
	}
	return &core.Literal{Value: &core.Literal_Map{Map: &core.LiteralMap{Literals: entries}}}, nil
}

// toInteger takes every number that is a whole one of 64 bits: sums are HUGEINT in DuckDB, and rounding gives a DOUBLE.
func toInteger(data any) (int64, bool) {
	switch v := reflect.ValueOf(data); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int64(v.Uint()), v.Uint() <= math.MaxInt64
	case reflect.Float32, reflect.Float64:
		// Beyond 2^53 a float stands for many integers.
		const exact = 1 << 53
		f := v.Float()
		return int64(f), f == math.Trunc(f) && math.Abs(f) <= exact
	}
	switch v := data.(type) {
	case *big.Int:
		return v.Int64(), v.IsInt64()
	case duckdb.Decimal:
		whole, rest := new(big.Int).QuoRem(v.Value, power(v.Scale), new(big.Int))
		return whole.Int64(), rest.Sign() == 0 && whole.IsInt64()
	}
	return 0, false
}

func toFloat(data any) (float64, bool) {
	switch v := reflect.ValueOf(data); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(v.Int()), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return float64(v.Uint()), true
	case reflect.Float64:
		return v.Float(), true
	case reflect.Float32:
		return v.Float(), true
	}
	switch v := data.(type) {
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	case duckdb.Decimal:
		f, _ := new(big.Rat).SetFrac(v.Value, power(v.Scale)).Float64()
		return f, true
	}
	return 0, false
}

func power(scale uint8) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
}

// toText takes text, and what has an exact text but no Flyte type of its own. A number as text would more likely be a
// mistake than meant.
func toText(data any) (string, bool) {
	switch v := data.(type) {
	case string:
		return v, true
	case duckdb.UUID:
		return v.String(), true
	case duckdb.Decimal:
		return v.String(), true
	case *big.Int:
		return v.String(), true
	case timeOfDay:
		return v.String(), true
	case map[string]any, []any:
		plain, err := toPlain(v)
		if err != nil {
			return "", false
		}
		text, err := json.Marshal(plain)
		return string(text), err == nil
	}
	return "", false
}

// timeOfDay is a TIME, which the driver gives as an instant of the year 1.
type timeOfDay struct{ time.Time }

func (t timeOfDay) String() string { return t.Format("15:04:05.999999") }

// normal gives values whose Go type says too little the type that their column knows.
func normal(data any, info duckdb.TypeInfo) any {
	if info == nil {
		return data
	}
	switch v := data.(type) {
	case time.Time:
		if kind := info.InternalType(); kind == duckdb.TYPE_TIME || kind == duckdb.TYPE_TIME_TZ {
			return timeOfDay{v}
		}
	case []byte:
		if info.InternalType() == duckdb.TYPE_UUID && len(v) == len(duckdb.UUID{}) {
			return duckdb.UUID(v)
		}
	case []any:
		var element duckdb.TypeInfo
		switch details := info.Details().(type) {
		case *duckdb.ListDetails:
			element = details.Child
		case *duckdb.ArrayDetails:
			element = details.Child
		default:
			return data
		}
		for i := range v {
			v[i] = normal(v[i], element)
		}
	case map[string]any:
		if details, ok := info.Details().(*duckdb.StructDetails); ok {
			for _, entry := range details.Entries {
				if field, present := v[entry.Name()]; present {
					v[entry.Name()] = normal(field, entry.Info())
				}
			}
		}
	case duckdb.OrderedMap:
		if details, ok := info.Details().(*duckdb.MapDetails); ok {
			values := v.Values()
			for i, key := range v.Keys() {
				v.Set(key, normal(values[i], details.Value))
			}
		}
	}
	return data
}

// toPlain makes what a struct can hold: JSON's values. Integers beyond 2^53 would change in it, so they are an error.
func toPlain(data any) (any, error) {
	switch v := data.(type) {
	case nil, bool, string:
		return v, nil
	case []byte:
		return v, nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case duckdb.Interval:
		return fmt.Sprintf("%d months %d days %s", v.Months, v.Days, time.Duration(v.Micros)*time.Microsecond), nil
	case duckdb.Union:
		return toPlain(v.Value)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = toPlain(v[i]); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			var err error
			if object[key], err = toPlain(v[key]); err != nil {
				return nil, fmt.Errorf("entry %q %w", key, err)
			}
		}
		return object, nil
	case duckdb.OrderedMap:
		object := make(map[string]any, v.Len())
		values := v.Values()
		for i, key := range v.Keys() {
			var err error
			if object[fmt.Sprint(key)], err = toPlain(values[i]); err != nil {
				return nil, fmt.Errorf("entry %q %w", fmt.Sprint(key), err)
			}
		}
		return object, nil
	}
	if number, ok := toInteger(data); ok {
		const exact = 1 << 53
		if number > exact || number < -exact {
			return nil, fmt.Errorf("is %d, which a struct's numbers cannot hold exactly: cast it to VARCHAR", number)
		}
		return float64(number), nil
	}
	if number, ok := toFloat(data); ok {
		return number, nil
	}
	if text, ok := toText(data); ok {
		return text, nil
	}
	return nil, fmt.Errorf("is %s, which cannot be in a struct: cast it in the SQL", sqlName(data))
}

func primitive(p *core.Primitive) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}})
}

func scalar(s *core.Scalar) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: s}}
}

func none() *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_NoneType{NoneType: &core.Void{}}})
}

func union(literal *core.Literal, variant *core.LiteralType) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_Union{Union: &core.Union{Value: literal, Type: variant}}})
}

// sqlName is what DuckDB calls a value of the driver's.
func sqlName(data any) string {
	switch v := data.(type) {
	case nil:
		return "NULL"
	case string:
		return "a VARCHAR"
	case bool:
		return "a BOOLEAN"
	case float32, float64:
		return "a DOUBLE"
	case time.Time:
		return "a TIMESTAMP"
	case timeOfDay:
		return "a TIME"
	case duckdb.Interval:
		return "an INTERVAL"
	case []byte:
		return "a BLOB"
	case []any:
		return "a LIST"
	case map[string]any:
		return "a STRUCT"
	case duckdb.OrderedMap:
		return "a MAP"
	case duckdb.UUID:
		return "a UUID"
	case duckdb.Decimal:
		return "a DECIMAL"
	case *big.Int:
		return "a HUGEINT"
	case duckdb.Union:
		return "a UNION"
	default:
		if _, ok := toInteger(v); ok {
			return "an integer"
		}
		return fmt.Sprintf("a %T", v)
	}
}

func typeName(t *core.LiteralType) string {
	switch v := t.GetType().(type) {
	case *core.LiteralType_Simple:
		return simpleName(v.Simple)
	case *core.LiteralType_CollectionType:
		return "a list"
	case *core.LiteralType_MapValueType:
		return "a dict"
	case *core.LiteralType_EnumType:
		return "an enum"
	case *core.LiteralType_UnionType:
		return "a union"
	default:
		return fmt.Sprintf("the type %v", t)
	}
}

func simpleName(t core.SimpleType) string {
	switch t {
	case core.SimpleType_INTEGER:
		return "an int"
	case core.SimpleType_FLOAT:
		return "a float"
	case core.SimpleType_STRING:
		return "a str"
	case core.SimpleType_BOOLEAN:
		return "a bool"
	case core.SimpleType_DATETIME:
		return "a datetime"
	case core.SimpleType_DURATION:
		return "a timedelta"
	case core.SimpleType_STRUCT:
		return "a struct"
	case core.SimpleType_BINARY:
		return "bytes"
	default:
		return t.String()
	}
}
