package literal

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// A plain value is what JSON and msgpack can say: nil, bool, int64, uint64 above its range, float64, string, []byte, []any,
// map[string]any, or map[any]any where a key is no string, and msgpack's Timestamp.

// The years 1 to 9999, from 1970 on: those of JSON and of protobuf.
const (
	firstSecond = -62_135_596_800
	lastSecond  = 253_402_300_799
)

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
	switch {
	case msgpcode.IsBin(code):
		return s.decoder.DecodeBytes()
	case msgpcode.IsExt(code):
		return s.extension()
	}
	value, err := s.decoder.DecodeInterfaceLoose()
	switch value := value.(type) {
	case uint64:
		if value <= math.MaxInt64 {
			return int64(value), err
		}
	case string:
		if err == nil && !utf8.ValidString(value) {
			return nil, fmt.Errorf("%w: %q", errNoUTF8, value)
		}
	}
	return value, err
}

var errNoUTF8 = errors.New("a text is no UTF-8")

// extension reads msgpack's timestamps, which the library would move into the next second where their nanoseconds are too many.
func (s msgPackSource) extension() (any, error) {
	code, length, err := s.decoder.DecodeExtHeader()
	if err != nil {
		return nil, err
	}
	if length > s.reader.Len() {
		return nil, io.ErrUnexpectedEOF
	}
	data := make([]byte, length)
	if err := s.decoder.ReadFull(data); err != nil {
		return nil, err
	}
	if code != -1 {
		return nil, fmt.Errorf("an extension of type %d has no Go value", code)
	}
	var seconds int64
	var nanos uint64
	switch length {
	case 4:
		seconds = int64(binary.BigEndian.Uint32(data))
	case 8:
		both := binary.BigEndian.Uint64(data)
		seconds, nanos = int64(both&(1<<34-1)), both>>34
	case 12:
		seconds, nanos = int64(binary.BigEndian.Uint64(data[4:])), uint64(binary.BigEndian.Uint32(data))
	default:
		return nil, fmt.Errorf("a timestamp has %d bytes", length)
	}
	if nanos >= 1e9 || seconds < firstSecond || seconds > lastSecond {
		return nil, fmt.Errorf("a timestamp of %d s and %d ns is not in the years 1 to 9999", seconds, nanos)
	}
	return Timestamp{time.Unix(seconds, int64(nanos)).UTC()}, nil
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
	object := map[any]any{}
	for i := 0; i < length && err == nil; i++ {
		var name, value any
		if name, err = s.value(depth + 1); err != nil {
			break
		}
		if value, err = s.value(depth + 1); err == nil {
			err = addEntry(object, name, value)
		}
	}
	if err != nil {
		return nil, err
	}
	texts := make(map[string]any, len(object))
	for name, value := range object {
		text, ok := name.(string)
		if !ok {
			return object, nil
		}
		texts[text] = value
	}
	return texts, nil
}

// addEntry adds an entry of a dict, whose keys are not only texts in Python.
func addEntry(object map[any]any, name, value any) error {
	switch name.(type) {
	case nil, string, bool, int64, uint64, float64:
	default:
		return fmt.Errorf("a key is a %T, neither a text nor a number", name)
	}
	if _, twice := object[name]; twice {
		return fmt.Errorf("two keys are %v", name)
	}
	object[name] = value
	return nil
}

// textKeys gives a dict's keys as text, for what has no others.
func textKeys(object map[any]any) (map[string]any, error) {
	texts := make(map[string]any, len(object))
	for name, value := range object {
		if name == nil {
			return nil, errors.New("a key is none, which is no text")
		}
		text := fmt.Sprint(name)
		if _, twice := texts[text]; twice {
			return nil, fmt.Errorf("two keys read as %q", text)
		}
		texts[text] = value
	}
	return texts, nil
}

func encodeMsgPack(plain any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := msgpack.NewEncoder(&buffer)
	encoder.UseCompactInts(true)
	err := writeMsgPack(encoder, plain)
	return buffer.Bytes(), err
}

// writeMsgPack writes the entries of maps in an order, so that equal values are equal bytes.
func writeMsgPack(encoder *msgpack.Encoder, plain any) error {
	switch value := plain.(type) {
	case Timestamp:
		return encoder.EncodeTime(value.Time)
	case []any:
		if err := encoder.EncodeArrayLen(len(value)); err != nil {
			return err
		}
		for _, element := range value {
			if err := writeMsgPack(encoder, element); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		return writeEntries(encoder, value, strings.Compare)
	case map[any]any:
		return writeEntries(encoder, value, func(a, b any) int {
			return cmp.Or(strings.Compare(fmt.Sprint(a), fmt.Sprint(b)), strings.Compare(fmt.Sprintf("%T", a), fmt.Sprintf("%T", b)))
		})
	}
	return encoder.Encode(plain)
}

func writeEntries[K comparable](encoder *msgpack.Encoder, object map[K]any, order func(a, b K) int) error {
	if err := encoder.EncodeMapLen(len(object)); err != nil {
		return err
	}
	for _, name := range slices.SortedFunc(maps.Keys(object), order) {
		if err := encoder.Encode(name); err != nil {
			return err
		}
		if err := writeMsgPack(encoder, object[name]); err != nil {
			return err
		}
	}
	return nil
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
	case Timestamp:
		return value, nil
	case *Timestamp: // not by the methods of the time in it
	case json.Marshaler, encoding.TextMarshaler:
		return throughJSON(v)
	}
	if v.CanAddr() {
		switch v.Addr().Interface().(type) {
		case json.Marshaler, encoding.TextMarshaler:
			return throughJSON(v.Addr())
		}
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
		if !utf8.ValidString(v.String()) {
			return nil, fmt.Errorf("%w: %q", errNoUTF8, v.String())
		}
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
		return plainMap(v)
	case reflect.Struct:
		if fields, ok := fieldsOf(v.Type()); ok {
			return plainStruct(v, fields)
		}
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return v.Bytes(), nil
	}
	return throughJSON(v)
}

func plainMap(v reflect.Value) (any, error) {
	texts, object := map[string]any{}, map[any]any{}
	ofTexts := v.Type().Key().Kind() == reflect.String
	if !ofTexts && v.Type().Key().Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return throughJSON(v)
	}
	for entries := v.MapRange(); entries.Next(); {
		value, err := toPlain(entries.Value())
		if err != nil {
			return nil, err
		}
		if ofTexts {
			name := entries.Key().String()
			if !utf8.ValidString(name) {
				return nil, fmt.Errorf("%w: %q", errNoUTF8, name)
			}
			texts[name] = value
			continue
		}
		name, err := toPlain(entries.Key())
		if err == nil {
			err = addEntry(object, name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	if ofTexts {
		return texts, nil
	}
	return object, nil
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
	ofTexts := v.Kind() == reflect.Struct || v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String
	if object, ok := plain.(map[any]any); ok && ofTexts {
		texts, err := textKeys(object)
		if err != nil {
			return problem(path, "it cannot be read as %s: %w", v.Type(), err)
		}
		plain = texts
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
	case v.Kind() == reflect.Struct && isObject:
		if fields, ok := fieldsOf(v.Type()); ok {
			return plainIntoStruct(object, v, fields, path)
		}
	case setDirectly(plain, v):
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

// setDirectly sets simple values of the very kind, which encoding/json would set too.
func setDirectly(plain any, v reflect.Value) bool {
	if readsItself(v.Type()) {
		return false
	}
	switch value := plain.(type) {
	case string:
		if v.Kind() == reflect.String {
			v.SetString(value)
			return true
		}
	case bool:
		if v.Kind() == reflect.Bool {
			v.SetBool(value)
			return true
		}
	case int64:
		if v.CanInt() && !v.OverflowInt(value) {
			v.SetInt(value)
			return true
		}
	case float64:
		if v.Kind() == reflect.Float64 {
			v.SetFloat(value)
			return true
		}
	}
	return false
}

func plainThroughJSON(plain any, v reflect.Value, path string) error {
	losses := lossesOf(plain)
	sayable, err := marked(plain)
	var data []byte
	if err == nil {
		data, err = json.Marshal(sayable)
	}
	if err != nil {
		return problem(path, "it cannot be read as %s: %w", v.Type(), err)
	}
	if plain == nil && !nillable(v.Kind()) {
		return problem(path, "it is none, not %s", v.Type())
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err = decoder.Decode(v.Addr().Interface()); err == nil {
		err = losses.settle(v, 0)
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
// their last digits, and all keys as text.
func marked(plain any) (any, error) {
	var err error
	switch value := plain.(type) {
	case float64:
		if size := math.Abs(value); size > 1<<53 && size < 1e21 {
			return json.Number(strconv.FormatFloat(value, 'e', -1, 64)), nil
		}
	case []any:
		list := make([]any, len(value))
		for i := range value {
			if list[i], err = marked(value[i]); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[any]any:
		texts, err := textKeys(value)
		if err != nil {
			return nil, err
		}
		return marked(texts)
	case map[string]any:
		object := make(map[string]any, len(value))
		for name := range value {
			if object[name], err = marked(value[name]); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return plain, nil
}

// jsonLosses is what encoding/json would change of a plain value: bytes and timestamps, which are texts in JSON, and whole
// numbers that it reads as the nearest float.
type jsonLosses struct {
	texts  map[string]any  // what a text stands for
	ints   map[rounded]any // what a float was
	floats map[rounded]int // how many of these floats the value has itself
}

// alsoText is what a text stands for that the value has itself, too.
type alsoText struct{}

type rounded struct {
	bits  int
	float float64
}

func lossesOf(plain any) jsonLosses {
	l := jsonLosses{map[string]any{}, map[rounded]any{}, map[rounded]int{}}
	eachScalar(plain, func(scalar any) {
		switch value := scalar.(type) {
		case []byte:
			l.texts[base64.StdEncoding.EncodeToString(value)] = value
		case Timestamp:
			l.texts[value.Format(time.RFC3339Nano)] = value
		case int64:
			if value > 1<<24 || value < -1<<24 { // others are floats of 32 bits, too
				l.addInt(strconv.FormatInt(value, 10), value)
			}
		case uint64:
			l.addInt(strconv.FormatUint(value, 10), value)
		}
	})
	if len(l.texts) == 0 && len(l.ints) == 0 {
		return l
	}
	eachScalar(plain, func(scalar any) {
		switch value := scalar.(type) {
		case string:
			if l.texts[value] != nil {
				l.texts[value] = alsoText{}
			}
		case float64:
			l.floats[rounded{64, value}]++
			l.floats[rounded{32, float64(float32(value))}]++
		}
	})
	return l
}

func (l jsonLosses) addInt(text string, value any) {
	for _, bits := range []int{32, 64} {
		float, err := strconv.ParseFloat(text, bits)
		if exact := new(big.Float).SetFloat64(float); err != nil || exact.Text('f', 0) != text {
			l.ints[rounded{bits, float}] = value
		}
	}
}

// fits refuses a float that was a whole number which no float is.
func (l jsonLosses) fits(bits int, float float64) error {
	key := rounded{bits, float}
	value, lost := l.ints[key]
	if lost && l.floats[key] == 0 {
		return fmt.Errorf("%d has more digits than float%d", value, bits)
	}
	l.floats[key]--
	return nil
}

func eachScalar(plain any, visit func(any)) {
	switch value := plain.(type) {
	case []any:
		for _, element := range value {
			eachScalar(element, visit)
		}
	case map[string]any:
		for _, element := range value {
			eachScalar(element, visit)
		}
	case map[any]any:
		for _, element := range value {
			eachScalar(element, visit)
		}
	default:
		visit(plain)
	}
}

// settle puts right what encoding/json has read. In interfaces numbers are float64, which it makes of all by itself, and
// integers where no float holds them; bytes and timestamps are what they were. Neither is a text.
func (l jsonLosses) settle(v reflect.Value, depth int) error {
	if depth > maxDepth { // pointers that the author has put there may go in circles
		return nil
	}
	switch v.Kind() {
	case reflect.Interface:
		if v.NumMethod() == 0 && !v.IsNil() && v.CanSet() {
			plain, err := l.settled(v.Interface(), depth)
			if err != nil {
				return err
			}
			v.Set(reflect.ValueOf(plain))
		}
	case reflect.String:
		if other := l.texts[v.String()]; other != nil && other != any(alsoText{}) {
			return fmt.Errorf("a %T cannot be read as %s", other, v.Type())
		}
	case reflect.Float32, reflect.Float64:
		return l.fits(v.Type().Bits(), v.Float())
	case reflect.Pointer:
		if !v.IsNil() {
			return l.settle(v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := l.settle(v.Index(i), depth+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(entries.Value())
			if err := l.settle(element, depth+1); err != nil {
				return err
			}
			v.SetMapIndex(entries.Key(), element)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() || field.Anonymous {
				if err := l.settle(v.Field(i), depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (l jsonLosses) settled(plain any, depth int) (any, error) {
	switch value := plain.(type) {
	case string:
		switch other := l.texts[value].(type) {
		case alsoText:
			return nil, fmt.Errorf("%q may be a text, and may be what JSON says for bytes or a timestamp: read it as a map", value)
		case nil:
		default:
			return other, nil
		}
	case json.Number:
		number, err := exactNumber(value)
		switch whole := number.(type) {
		case float64:
			return whole, cmp.Or(err, l.fits(64, whole))
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
		return plain, l.settle(reflect.ValueOf(plain), depth)
	}
	return plain, nil
}

func nillable(kind reflect.Kind) bool {
	return kind == reflect.Pointer || kind == reflect.Interface || kind == reflect.Map || kind == reflect.Slice
}
