package literal

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// A plain value is what JSON and msgpack can say: nil, bool, int64, uint64 above its range, float64, string, []byte,
// []any and map[string]any, and the time.Time of msgpack's timestamps.

// maxDepth bounds the nesting of what is decoded: a stack overflow would end the whole plugin.
const maxDepth = 1000

// decodeMsgPack reads the one value that the bytes hold.
func decodeMsgPack(data []byte) (any, error) {
	reader := bytes.NewReader(data)
	source := msgPackSource{data, reader, msgpack.NewDecoder(reader)}
	value, err := source.value(0)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("the msgpack ends early")
	case err != nil:
		return nil, fmt.Errorf("the msgpack is broken: %w", err)
	case reader.Len() > 0:
		return nil, fmt.Errorf("the msgpack is followed by %d more bytes", reader.Len())
	}
	return value, nil
}

// msgPackSource reads values one by one instead of leaving it to the library, which follows any depth and believes any
// length: five bytes could ask it for four gigabytes.
type msgPackSource struct {
	data    []byte
	reader  *bytes.Reader // over data; the decoder reads from it without a buffer of its own
	decoder *msgpack.Decoder
}

func (s msgPackSource) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	code, err := s.decoder.PeekCode()
	if err != nil {
		return nil, err
	}
	switch {
	case code == msgpcode.Str32 || code == msgpcode.Bin32 || code == msgpcode.Ext32:
		rest := s.data[len(s.data)-s.reader.Len()+1:]
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)) {
			return nil, io.ErrUnexpectedEOF
		}
	case msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32:
		return s.list(depth)
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		return s.object(depth)
	}
	if msgpcode.IsBin(code) {
		return s.decoder.DecodeBytes()
	}
	value, err := s.decoder.DecodeInterfaceLoose()
	if unsigned, ok := value.(uint64); ok && unsigned <= math.MaxInt64 {
		return int64(unsigned), err
	}
	return value, err
}

func (s msgPackSource) list(depth int) (any, error) {
	length, err := s.decoder.DecodeArrayLen()
	list := []any{}
	for i := 0; i < length && err == nil; i++ {
		var element any
		if element, err = s.value(depth + 1); err == nil {
			list = append(list, element)
		}
	}
	return list, err
}

func (s msgPackSource) object(depth int) (any, error) {
	length, err := s.decoder.DecodeMapLen()
	object := map[string]any{}
	for i := 0; i < length && err == nil; i++ {
		var name, value any
		if name, err = s.value(depth + 1); err != nil {
			break
		}
		if value, err = s.value(depth + 1); err == nil {
			object[fmt.Sprint(name)] = value
		}
	}
	return object, err
}

func encodeMsgPack(plain any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := msgpack.NewEncoder(&buffer)
	encoder.UseCompactInts(true)
	encoder.SetSortMapKeys(true)
	err := encoder.Encode(plain)
	return buffer.Bytes(), err
}

// toPlain turns a Go value into a plain one: maps, lists and simple values as they are, everything else as
// encoding/json writes it.
func toPlain(v reflect.Value) (any, error) {
	if !v.IsValid() {
		return nil, nil
	}
	switch v.Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return throughJSON(v)
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return nil, nil
		}
		return toPlain(v.Elem())
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.String:
		return v.String(), nil
	case reflect.Float32, reflect.Float64:
		return v.Float(), nil
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			break
		}
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = toPlain(v.Index(i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			break
		}
		object := make(map[string]any, v.Len())
		for entries := v.MapRange(); entries.Next(); {
			value, err := toPlain(entries.Value())
			if err != nil {
				return nil, err
			}
			object[entries.Key().String()] = value
		}
		return object, nil
	}
	if data, ok := v.Interface().([]byte); ok {
		return data, nil
	}
	return throughJSON(v)
}

func throughJSON(v reflect.Value) (any, error) {
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var plain any
	err = decoder.Decode(&plain)
	return numbers(plain), err
}

// numbers turns the json.Numbers inside a value into int64 where they are whole, and float64 elsewhere.
func numbers(plain any) any {
	switch value := plain.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil && !strings.ContainsAny(value.String(), ".eE") {
			return whole
		}
		float, _ := value.Float64()
		return float
	case []any:
		for i := range value {
			value[i] = numbers(value[i])
		}
	case map[string]any:
		for name := range value {
			value[name] = numbers(value[name])
		}
	}
	return plain
}

// plainInto puts a plain value into a Go value of any type: maps, lists and any as they are, everything else as
// encoding/json reads it.
func plainInto(plain any, v reflect.Value, path string) error {
	if reflect.PointerTo(v.Type()).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return plainThroughJSON(plain, v, path)
	}
	list, isList := plain.([]any)
	object, isObject := plain.(map[string]any)
	switch {
	case v.Kind() == reflect.Interface && v.NumMethod() == 0:
		if plain == nil {
			v.SetZero()
		} else {
			v.Set(reflect.ValueOf(plain))
		}
		return nil
	case v.Kind() == reflect.Pointer && plain != nil:
		v.Set(reflect.New(v.Type().Elem()))
		return plainInto(plain, v.Elem(), path)
	case v.Kind() == reflect.Slice && isList:
		made := reflect.MakeSlice(v.Type(), len(list), len(list))
		for i := range list {
			if err := plainInto(list[i], made.Index(i), index(path, i)); err != nil {
				return err
			}
		}
		v.Set(made)
		return nil
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String && isObject:
		made := reflect.MakeMapWithSize(v.Type(), len(object))
		for name, value := range object {
			element := reflect.New(v.Type().Elem()).Elem()
			if err := plainInto(value, element, key(path, name)); err != nil {
				return err
			}
			made.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), element)
		}
		v.Set(made)
		return nil
	}
	return plainThroughJSON(plain, v, path)
}

func plainThroughJSON(plain any, v reflect.Value, path string) error {
	data, err := json.Marshal(plain)
	if err != nil {
		return problem(path, "it cannot be read as %s: %w", v.Type(), err)
	}
	if plain == nil && !nillable(v.Kind()) {
		return problem(path, "it is none, not %s", v.Type())
	}
	err = json.Unmarshal(data, v.Addr().Interface())
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return problem(key(path, wrongType.Field), "%s cannot be read as %s", wrongType.Value, wrongType.Type)
	case errors.As(err, &wrongType):
		return problem(path, "%s cannot be read as %s", wrongType.Value, wrongType.Type)
	case err != nil:
		return problem(path, "it cannot be read as %s: %w", v.Type(), err)
	}
	return nil
}

func nillable(kind reflect.Kind) bool {
	return kind == reflect.Pointer || kind == reflect.Interface || kind == reflect.Map || kind == reflect.Slice
}
