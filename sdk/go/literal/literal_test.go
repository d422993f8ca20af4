package literal

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

// typed is a declared type with a Go value of it, as Decode into any returns the value.
type typed struct {
	declared *core.LiteralType
	value    any
}

var (
	integerType  = Simple(core.SimpleType_INTEGER)
	floatType    = Simple(core.SimpleType_FLOAT)
	stringType   = Simple(core.SimpleType_STRING)
	booleanType  = Simple(core.SimpleType_BOOLEAN)
	datetimeType = Simple(core.SimpleType_DATETIME)
	durationType = Simple(core.SimpleType_DURATION)
	binaryType   = Simple(core.SimpleType_BINARY)
	structType   = Simple(core.SimpleType_STRUCT)
	noneType     = Simple(core.SimpleType_NONE)
	fileType     = blobType(core.BlobType_SINGLE)
	folderType   = blobType(core.BlobType_MULTIPART)
	datasetType  = &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{}}}
	schemaType   = &core.LiteralType{Type: &core.LiteralType_Schema{Schema: &core.SchemaType{}}}
	enumType     = &core.LiteralType{Type: &core.LiteralType_EnumType{EnumType: &core.EnumType{Values: []string{"red", "blue"}}}}
)

func blobType(dimensionality core.BlobType_BlobDimensionality) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_Blob{Blob: &core.BlobType{Dimensionality: dimensionality}}}
}

func drawFloat(t *rapid.T) float64 {
	return rapid.Custom(func(t *rapid.T) float64 {
		return rapid.OneOf(rapid.Float64(), rapid.Just(math.Inf(1)), rapid.Just(math.Inf(-1))).Draw(t, "float")
	}).Draw(t, "float")
}

func drawTime(t *rapid.T) time.Time {
	seconds := rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds")
	return time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
}

// drawPlain draws what JSON can say, ints as int64.
func drawPlain(t *rapid.T, depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "plain kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int64().Draw(t, "int")
	case 3:
		return drawFloat(t)
	case 4:
		return rapid.String().Draw(t, "string")
	case 5:
		return rapid.SliceOfN(rapid.Byte(), 1, 5).Draw(t, "bytes")
	case 6:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, drawPlain(t, depth-1))
		}
		return list
	}
	return drawPlainObject(t, depth)
}

func drawPlainObject(t *rapid.T, depth int) map[string]any {
	object := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "keys") {
		object[rapid.String().Draw(t, "key")] = drawPlain(t, depth-1)
	}
	return object
}

func drawTyped(t *rapid.T, depth int) typed {
	kinds := 17
	if depth == 0 {
		kinds = 14
	}
	uri := rapid.StringMatching(`s3://[a-z]{1,5}/[a-z]{1,5}`)
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return typed{integerType, rapid.Int64().Draw(t, "int")}
	case 1:
		return typed{floatType, drawFloat(t)}
	case 2:
		return typed{stringType, rapid.String().Draw(t, "string")}
	case 3:
		return typed{booleanType, rapid.Bool().Draw(t, "bool")}
	case 4:
		return typed{datetimeType, drawTime(t)}
	case 5:
		return typed{durationType, time.Duration(rapid.Int64Range(math.MinInt64+1, math.MaxInt64-1).Draw(t, "duration"))}
	case 6:
		return typed{noneType, nil}
	case 7:
		return typed{binaryType, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "bytes")}
	case 8:
		return typed{structType, drawPlainObject(t, 2)}
	case 9:
		return typed{fileType, File{URI: uri.Draw(t, "uri"), Format: rapid.String().Draw(t, "format")}}
	case 10:
		return typed{folderType, Directory{URI: uri.Draw(t, "uri"), Format: rapid.String().Draw(t, "format")}}
	case 11:
		return typed{enumType, rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "enum")}
	case 12:
		dataset := StructuredDataset{URI: uri.Draw(t, "uri"), Format: rapid.String().Draw(t, "format")}
		for range rapid.IntRange(0, 3).Draw(t, "columns") {
			dataset.Columns = append(dataset.Columns, Column{Name: rapid.String().Draw(t, "column"), Type: ListOf(integerType)})
		}
		return typed{datasetType, dataset}
	case 13:
		schema := Schema{URI: uri.Draw(t, "uri")}
		for range rapid.IntRange(0, 3).Draw(t, "columns") {
			schema.Columns = append(schema.Columns, SchemaColumn{Name: rapid.String().Draw(t, "column"), Type: core.SchemaType_SchemaColumn_DATETIME})
		}
		return typed{schemaType, schema}
	case 14:
		element := drawTyped(t, depth-1)
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, element.value)
		}
		return typed{ListOf(element.declared), list}
	case 15:
		element := drawTyped(t, depth-1)
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			object[rapid.String().Draw(t, "key")] = element.value
		}
		return typed{MapOf(element.declared), object}
	}
	one, two := drawTyped(t, depth-1), drawTyped(t, depth-1)
	return typed{UnionOf(one.declared, two.declared), rapid.SampledFrom([]any{one.value, two.value}).Draw(t, "variant")}
}

func sameValue(a, b any) bool {
	return cmp.Equal(a, b, protocmp.Transform(), cmp.Comparer(func(a, b float64) bool {
		return a == b || (math.IsNaN(a) && math.IsNaN(b))
	}))
}

func TestEveryValueSurvivesTheWayThroughALiteralOfItsDeclaredType(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := drawTyped(t, 3)
		encoded, err := Encode(drawn.value, drawn.declared)
		if err != nil {
			t.Fatalf("Encode(%#v, %s): %v", drawn.value, TypeName(drawn.declared), err)
		}
		// Over the wire, as Flyte stores it.
		wire, err := proto.Marshal(encoded)
		if err != nil {
			t.Fatal(err)
		}
		received := &core.Literal{}
		if err := proto.Unmarshal(wire, received); err != nil {
			t.Fatal(err)
		}
		got, err := Decode[any](received)
		if err != nil {
			t.Fatalf("Decode of %s: %v", TypeName(drawn.declared), err)
		}
		if !sameValue(got, drawn.value) {
			t.Fatalf("as %s: got %#v, want %#v", TypeName(drawn.declared), got, drawn.value)
		}
	})
}

func TestEveryGoTypeSurvivesTheWayThroughItsNaturalLiteral(t *testing.T) {
	type color string
	type inner struct {
		N int64             `json:"n"`
		M map[string]string `json:"m,omitempty"`
	}
	type row struct {
		Name  string     `json:"name"`
		F     float64    `json:"f"`
		When  time.Time  `json:"when"`
		Inner []inner    `json:"inner,omitempty"`
		Maybe *int       `json:"maybe"`
		Raw   []byte     `json:"raw,omitempty"`
		Flags [2]bool    `json:"flags"`
		Skip  chan error `json:"-"`
	}
	roundTrips[int](t, rapid.Int())
	roundTrips[int8](t, rapid.Int8())
	roundTrips[uint32](t, rapid.Uint32())
	roundTrips[uint64](t, rapid.Uint64Max(math.MaxInt64))
	roundTrips[float32](t, rapid.Float32())
	roundTrips[float64](t, rapid.Float64())
	roundTrips[string](t, rapid.String())
	roundTrips[color](t, rapid.Map(rapid.String(), func(s string) color { return color(s) }))
	roundTrips[bool](t, rapid.Bool())
	roundTrips[time.Time](t, rapid.Custom(drawTime))
	roundTrips[[]byte](t, rapid.SliceOfN(rapid.Byte(), 1, 9))
	roundTrips[*string](t, rapid.Ptr(rapid.String(), true))
	roundTrips[[]int](t, rapid.SliceOf(rapid.Int()))
	roundTrips[[]*float64](t, rapid.SliceOf(rapid.Ptr(rapid.Float64(), true)))
	roundTrips[[][]string](t, rapid.SliceOf(rapid.SliceOf(rapid.String())))
	roundTrips[map[string]int](t, rapid.MapOf(rapid.String(), rapid.Int()))
	roundTrips[map[color][]bool](t, rapid.MapOf(rapid.Map(rapid.String(), func(s string) color { return color(s) }), rapid.SliceOf(rapid.Bool())))
	roundTrips[map[string]any](t, rapid.Custom(func(t *rapid.T) map[string]any { return drawPlainObject(t, 3) }))
	roundTrips[row](t, rapid.Custom(func(t *rapid.T) row {
		return row{
			Name: rapid.String().Draw(t, "name"), F: rapid.Float64().Draw(t, "f"), When: drawTime(t),
			Inner: []inner{{N: rapid.Int64().Draw(t, "n"), M: map[string]string{"k": rapid.String().Draw(t, "v")}}},
			Maybe: rapid.Ptr(rapid.Int(), true).Draw(t, "maybe"), Raw: []byte{1, rapid.Byte().Draw(t, "raw")},
			Flags: [2]bool{true, rapid.Bool().Draw(t, "flag")},
		}
	}))
}

func roundTrips[T any](t *testing.T, values *rapid.Generator[T]) {
	t.Helper()
	t.Run(reflect.TypeFor[T]().String(), rapid.MakeCheck(func(t *rapid.T) {
		value := values.Draw(t, "value")
		encoded, err := Encode(value, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode[T](encoded)
		if err != nil {
			t.Fatalf("Decode of %v: %v", encoded, err)
		}
		if !sameValue(got, value) {
			t.Fatalf("got %#v, want %#v", got, value)
		}
	}))
}

func TestNumbersTakeTheDeclaredTypeWhereNothingIsLost(t *testing.T) {
	for _, c := range []struct {
		value    any
		declared *core.LiteralType
		want     any
		wrong    string
	}{
		{value: 3, declared: floatType, want: 3.0},
		{value: uint16(3), declared: floatType, want: 3.0},
		{value: 3.0, declared: integerType, want: int64(3)},
		{value: float32(0.5), declared: floatType, want: 0.5},
		{value: []int{1, 2}, declared: ListOf(floatType), want: []any{1.0, 2.0}},
		{value: []any{1, 2.0}, declared: ListOf(integerType), want: []any{int64(1), int64(2)}},
		{value: 3.5, declared: integerType, wrong: "3.5 is not a whole number, and integer is declared"},
		{value: math.NaN(), declared: integerType, wrong: "NaN is not a whole number"},
		{value: 1e300, declared: integerType, wrong: "1e+300 is not a whole number"},
		{value: uint64(math.MaxUint64), declared: integerType, wrong: "out of the range of integer"},
		{value: int64(1<<53 + 1), declared: floatType, wrong: "more digits than a float"},
		{value: int64(math.MaxInt64), declared: floatType, wrong: "more digits than a float"},
		{value: uint64(math.MaxUint64), declared: floatType, wrong: "more digits than a float"},
		{value: "3", declared: integerType, wrong: "a Go string cannot be written as integer"},
		{value: time.Second, declared: integerType, wrong: "a Go time.Duration cannot be written as integer"},
	} {
		checkEncoding(t, c.value, c.declared, c.want, c.wrong)
	}
}

func checkEncoding(t *testing.T, value any, declared *core.LiteralType, want any, wrong string) {
	t.Helper()
	encoded, err := Encode(value, declared)
	if wrong != "" {
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("Encode(%v, %s) = %v, want an error with %q", value, TypeName(declared), err, wrong)
		}
		return
	}
	if err != nil {
		t.Errorf("Encode(%v, %s): %v", value, TypeName(declared), err)
		return
	}
	if got, err := Decode[any](encoded); err != nil || !sameValue(got, want) {
		t.Errorf("Encode(%v, %s) decodes to %#v, %v; want %#v", value, TypeName(declared), got, err, want)
	}
}

func TestAValueThatDoesNotFitItsDeclaredTypeIsNamedByPath(t *testing.T) {
	for _, c := range []struct {
		value    any
		declared *core.LiteralType
		wrong    string
	}{
		{"green", enumType, `"green" is not one of enum[red, blue]`},
		{3, enumType, "a Go int cannot be written as enum[red, blue]"},
		{nil, floatType, "nil cannot be written as float"},
		{(*int)(nil), integerType, "nil cannot be written as integer"},
		{[]any{1, nil}, ListOf(integerType), "at [1]: nil cannot be written as integer"},
		{map[string]any{"a": []string{"b"}}, MapOf(ListOf(booleanType)), "at .a[0]: a Go string cannot be written as boolean"},
		{3, ListOf(integerType), "a Go int cannot be written as list[integer]"},
		{[]int{3}, MapOf(integerType), "a Go []int cannot be written as map[string, integer]"},
		{true, UnionOf(integerType, stringType), "a Go bool cannot be written as union[integer, string]"},
		{File{URI: "f"}, folderType, "a Go literal.File cannot be written as directory"},
		{Directory{URI: "f"}, fileType, "a Go literal.Directory cannot be written as file"},
		{3, datasetType, "a Go int cannot be written as structured dataset"},
		{3, schemaType, "a Go int cannot be written as schema"},
		{"x", structType, "a Go string cannot be written as struct"},
		{map[string]any{"f": func() {}}, structType, "cannot be written as JSON"},
		{JSON{[]int{1}}, structType, "not a JSON object"},
		{make(chan int), nil, "a Go chan int has no literal"},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), datetimeType, "cannot be a datetime"},
	} {
		checkEncoding(t, c.value, c.declared, nil, c.wrong)
	}
}

func TestAUnionTakesTheVariantThatIsTheValuesOwnType(t *testing.T) {
	optionalFloat := Optional(floatType)
	for _, c := range []struct {
		value   any
		union   *core.LiteralType
		variant *core.LiteralType
	}{
		{3, UnionOf(floatType, integerType), integerType},
		{3.0, UnionOf(integerType, floatType), floatType},
		{3, optionalFloat, floatType},
		{nil, optionalFloat, noneType},
		{(*float64)(nil), optionalFloat, noneType},
		{"red", UnionOf(fileType, stringType), stringType},
		{"green", UnionOf(enumType, stringType), stringType},
		{"s3://b/f", UnionOf(fileType, integerType), fileType},
		{[]int{1}, UnionOf(ListOf(stringType), ListOf(integerType)), ListOf(integerType)},
		{map[string]any{"a": 1}, UnionOf(ListOf(integerType), structType), structType},
	} {
		encoded, err := Encode(c.value, c.union)
		if err != nil {
			t.Errorf("Encode(%v, %s): %v", c.value, TypeName(c.union), err)
			continue
		}
		if got := encoded.GetScalar().GetUnion().GetType(); !proto.Equal(got, c.variant) {
			t.Errorf("Encode(%v, %s) took %s, want %s", c.value, TypeName(c.union), TypeName(got), TypeName(c.variant))
		}
	}
}

func TestDatasetsAndFilesTakeFormatAndColumnsFromTheDeclaredTypeWhereTheyHaveNone(t *testing.T) {
	columns := []*core.StructuredDatasetType_DatasetColumn{{Name: "n", LiteralType: integerType}}
	declared := &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{
		StructuredDatasetType: &core.StructuredDatasetType{Format: "parquet", Columns: columns},
	}}
	own := StructuredDataset{URI: "u", Format: "csv", Columns: []Column{{Name: "x", Type: stringType}}}
	checkEncoding(t, StructuredDataset{URI: "u"}, declared,
		StructuredDataset{URI: "u", Format: "parquet", Columns: []Column{{Name: "n", Type: integerType}}}, "")
	checkEncoding(t, "u", declared, StructuredDataset{URI: "u", Format: "parquet", Columns: []Column{{Name: "n", Type: integerType}}}, "")
	checkEncoding(t, own, declared, own, "")
	csv := &core.LiteralType{Type: &core.LiteralType_Blob{Blob: &core.BlobType{Format: "csv"}}}
	checkEncoding(t, File{URI: "u"}, csv, File{URI: "u", Format: "csv"}, "")
	checkEncoding(t, "u", csv, File{URI: "u", Format: "csv"}, "")
	checkEncoding(t, "u", folderType, Directory{URI: "u"}, "")
	checkEncoding(t, "u", schemaType, Schema{URI: "u"}, "")
}

func TestALiteralPassesThroughAtAnyDepth(t *testing.T) {
	failure := &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Error{Error: &core.Error{Message: "no"}}}}}
	encoded, err := Encode([]any{failure, failure.GetScalar(), failure.GetScalar().GetError()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Decode[[]*core.Literal](encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range raw {
		if !proto.Equal(l, failure) {
			t.Errorf("[%d] = %v, want %v", i, l, failure)
		}
	}
	errs, err := Decode[[]*core.Error](encoded)
	if err != nil || len(errs) != 3 || errs[2].GetMessage() != "no" {
		t.Errorf("as errors: %v, %v", errs, err)
	}
}

func TestDecodeRefusesWhatDoesNotFitAndSaysWhere(t *testing.T) {
	integer, text := must(t, int64(300)), must(t, "x")
	list := must(t, []any{1, "two"})
	object := must(t, map[string][]int{"a": {1, -1}})
	dataclass := must(t, map[string]any{"name": 3})
	for name, err := range map[string]error{
		"a string cannot be read as int64":              decodeError[int64](text),
		"an integer cannot be read as string":           decodeError[string](integer),
		"an integer cannot be read as bool":             decodeError[bool](integer),
		"300 is out of the range of int8":               decodeError[int8](integer),
		"at .a[1]: -1 is out of the range of uint":      decodeError[map[string][]uint](object),
		"at [1]: a string cannot be read as float64":    decodeError[[]float64](list),
		"a list cannot be read as []uint8":              decodeError[[]byte](list),
		"a list cannot be read as string":               decodeError[string](list),
		"a map cannot be read as int":                   decodeError[int](object),
		"none cannot be read as int":                    decodeError[int](must(t, nil)),
		"a float cannot be read as int":                 decodeError[int](must(t, 1.5)),
		"9007199254740993 has more digits than float64": decodeError[float64](must(t, int64(1<<53+1))),
		"at .name: number cannot be read as string": decodeError[struct {
			Name string `json:"name"`
		}](dataclass),
		"a file cannot be read as literal.Directory": decodeError[Directory](must(t, File{URI: "u"})),
		"a directory cannot be read as literal.File": decodeError[File](must(t, Directory{URI: "u"})),
		"a string cannot be read as time.Time":       decodeError[time.Time](text),
		"an integer cannot be read as time.Duration": decodeError[time.Duration](integer),
		"a string cannot be read as literal.Binary":  decodeError[Binary](text),
		"an empty literal has no value":              decodeError[any](&core.Literal{}),
		"an empty literal cannot be read as int":     decodeError[int](nil),
		"the msgpack ends early":                     decodeError[any](binaryLiteral([]byte{0x92, 1}, MsgPack)),
		"the msgpack is followed by 1 more bytes":    decodeError[any](binaryLiteral([]byte{1, 1}, MsgPack)),
		"it is nested deeper than 1000":              decodeError[any](binaryLiteral([]byte(strings.Repeat("\x91", 5000)), MsgPack)),
		"the datetime is not one": decodeError[any](primitive(&core.Primitive{
			Value: &core.Primitive_Datetime{Datetime: &timestamppb.Timestamp{Nanos: -1}},
		})),
		"longer than a Go duration can be": decodeError[any](primitive(&core.Primitive{
			Value: &core.Primitive_Duration{Duration: &durationpb.Duration{Seconds: 300_000_000_000}},
		})),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want %q", err, name)
		}
	}
}

func must(t *testing.T, value any) *core.Literal {
	t.Helper()
	encoded, err := Encode(value, nil)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func decodeError[T any](l *core.Literal) error {
	_, err := Decode[T](l)
	return err
}

func TestAnOffloadedLiteralIsAnErrorThatSaysWhereItLies(t *testing.T) {
	l := &core.Literal{Value: &core.Literal_OffloadedMetadata{OffloadedMetadata: &core.LiteralOffloadedMetadata{Uri: "s3://b/big", SizeBytes: 99}}}
	for _, err := range []error{decodeError[any](l), decodeError[string](l), decodeError[[]int](l)} {
		if err == nil || !strings.Contains(err.Error(), "99 bytes, into storage at s3://b/big") {
			t.Errorf("error = %v", err)
		}
	}
}

func TestFiveBytesCannotAskForGigabytes(t *testing.T) {
	for _, code := range []string{"\xdb", "\xc6", "\xc9"} {
		data := []byte(code + "\xff\xff\xff\xff")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := decodeMsgPack(data); err == nil {
			t.Errorf("code %x: the bytes are no value", code)
		}
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 1<<20 {
			t.Errorf("code %x: %d bytes allocated", code, allocated)
		}
	}
}

// The bytes are those of Python: msgpack.dumps({"x": 1, "y": [1.5, None], 3: b"a"}).
func TestPythonsMsgPackIsRead(t *testing.T) {
	data := []byte("\x83\xa1x\x01\xa1y\x92\xcb?\xf8\x00\x00\x00\x00\x00\x00\xc0\x03\xc4\x01a")
	got, err := Decode[any](binaryLiteral(data, MsgPack))
	want := map[any]any{"x": int64(1), "y": []any{1.5, nil}, int64(3): []byte("a")}
	if err != nil || !sameValue(got, want) {
		t.Errorf("got %#v, %v; want %#v", got, err, want)
	}
	type dataclass struct {
		X float64    `json:"x"`
		Y []*float64 `json:"y"`
	}
	typed, err := Decode[dataclass](binaryLiteral(data, MsgPack))
	if err != nil || typed.X != 1 || *typed.Y[0] != 1.5 || typed.Y[1] != nil {
		t.Errorf("as a struct: %+v, %v", typed, err)
	}
}

func TestDataclassesAreReadFromGenericAndMsgPackAlike(t *testing.T) {
	type config struct {
		Steps int            `json:"steps"`
		Names []string       `json:"names"`
		Extra map[string]any `json:"extra"`
	}
	object := map[string]any{"steps": 3, "names": []any{"a"}, "extra": map[string]any{"k": "v"}, "unknown": true}
	want := config{Steps: 3, Names: []string{"a"}, Extra: map[string]any{"k": "v"}}
	for _, value := range []any{object, JSON{object}} {
		got, err := Decode[config](must(t, value))
		if err != nil || !sameValue(got, want) {
			t.Errorf("%T: got %+v, %v", value, got, err)
		}
	}
	if generic := must(t, JSON{object}).GetScalar().GetGeneric(); generic.GetFields()["steps"].GetNumberValue() != 3 {
		t.Errorf("JSON is not written as a generic literal: %v", generic)
	}
	asStruct, err := Decode[*structpb.Struct](must(t, JSON{object}))
	if err != nil || asStruct.GetFields()["steps"] == nil {
		t.Errorf("as a protobuf Struct: %v, %v", asStruct, err)
	}
}

func TestBinaryOfAnotherEncodingKeepsItsTag(t *testing.T) {
	got, err := Decode[any](must(t, Binary{Value: []byte{1}, Tag: "cbor"}))
	if err != nil || !sameValue(got, Binary{Value: []byte{1}, Tag: "cbor"}) {
		t.Errorf("got %#v, %v", got, err)
	}
	if raw, err := Decode[[]byte](must(t, Binary{Value: []byte{1}, Tag: "cbor"})); err == nil || !strings.Contains(err.Error(), `a binary with tag "cbor"`) {
		t.Errorf("as bytes, without its tag: %v, %v", raw, err)
	}
}

func TestASchemaCanBeReadAsAStructuredDataset(t *testing.T) {
	got, err := Decode[StructuredDataset](must(t, Schema{URI: "u", Columns: []SchemaColumn{{Name: "n", Type: core.SchemaType_SchemaColumn_FLOAT}}}))
	want := StructuredDataset{URI: "u", Format: "parquet", Columns: []Column{{Name: "n", Type: floatType}}}
	if err != nil || !sameValue(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTextTypesAreStrings(t *testing.T) {
	type level struct{ Level jsonLevel }
	encoded := must(t, jsonLevel("high"))
	if got := encoded.GetScalar().GetPrimitive().GetStringValue(); got != "HIGH" {
		t.Errorf("encoded as %q", got)
	}
	if got, err := Decode[jsonLevel](encoded); err != nil || got != "high" {
		t.Errorf("decoded as %q, %v", got, err)
	}
	if got, err := Decode[level](must(t, level{"high"})); err != nil || got.Level != "high" {
		t.Errorf("inside a struct decoded as %q, %v", got, err)
	}
	if err := decodeError[jsonLevel](must(t, "low")); err == nil || !strings.Contains(err.Error(), "unheard of") {
		t.Errorf("error = %v", err)
	}
}

type jsonLevel string

func (l jsonLevel) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(string(l))), nil }

func (l *jsonLevel) UnmarshalText(text []byte) error {
	if string(text) != "HIGH" {
		return errors.New("unheard of")
	}
	*l = "high"
	return nil
}

// Whatever bytes a literal holds, decoding ends with a value or an error.
func FuzzDecode(f *testing.F) {
	for _, value := range []any{1, "x", []any{1, "a"}, map[string]any{"a": []any{nil, 1.5}}, File{URI: "u"}, JSON{map[string]any{"a": 1}}} {
		encoded, err := Encode(value, nil)
		if err != nil {
			f.Fatal(err)
		}
		wire, err := proto.Marshal(encoded)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		l := &core.Literal{}
		if proto.Unmarshal(wire, l) != nil {
			return
		}
		value, err := Decode[any](l)
		if err != nil {
			return
		}
		again, err := Encode(value, nil)
		if err != nil {
			return
		}
		if _, err := Decode[any](again); err != nil {
			t.Errorf("%v decodes to %#v, whose literal does not decode: %v", l, value, err)
		}
		DecodeInto(l, &struct{ A []map[string]*int }{})
		DecodeInto(l, new([]json.RawMessage))
	})
}

func FuzzMsgPack(f *testing.F) {
	seed, _ := msgpack.Marshal(map[string]any{"a": []any{1, 2.5, "x", nil, []byte{1}}})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		value, err := decodeMsgPack(data)
		if err != nil {
			return
		}
		if _, err := encodeMsgPack(value); err != nil {
			t.Errorf("%#v cannot be written again: %v", value, err)
		}
	})
}

func TestNumbersAreNeverBent(t *testing.T) {
	const odd = 1<<53 + 1 // which no float holds
	type inner struct{ Deep any }
	type record struct {
		Any   any
		List  []any
		ByKey map[string]any
		inner
		More *inner
	}
	packed, err := Encode(map[string]any{
		"Any": odd, "List": []any{odd, 1, 2.5}, "ByKey": map[string]any{"a": []any{uint64(math.MaxUint64)}}, "Deep": odd,
		"More": map[string]any{"Deep": json.Number("9007199254740993")},
	}, structType)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode[record](packed)
	want := record{int64(odd), []any{int64(odd), 1.0, 2.5}, map[string]any{"a": []any{uint64(math.MaxUint64)}}, inner{int64(odd)}, &inner{int64(odd)}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}

	for _, exact := range []any{
		map[string]any{"n": json.Number("18446744073709551615")}, map[string]uint64{"n": math.MaxUint64}, struct {
			N uint64 `json:"n"`
		}{math.MaxUint64},
	} {
		l, err := Encode(exact, structType)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode[map[string]any](l); err != nil || got["n"] != uint64(math.MaxUint64) {
			t.Errorf("%T: got %v, %v", exact, got, err)
		}
	}
	large := map[string]any{"Any": math.Ldexp(1, 60)}
	if err := plainInto(large, reflect.ValueOf(&got).Elem(), ""); err != nil || got.Any != math.Ldexp(1, 60) {
		t.Errorf("got %v, %v", got.Any, err)
	}
	for _, same := range []float64{1e20, -math.Ldexp(1, 63), math.Copysign(0, -1), 5e-324, math.MaxFloat64} {
		l, err := Encode(struct{ N float64 }{same}, structType)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode[map[string]any](l)
		if float, ok := got["N"].(float64); err != nil || !ok || math.Float64bits(float) != math.Float64bits(same) {
			t.Errorf("%v: got %v, %v", same, got, err)
		}
	}
}

func TestWhatWouldBendANumberIsRefused(t *testing.T) {
	for name, value := range map[string]any{
		"generic int":   JSON{map[string]any{"deep": []any{1<<53 + 1}}},
		"generic int64": JSON{map[string]any{"deep": int64(math.MaxInt64)}},
		"generic uint":  JSON{map[string]any{"deep": uint64(math.MaxUint64)}},
		"huge":          map[string]any{"deep": json.Number("18446744073709551617")},
		"infinite":      map[string]any{"deep": json.Number("1e400")},
		"nothing":       map[string]any{"deep": json.Number("1e-400")},
	} {
		if l, err := Encode(value, structType); err == nil {
			t.Errorf("%s: got %v", name, l)
		}
	}
	float := primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: 1e300}})
	if got, err := Decode[float32](float); err == nil {
		t.Errorf("1e300 as float32 is %v", got)
	}
	whole := primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: 1<<24 + 1}})
	if got, err := Decode[float32](whole); err == nil {
		t.Errorf("2^24+1 as float32 is %v", got)
	}
	for name, packed := range map[string]string{
		"two keys":   "\x82\x01\x0a\xa11\x0b", // {1: 10, "1": 11}
		"nil as key": "\x81\xc0\x01",
		"list":       "\x81\x91\x01\x01",
	} {
		if got, err := Decode[map[string]any](binaryLiteral([]byte(packed), MsgPack)); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestDurationsAndTimesAreExactOrRefused(t *testing.T) {
	for _, exact := range []*durationpb.Duration{{Seconds: -1, Nanos: -1}, {Seconds: 9223372036, Nanos: 854775806}, {Nanos: -999_999_999}} {
		got, err := Decode[time.Duration](primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: exact}}))
		if err != nil || !proto.Equal(durationpb.New(got), exact) {
			t.Errorf("%v: got %v, %v", exact, got, err)
		}
	}
	for _, long := range []*durationpb.Duration{{Seconds: 300 * 365 * 86400}, {Seconds: -300 * 365 * 86400}, {Seconds: 1 << 60}, {Seconds: 1, Nanos: -1}} {
		for _, decode := range []func(*core.Literal) (any, error){Decode[any], func(l *core.Literal) (any, error) { return Decode[time.Duration](l) }} {
			if got, err := decode(primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: long}})); err == nil {
				t.Errorf("%v: got %v", long, got)
			}
		}
	}
	for _, stamp := range []*timestamppb.Timestamp{{Seconds: 253402300800}, {Seconds: -62135596801}, {Nanos: -1}} {
		if got, err := Decode[time.Time](primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: stamp}})); err == nil {
			t.Errorf("%v: got %v", stamp, got)
		}
	}
	for _, at := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)} {
		if l, err := Encode(at, datetimeType); err == nil {
			t.Errorf("%v: got %v", at, l)
		}
	}
}
