package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/vmihailenco/msgpack/v5"
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
	if text, ok := data.(jsonText); ok && declared.GetSimple() != core.SimpleType_STRING {
		parsed, err := parseJSON(text)
		if err != nil {
			return nil, err
		}
		data = parsed
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
		return toSimple(data, declared)
	}
	return nil, fmt.Errorf("cannot be given as %s", typeName(declared))
}

func toSimple(data any, declared *core.LiteralType) (*core.Literal, error) {
	wrong := fmt.Errorf("is %s, but %s is declared: cast it in the SQL", sqlName(data), typeName(declared))
	switch declared.GetSimple() {
	case core.SimpleType_INTEGER:
		number, ok := toInteger(data)
		if !ok {
			return nil, fmt.Errorf("is %s %v, which is no 64-bit integer: cast or round it in the SQL", sqlName(data), data)
		}
		return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: number}}), nil
	case core.SimpleType_FLOAT:
		if number, ok := toFloat(data); ok {
			if !isEqual(number, data) {
				return nil, fmt.Errorf("is %s %v, which no float equals: cast it in the SQL", sqlName(data), data)
			}
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
			if stamp.GetNanos()%1000 != 0 {
				return nil, fmt.Errorf("is %v, and a datetime has no nanoseconds: cast it to TIMESTAMP or VARCHAR in the SQL", instant)
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
			if err := length.CheckValid(); err != nil {
				return nil, fmt.Errorf("is an INTERVAL of %d days and %d microseconds, which is longer than the 10,000 years that Flyte has", interval.Days, interval.Micros)
			}
			return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: length}}), nil
		}
	case core.SimpleType_BINARY:
		if raw, ok := data.([]byte); ok {
			return scalar(&core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: raw}}}), nil
		}
	case core.SimpleType_STRUCT:
		if variant, ok := data.(duckdb.Union); ok {
			data = variant.Value
		}
		if text, ok := data.(jsonText); ok {
			parsed, err := parseJSON(text)
			if err != nil {
				return nil, err
			}
			data = parsed
		}
		parts, ok := asObject(data)
		if !ok {
			return nil, wrong
		}
		object, err := toDataclass(parts, declared)
		if err != nil {
			return nil, err
		}
		return toStruct(object)
	}
	return nil, wrong
}

// toStruct gives a struct as protobuf's where that holds it exactly. It has no integers beyond 2^53, no bytes, and no NaN, infinity
// or negative zero that flytekit could read; those are in msgpack, which flytekit itself writes since 1.14.
func toStruct(object map[string]any) (*core.Literal, error) {
	if !needsMsgpack(object) {
		generic, err := structpb.NewStruct(object)
		if err != nil {
			return nil, fmt.Errorf("cannot be a struct: %w", err)
		}
		return scalar(&core.Scalar{Value: &core.Scalar_Generic{Generic: generic}}), nil
	}
	var packed bytes.Buffer
	encoder := msgpack.NewEncoder(&packed)
	encoder.SetSortMapKeys(true)
	encoder.UseCompactInts(true)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("cannot be a struct: %w", err)
	}
	return scalar(&core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: packed.Bytes(), Tag: "msgpack"}}}), nil
}

func needsMsgpack(plain any) bool {
	switch v := plain.(type) {
	case map[string]any:
		for _, element := range v {
			if needsMsgpack(element) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, needsMsgpack)
	case int64:
		const exact = 1 << 53
		return v > exact || v < -exact
	case uint64:
		return true // those that fit are int64
	case float64:
		return math.IsNaN(v) || math.IsInf(v, 0) || v == 0 && math.Signbit(v)
	case []byte:
		return true
	}
	return false
}

func toUnion(data any, declared *core.LiteralType) (*core.Literal, error) {
	if text, ok := data.(jsonText); ok {
		parsed, err := parseJSON(text)
		if err != nil {
			return nil, err
		}
		several := 0
		for _, variant := range declared.GetUnionType().GetVariants() {
			if !isNone(variant) {
				several++
			}
		}
		// A str of several variants is for a JSON text, as the others are for their kinds; a str that is merely optional is for the
		// text of any JSON.
		if parsed == nil || several > 1 {
			data = parsed
		}
	}
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
			if err := add(key.(string), values[i]); err != nil {
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

// isEqual tells whether an integer is the float, or a DECIMAL the number that the float is printed as.
func isEqual(number float64, data any) bool {
	if decimal, ok := data.(duckdb.Decimal); ok {
		printed, ok := new(big.Rat).SetString(strconv.FormatFloat(number, 'g', -1, 64))
		return ok && printed.Cmp(new(big.Rat).SetFrac(decimal.Value, power(decimal.Scale))) == 0
	}
	whole, ok := data.(*big.Int)
	if !ok {
		switch v := reflect.ValueOf(data); {
		case v.CanInt():
			whole = big.NewInt(v.Int())
		case v.CanUint():
			whole = new(big.Int).SetUint64(v.Uint())
		default:
			return true
		}
	}
	back, accuracy := big.NewFloat(number).Int(nil)
	return accuracy == big.Exact && back.Cmp(whole) == 0
}

// decimalText is a decimal as DuckDB writes it, with all places of its type.
func decimalText(v duckdb.Decimal) string {
	return new(big.Rat).SetFrac(v.Value, power(v.Scale)).FloatString(int(v.Scale))
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
	case duckdb.Decimal:
		return decimalText(v), true
	case *big.Int:
		return v.String(), true
	case exactText:
		return v.text, !v.endless()
	case jsonText:
		return string(v), true
	}
	return "", false
}

// toPlain makes what a struct can hold: JSON's values, with integers as int64 or uint64 and NaN and infinity. DECIMALs are
// text, whatever their value, since most have no equal float.
func toPlain(data any) (any, error) {
	switch v := data.(type) {
	case nil, bool, string:
		return v, nil
	case []byte:
		return v, nil
	case time.Time:
		if v = v.UTC(); v.Year() < 1 || v.Year() > 9999 {
			return nil, fmt.Errorf("is a TIMESTAMP or DATE that is infinite or outside of the years 1 to 9999: cast it to VARCHAR")
		}
		return v.Format(time.RFC3339Nano), nil
	case duckdb.Interval:
		return intervalText(v), nil
	case jsonText:
		return parseJSON(v)
	case float64:
		return v, nil
	case float32:
		return float64(v), nil
	case exactText:
		if v.endless() {
			return nil, fmt.Errorf("is %s, which cannot be in a struct: cast it to VARCHAR", sqlName(data))
		}
		return v.text, nil
	case duckdb.Decimal:
		return decimalText(v), nil
	case *big.Int:
		switch {
		case v.IsInt64():
			return v.Int64(), nil
		case v.IsUint64():
			return v.Uint64(), nil
		}
		return nil, fmt.Errorf("is %s, an integer of more than 64 bits, which a struct cannot hold: cast it to VARCHAR", v)
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
	}
	if object, ok := asObject(data); ok {
		return toFields(object, func(string) *core.LiteralType { return nil })
	}
	if number, ok := toInteger(data); ok {
		return number, nil
	}
	if number, ok := data.(uint64); ok {
		return number, nil
	}
	return nil, fmt.Errorf("is %s, which cannot be in a struct: cast it in the SQL", sqlName(data))
}

// intervalText is an interval as DuckDB writes it.
func intervalText(v duckdb.Interval) string {
	var parts []string
	part := func(count int32, unit string) {
		if count == 0 {
			return
		}
		if count != 1 && count != -1 {
			unit += "s"
		}
		parts = append(parts, fmt.Sprintf("%d %s", count, unit))
	}
	part(v.Months/12, "year")
	part(v.Months%12, "month")
	part(v.Days, "day")
	if v.Micros != 0 || len(parts) == 0 {
		// The magnitude of the least int64 is a uint64.
		sign, micros := "", uint64(v.Micros)
		if v.Micros < 0 {
			sign, micros = "-", -micros
		}
		seconds, rest := micros/1e6, micros%1e6
		text := fmt.Sprintf("%s%02d:%02d:%02d", sign, seconds/3600, seconds/60%60, seconds%60)
		if rest != 0 {
			text += strings.TrimRight(fmt.Sprintf(".%06d", rest), "0")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// parseJSON keeps integers exact and refuses an object with a key twice, of which encoding/json by itself keeps the last one.
func parseJSON(text jsonText) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	return nextJSON(decoder)
}

func nextJSON(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, fmt.Errorf("is no valid JSON: %w", err)
	}
	switch v := token.(type) {
	case json.Number:
		return exactNumber(v)
	case json.Delim:
		defer func() { _, _ = decoder.Token() }() // that closes it
		if v == '[' {
			return jsonList(decoder)
		}
		return jsonObject(decoder)
	default:
		return v, nil
	}
}

func jsonList(decoder *json.Decoder) (any, error) {
	list := []any{}
	for decoder.More() {
		element, err := nextJSON(decoder)
		if err != nil {
			return nil, err
		}
		list = append(list, element)
	}
	return list, nil
}

func jsonObject(decoder *json.Decoder) (any, error) {
	object := map[string]any{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("is no valid JSON: %w", err)
		}
		key, _ := token.(string) // the decoder wants one
		if _, taken := object[key]; taken {
			return nil, fmt.Errorf("has the key %q twice, of which a struct could have one: take it as a str", key)
		}
		if object[key], err = nextJSON(decoder); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func exactNumber(number json.Number) (any, error) {
	if strings.ContainsAny(number.String(), ".eE") {
		float, err := number.Float64()
		if err != nil {
			return nil, fmt.Errorf("has the number %s, which no float holds: take it as a str", number)
		}
		return float, nil
	}
	whole, ok := new(big.Int).SetString(number.String(), 10)
	if !ok || !whole.IsInt64() && !whole.IsUint64() {
		return nil, fmt.Errorf("has the number %s, an integer of more than 64 bits: take it as a str", number)
	}
	return toPlain(whole)
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
	case exactText:
		return "a " + v.name
	case jsonText:
		return "JSON"
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
