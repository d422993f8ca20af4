package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/vmihailenco/msgpack/v5"
)

// value is an input as DuckDB gets it.
type value struct {
	// sqlType is the variable's type; "" where a null leaves it open.
	sqlType string
	// data is what the driver's appender takes for that type. JSON goes as its text.
	data any
}

// bind makes a DuckDB value of a literal. declared is its declared type, or nil.
//
//	int BIGINT · float DOUBLE · str, enum VARCHAR · bool BOOLEAN · datetime TIMESTAMPTZ · timedelta INTERVAL · None NULL
//	dict, dataclass, other structs JSON · bytes BLOB · list T[] · dict[str, T] MAP(VARCHAR, T)
//
// A list or map of mixed types is JSON as a whole. Files and datasets are not bound here: see loader.
func bind(literal *core.Literal, declared *core.LiteralType) (value, error) {
	switch v := literal.GetValue().(type) {
	case *core.Literal_Scalar:
		return bindScalar(v.Scalar, declared)
	case *core.Literal_Collection:
		return bindList(literal, declared.GetCollectionType())
	case *core.Literal_Map:
		return bindMap(literal, declared.GetMapValueType())
	default:
		return value{}, fmt.Errorf("has no value")
	}
}

func bindScalar(scalar *core.Scalar, declared *core.LiteralType) (value, error) {
	switch v := scalar.GetValue().(type) {
	case *core.Scalar_Primitive:
		return bindPrimitive(v.Primitive)
	case *core.Scalar_NoneType:
		return value{typeOf(declared), nil}, nil
	case *core.Scalar_Union:
		variant := v.Union.GetType()
		if isNone(variant) {
			variant = declared
		}
		return bind(v.Union.GetValue(), variant)
	case *core.Scalar_Generic, *core.Scalar_Binary:
		if binary := scalar.GetBinary(); binary != nil && binary.GetTag() == "" {
			return value{"BLOB", binary.GetValue()}, nil
		}
		plain, err := plainScalar(scalar)
		if err != nil {
			return value{}, err
		}
		return bindJSON(plain)
	case *core.Scalar_Error:
		return value{}, fmt.Errorf("is the error of another task: %s", v.Error.GetMessage())
	default:
		return value{}, fmt.Errorf("is of a kind that cannot be bound (%T)", v)
	}
}

func bindPrimitive(primitive *core.Primitive) (value, error) {
	switch v := primitive.GetValue().(type) {
	case *core.Primitive_Integer:
		return value{"BIGINT", v.Integer}, nil
	case *core.Primitive_FloatValue:
		return value{"DOUBLE", v.FloatValue}, nil
	case *core.Primitive_StringValue:
		return value{"VARCHAR", v.StringValue}, nil
	case *core.Primitive_Boolean:
		return value{"BOOLEAN", v.Boolean}, nil
	case *core.Primitive_Datetime:
		if err := v.Datetime.CheckValid(); err != nil {
			return value{}, fmt.Errorf("is no valid datetime: %w", err)
		}
		if v.Datetime.GetNanos()%1000 != 0 {
			return value{}, fmt.Errorf("is %v, and a TIMESTAMPTZ has no nanoseconds: pass it as a str", v.Datetime.AsTime())
		}
		return value{"TIMESTAMPTZ", v.Datetime.AsTime()}, nil
	case *core.Primitive_Duration:
		// Not as a time.Duration, which ends after 292 years.
		if err := v.Duration.CheckValid(); err != nil {
			return value{}, fmt.Errorf("is no valid timedelta: %w", err)
		}
		if v.Duration.GetNanos()%1000 != 0 {
			return value{}, fmt.Errorf("is %d.%09ds, and an INTERVAL has no nanoseconds: pass it as a str", v.Duration.GetSeconds(), v.Duration.GetNanos())
		}
		return value{"INTERVAL", duckdb.Interval{Micros: v.Duration.GetSeconds()*1e6 + int64(v.Duration.GetNanos()/1000)}}, nil
	default:
		return value{}, fmt.Errorf("has no value")
	}
}

func bindList(literal *core.Literal, declared *core.LiteralType) (value, error) {
	data := []any{}
	var elements []value
	for i, literal := range literal.GetCollection().GetLiterals() {
		element, err := bind(literal, declared)
		if err != nil {
			return value{}, fmt.Errorf("element %d %w", i, err)
		}
		elements = append(elements, element)
		data = append(data, element.data)
	}
	common, ok := commonType(elements, declared)
	if !ok {
		return bindPlain(literal)
	}
	return value{common + "[]", data}, nil
}

func bindMap(literal *core.Literal, declared *core.LiteralType) (value, error) {
	var data duckdb.OrderedMap
	var elements []value
	literals := literal.GetMap().GetLiterals()
	for _, key := range slices.Sorted(maps.Keys(literals)) {
		element, err := bind(literals[key], declared)
		if err != nil {
			return value{}, fmt.Errorf("entry %q %w", key, err)
		}
		elements = append(elements, element)
		data.Set(key, element.data)
	}
	common, ok := commonType(elements, declared)
	if !ok {
		return bindPlain(literal)
	}
	return value{"MAP(VARCHAR, " + common + ")", data}, nil
}

// commonType is the one type of all values that are not null, or where there are none the declared one; ok is false
// where types differ.
func commonType(values []value, declared *core.LiteralType) (common string, ok bool) {
	for _, v := range values {
		switch {
		case v.data == nil:
		case common == "":
			common = v.sqlType
		case common != v.sqlType:
			return "", false
		}
	}
	return cmp.Or(common, typeOf(declared), "VARCHAR"), true
}

// typeOf is the DuckDB type of a declared input, or "" where the value decides.
func typeOf(declared *core.LiteralType) string {
	switch t := declared.GetType().(type) {
	case *core.LiteralType_Simple:
		return map[core.SimpleType]string{
			core.SimpleType_INTEGER:  "BIGINT",
			core.SimpleType_FLOAT:    "DOUBLE",
			core.SimpleType_STRING:   "VARCHAR",
			core.SimpleType_BOOLEAN:  "BOOLEAN",
			core.SimpleType_DATETIME: "TIMESTAMPTZ",
			core.SimpleType_DURATION: "INTERVAL",
			core.SimpleType_STRUCT:   "JSON",
			core.SimpleType_BINARY:   "BLOB",
		}[t.Simple]
	case *core.LiteralType_EnumType, *core.LiteralType_Blob, *core.LiteralType_StructuredDatasetType, *core.LiteralType_Schema:
		return "VARCHAR"
	case *core.LiteralType_CollectionType:
		if element := typeOf(t.CollectionType); element != "" {
			return element + "[]"
		}
	case *core.LiteralType_MapValueType:
		if element := typeOf(t.MapValueType); element != "" {
			return "MAP(VARCHAR, " + element + ")"
		}
	case *core.LiteralType_UnionType:
		var found []string
		for _, variant := range t.UnionType.GetVariants() {
			if name := typeOf(variant); !isNone(variant) && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
		if len(found) == 1 {
			return found[0]
		}
		return "JSON"
	}
	return ""
}

func isNone(t *core.LiteralType) bool {
	simple, ok := t.GetType().(*core.LiteralType_Simple)
	return ok && simple.Simple == core.SimpleType_NONE
}

func bindPlain(literal *core.Literal) (value, error) {
	plain, err := plainLiteral(literal)
	if err != nil {
		return value{}, err
	}
	return bindJSON(plain)
}

func bindJSON(plain any) (value, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain); err != nil {
		return value{}, fmt.Errorf("cannot be written as JSON: %w", err)
	}
	return value{"JSON", strings.TrimSpace(text.String())}, nil
}

// plainLiteral is a literal as encoding/json takes it.
func plainLiteral(literal *core.Literal) (any, error) {
	switch v := literal.GetValue().(type) {
	case *core.Literal_Scalar:
		return plainScalar(v.Scalar)
	case *core.Literal_Collection:
		list := []any{}
		for _, element := range v.Collection.GetLiterals() {
			plain, err := plainLiteral(element)
			if err != nil {
				return nil, err
			}
			list = append(list, plain)
		}
		return list, nil
	case *core.Literal_Map:
		object := map[string]any{}
		for key, element := range v.Map.GetLiterals() {
			plain, err := plainLiteral(element)
			if err != nil {
				return nil, err
			}
			object[key] = plain
		}
		return object, nil
	default:
		return nil, fmt.Errorf("has a part without a value")
	}
}

func plainScalar(scalar *core.Scalar) (any, error) {
	switch v := scalar.GetValue().(type) {
	case *core.Scalar_Generic:
		return v.Generic.AsMap(), nil
	case *core.Scalar_Binary:
		switch v.Binary.GetTag() {
		case "msgpack":
		case "":
			return nil, fmt.Errorf("has bytes, which JSON does not have: pass them as base64 text")
		default:
			return nil, fmt.Errorf("is bytes in the form %q, which SQL has no type for", v.Binary.GetTag())
		}
		decoder := msgpack.NewDecoder(bytes.NewReader(v.Binary.GetValue()))
		decoder.SetMapDecoder(msgpackMap)
		decoded, err := decoder.DecodeInterface()
		if wrong, ok := errors.AsType[keyError](err); ok {
			return nil, wrong
		}
		if err != nil {
			return nil, fmt.Errorf("is no valid msgpack: %w", err)
		}
		return plainMsgpack(decoded)
	case *core.Scalar_Union:
		return plainLiteral(v.Union.GetValue())
	case *core.Scalar_NoneType:
		return nil, nil
	case *core.Scalar_Blob:
		return v.Blob.GetUri(), nil
	case *core.Scalar_StructuredDataset:
		return v.StructuredDataset.GetUri(), nil
	}
	bound, err := bindScalar(scalar, nil)
	if err != nil {
		return nil, err
	}
	switch data := bound.data.(type) {
	case time.Time:
		return data.Format(time.RFC3339Nano), nil
	case duckdb.Interval:
		// As text, since not every number of microseconds is one of seconds as a float.
		return json.Number(new(big.Rat).SetFrac64(data.Micros, 1e6).FloatString(6)), nil
	case float64:
		return exactFloat(data)
	default:
		return data, nil
	}
}

// exactFloat is a float as JSON that stays one: encoding/json writes 1.0 as 1.
func exactFloat(number float64) (any, error) {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return nil, fmt.Errorf("has the float %v, which JSON does not have", number)
	}
	text := strconv.FormatFloat(number, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.Number(text), nil
}

// msgpackMap reads a map of whatever keys as an object of JSON, whose keys are texts. What is no key of Go's maps either is refused:
// the decoder's own maps panic on it.
func msgpackMap(decoder *msgpack.Decoder) (any, error) {
	length, err := decoder.DecodeMapLen()
	if err != nil || length < 0 {
		return nil, err
	}
	object := make(map[string]any, length)
	for range length {
		key, err := decoder.DecodeInterface()
		if err != nil {
			return nil, err
		}
		name, err := keyText(key)
		if err != nil {
			return nil, err
		}
		if _, taken := object[name]; taken {
			return nil, keyError(fmt.Sprintf("has two keys that are both %q as text", name))
		}
		if object[name], err = decoder.DecodeInterface(); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// keyError is what is wrong with a key of a dict that is valid msgpack.
type keyError string

func (e keyError) Error() string { return string(e) }

func keyText(key any) (string, error) {
	switch v := key.(type) {
	case string:
		return v, nil
	case float64:
		number, err := exactFloat(v)
		return fmt.Sprint(number), err
	case bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	case nil:
		return "", keyError("has the key None, and JSON's keys are texts")
	case []byte:
		return "", keyError(fmt.Sprintf("has the key %q of bytes, and JSON's keys are texts", v))
	default:
		return "", keyError(fmt.Sprintf("has the key %v, and JSON's keys are texts", v))
	}
}

// plainMsgpack makes of what msgpack holds what JSON has, or refuses it.
func plainMsgpack(decoded any) (any, error) {
	switch v := decoded.(type) {
	case map[string]any:
		for key, element := range v {
			var err error
			if v[key], err = plainMsgpack(element); err != nil {
				return nil, fmt.Errorf("entry %q %w", key, err)
			}
		}
		return v, nil
	case []byte:
		return nil, fmt.Errorf("has bytes, which JSON does not have: pass them as base64 text")
	case time.Time:
		return nil, fmt.Errorf("has a timestamp of msgpack, which JSON does not have: pass it as text")
	case []any:
		for i := range v {
			var err error
			if v[i], err = plainMsgpack(v[i]); err != nil {
				return nil, err
			}
		}
		return v, nil
	case float64:
		return exactFloat(v)
	case float32:
		return exactFloat(float64(v))
	default:
		return v, nil
	}
}
