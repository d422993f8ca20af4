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
	"math/big"
	"reflect"
	"strconv"
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
			err = addEntry(object, name, value)
		}
	}
	return object, err
}

// addEntry puts an entry under its key as text: dicts of Python have keys that are numbers, too.
func addEntry(object map[string]any, name, value any) error {
	switch name.(type) {
	case string, bool, int64, uint64, float64:
	default:
		return fmt.Errorf("a key is a %T, neither a text nor a number", name)
	}
	key := fmt.Sprint(name)
	if _, twice := object[key]; twice {
		return fmt.Errorf("two keys read as %q", key)
	}
	object[key] = value
	return nil
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
	switch value := v.Interface().(type) {
	case json.Number:
		return exactNumber(value)
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
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return v.Uint(), nil
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
	if err := decoder.Decode(&plain); err != nil {
		return nil, err
	}
	return numbers(plain)
}

// numbers turns the json.Numbers inside a value into Go's.
func numbers(plain any) (any, error) {
	var err error
	switch value := plain.(type) {
	case json.Number:
		number, err := exactNumber(value)
		if float, floatErr := value.Float64(); err != nil && floatErr == nil && strconv.FormatFloat(float, 'f', -1, 64) == value.String() {
			return float, nil // encoding/json has written it so
		}
		return number, err
	case []any:
		for i := range value {
			if value[i], err = numbers(value[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range value {
			if value[name], err = numbers(value[name]); err != nil {
				return nil, err
			}
		}
	}
	return plain, nil
}

// exactNumber gives a whole number as int64, uint64 or float64, whichever holds it, and any other as the nearest float64.
func exactNumber(number json.Number) (any, error) {
	text := number.String()
	if text == "-0" {
		return math.Copysign(0, -1), nil
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return whole, nil
	}
	if whole, err := strconv.ParseUint(text, 10, 64); err == nil {
		return whole, nil
	}
	float, err := strconv.ParseFloat(text, 64)
	digits, _, _ := strings.Cut(strings.ToLower(text), "e")
	switch {
	case err != nil, float == 0 && strings.ContainsAny(digits, "123456789"):
		return nil, fmt.Errorf("the number %s is out of the range of a float", text)
	case !strings.ContainsAny(text, ".eE") && new(big.Float).SetFloat64(float).Text('f', 0) != text:
		return nil, fmt.Errorf("the whole number %s has more digits than a float, and is out of the range of integers", text)
	}
	return float, nil
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
	data, err := json.Marshal(marked(plain))
	if err != nil {
		return problem(path, "it cannot be read as %s: %w", v.Type(), err)
	}
	if plain == nil && !nillable(v.Kind()) {
		return problem(path, "it is none, not %s", v.Type())
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err = decoder.Decode(v.Addr().Interface()); err == nil {
		err = settle(v, 0)
	}
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

// marked writes large floats with an exponent, since encoding/json writes them as whole numbers, with zeros in the place of
// their last digits.
func marked(plain any) any {
	switch value := plain.(type) {
	case float64:
		if size := math.Abs(value); size > 1<<53 && size < 1e21 {
			return json.Number(strconv.FormatFloat(value, 'e', -1, 64))
		}
	case []any:
		list := make([]any, len(value))
		for i := range value {
			list[i] = marked(value[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(value))
		for name := range value {
			object[name] = marked(value[name])
		}
		return object
	}
	return plain
}

// settle gives what encoding/json has read into interfaces its numbers: float64, which it makes of all by itself, and
// integers where no float holds them.
func settle(v reflect.Value, depth int) error {
	if depth > maxDepth { // pointers that the author has put there may go in circles
		return nil
	}
	switch v.Kind() {
	case reflect.Interface:
		if v.NumMethod() == 0 && !v.IsNil() && v.CanSet() {
			plain, err := settled(v.Interface(), depth)
			if err != nil {
				return err
			}
			v.Set(reflect.ValueOf(plain))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return settle(v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := settle(v.Index(i), depth+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(entries.Value())
			if err := settle(element, depth+1); err != nil {
				return err
			}
			v.SetMapIndex(entries.Key(), element)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() || field.Anonymous {
				if err := settle(v.Field(i), depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func settled(plain any, depth int) (any, error) {
	switch value := plain.(type) {
	case json.Number:
		number, err := exactNumber(value)
		switch whole := number.(type) {
		case int64:
			if back, exact := exactInteger(float64(whole)); exact && back == whole {
				return float64(whole), nil
			}
		case uint64:
			if float := float64(whole); float < math.MaxUint64 && uint64(float) == whole {
				return float, nil
			}
		}
		return number, err
	case []any, map[string]any:
		return plain, settle(reflect.ValueOf(plain), depth)
	}
	return plain, nil
}

func nillable(kind reflect.Kind) bool {
	return kind == reflect.Pointer || kind == reflect.Interface || kind == reflect.Map || kind == reflect.Slice
}
