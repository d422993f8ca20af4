package literal

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// golden is a case of sdk/testdata/literals.json: literals.py says there what its fields are.
type golden struct {
	Name      string
	Type      []byte
	Literal   []byte
	Value     map[string]json.RawMessage
	Several   bool
	ReadsOnly bool     `json:"reads_only"`
	RefusedBy []string `json:"refused_by"`
	Says      []string
}

func goldenCases(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile("../../testdata/literals.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []golden }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 100 {
		t.Fatalf("there are %d cases", len(file.Cases))
	}
	return file.Cases
}

func TestLiteralsOfFlytekitAreReadAndWrittenExactly(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			if c.Literal != nil {
				c.read(t)
			}
			if c.Value != nil && !c.ReadsOnly {
				c.write(t)
			}
			if c.Literal == nil && c.Value == nil {
				t.Error("the case has neither a literal nor a value")
			}
		})
	}
}

func (c golden) read(t *testing.T) {
	found, err := Decode[any](unmarshaled(t, c.Literal, &core.Literal{}))
	if c.Value == nil || slices.Contains(c.RefusedBy, "go") {
		c.refused(t, found, err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.built(t), found, exactly...); diff != "" {
		t.Errorf("read otherwise (-want +got):\n%s", diff)
	}
}

func (c golden) write(t *testing.T) {
	value, err := build(c.Value)
	if errors.Is(err, errNoGoValue) && slices.Contains(c.RefusedBy, "go") {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	written, err := Encode(value, unmarshaled(t, c.Type, &core.LiteralType{}))
	if c.Literal == nil {
		c.refused(t, written, err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !c.Several {
		if diff := cmp.Diff(unmarshaled(t, c.Literal, &core.Literal{}), written, exactly...); diff != "" {
			t.Errorf("written otherwise (-want +got):\n%s", diff)
		}
		return
	}
	found, err := Decode[any](written)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(value, found, exactly...); diff != "" {
		t.Errorf("what is written is read otherwise (-want +got):\n%s", diff)
	}
}

func (c golden) refused(t *testing.T, found any, err error) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, %v, want a refusal", found, err)
	}
	if len(c.Says) == 0 {
		t.Fatal("the case does not say what a refusal says")
	}
	for _, word := range c.Says {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(word)) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func (c golden) built(t *testing.T) any {
	t.Helper()
	value, err := build(c.Value)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// What JSON has no form for keeps its own in a struct, which is read by the rules of encoding/json.
func TestBytesAndTimestampsInADictAreNoTexts(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	dict := map[string]any{"data": []byte{0, 255}, "at": Timestamp{at}, "text": "a", "keys": map[any]any{int64(7): "seven"}}
	encoded, err := Encode(dict, nil)
	if err != nil {
		t.Fatal(err)
	}
	type typed struct {
		Data []byte
		At   time.Time
		Text string
		Keys map[int]string
	}
	if got, err := Decode[typed](encoded); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(typed{[]byte{0, 255}, at, "a", map[int]string{7: "seven"}}, got); diff != "" {
		t.Error(diff)
	}
	type untyped struct{ Data, At, Text any }
	if got, err := Decode[untyped](encoded); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(untyped{[]byte{0, 255}, Timestamp{at}, "a"}, got, exactly...); diff != "" {
		t.Error(diff)
	}
	if got, err := Decode[map[string]any](encoded); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(dict, got, exactly...); diff != "" {
		t.Error(diff)
	}
	for _, err := range []error{
		errorOf(Decode[struct{ Data string }](encoded)),
		errorOf(Decode[struct{ At string }](encoded)),
		errorOf(Decode[map[string]string](packed(t, map[string]any{"a": []byte{1}}))),
		errorOf(Decode[struct{ D map[string]any }](packed(t, map[string]any{"d": map[string]any{"data": []byte{0, 255}, "other": "AP8="}}))),
		errorOf(Decode[map[string]int](packed(t, map[any]any{int64(1): 1, "1": 2}))),
		errorOf(Decode[map[string]int](packed(t, map[any]any{nil: 1}))),
	} {
		if err == nil {
			t.Error("it is not refused")
		}
	}
}

func TestWholeNumbersInADictAreNoOtherFloats(t *testing.T) {
	const bent = 1<<53 + 1
	type numbers struct {
		N int64
		X float64
		S float32
		U any
	}
	dict := map[string]any{"n": bent, "x": 0x1p53, "s": 1 << 24, "u": 0x1p53}
	want := numbers{bent, 0x1p53, 1 << 24, 0x1p53}
	if got, err := Decode[numbers](packed(t, dict)); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for name, value := range map[string]any{"x": bent, "s": 1<<24 + 1, "X": uint64(math.MaxUint64)} {
		got, err := Decode[numbers](packed(t, map[string]any{name: value}))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(value)) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if got, err := Decode[map[string][]float64](packed(t, map[string]any{"a": []any{0x1p53, bent}})); err == nil {
		t.Errorf("got %v", got)
	}
}

// A struct's fields are written and read each as what it is, where JSON has other forms for them.
func TestFieldsOfAStructAreNotBent(t *testing.T) {
	type Embedded struct {
		Large  float64 `json:"large"`
		Hidden string
	}
	type raw []byte
	type record struct {
		Embedded
		*Promoted
		Hidden string            `json:",omitempty"`
		Data   raw               `json:"data"`
		Whole  float64           `json:"whole"`
		Stamp  Timestamp         `json:"stamp"`
		Names  map[int]string    `json:"names"`
		Any    map[string]any    `json:"any"`
		None   *int              `json:"none"`
		Left   string            `json:"-"`
		Empty  string            `json:"empty,omitempty"`
		Zero   time.Time         `json:"zero,omitzero"`
		Texts  map[string]string `json:"texts,omitempty"`
	}
	given := record{
		Embedded: Embedded{Large: 36028797018963968}, Promoted: &Promoted{Deep: 7}, Hidden: "outer", Data: raw{0, 255}, Whole: 3,
		Stamp: Timestamp{time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}, Names: map[int]string{-1: "a"}, Any: map[string]any{"b": []byte{1}}, Left: "left",
	}
	written, err := Encode(given, nil)
	if err != nil {
		t.Fatal(err)
	}
	natural, err := Decode[any](written)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"large": 36028797018963968.0, "deep": int64(7), "Hidden": "outer", "data": []byte{0, 255}, "whole": 3.0, "stamp": given.Stamp,
		"names": map[any]any{int64(-1): "a"}, "any": map[string]any{"b": []byte{1}}, "none": nil,
	}
	if diff := cmp.Diff(want, natural, exactly...); diff != "" {
		t.Error(diff)
	}
	given.Left = ""
	if got, err := Decode[record](written); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(given, got, exactly...); diff != "" {
		t.Error(diff)
	}
	for _, dict := range []map[string]any{{"whole": nil}, {"large": nil}, {"Hidden": nil}, {"whole": "3"}, {"data": 1}} {
		if got, err := Decode[record](packed(t, dict)); err == nil {
			t.Errorf("%v: got %+v", dict, got)
		}
	}
}

type Promoted struct {
	Deep int `json:"deep"`
}

func TestAMapOfOneTypeIsReadIntoAStruct(t *testing.T) {
	spans, err := Encode(map[string]time.Duration{"a": time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode[struct{ A time.Duration }](spans); err != nil || got.A != time.Second {
		t.Errorf("got %v, %v", got, err)
	}
	for _, err := range []error{
		errorOf(Decode[struct{ A int64 }](spans)),
		errorOf(Decode[struct{ A float64 }](must(t, map[string]int{"a": 1<<53 + 1}))),
		errorOf(Decode[struct{ A int }](must(t, map[string]*int{"a": nil}))),
	} {
		if err == nil {
			t.Error("it is not refused")
		}
	}
}

func TestWhatALiteralWouldBendIsRefused(t *testing.T) {
	object := Simple(core.SimpleType_STRUCT)
	for _, err := range []error{
		errorOf(Encode(JSON{map[string]any{"a": []byte{1}}}, object)),
		errorOf(Encode(JSON{map[string]any{"a": math.NaN()}}, object)),
		errorOf(Encode(JSON{map[string]any{"a": map[int]int{1: 1}}}, object)),
		errorOf(Encode("\xff", Simple(core.SimpleType_STRING))),
		errorOf(Encode([]string{"\xff"}, nil)),
		errorOf(Encode(map[string]int{"\xff": 1}, nil)),
		errorOf(Encode(map[string]any{"a": "\xff"}, nil)),
		errorOf(Encode(map[string]any{"\xff": 1}, nil)),
		errorOf(Encode(map[any]any{"a": 1, 1.5: []byte{}, struct{}{}: 2}, object)),
	} {
		if err == nil {
			t.Error("it is not refused")
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

func packed(t *testing.T, value any) *core.Literal {
	t.Helper()
	encoded, err := Encode(value, Simple(core.SimpleType_STRUCT))
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// exactly tells 0.0 from -0.0 and NaN from none.
var exactly = cmp.Options{
	protocmp.Transform(),
	cmp.Comparer(func(a, b float64) bool {
		return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
	}),
	cmp.Comparer(func(a, b Timestamp) bool { return a.Equal(b.Time) && a.Location() == b.Location() }),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) && a.Location() == b.Location() }),
}

func unmarshaled[M proto.Message](t *testing.T, data []byte, message M) M {
	t.Helper()
	if err := proto.Unmarshal(data, message); err != nil {
		t.Fatal(err)
	}
	return message
}

var errNoGoValue = errors.New("there is no such value in Go")

type goldenTime struct {
	Seconds int64 `json:",string"`
	Nanos   int64
}

// build makes the Go value that a case's value is, and refuses kinds that it does not know.
func build(form map[string]json.RawMessage) (any, error) {
	if len(form) != 1 {
		return nil, fmt.Errorf("%v is not of one kind", form)
	}
	for kind, data := range form {
		switch kind {
		case "none":
			return nil, nil
		case "list":
			return buildList(data)
		case "map":
			return buildMap(data)
		case "dict":
			return buildDict(data)
		case "int", "float", "number", "str", "bytes":
			var text string
			if err := json.Unmarshal(data, &text); err != nil {
				return nil, err
			}
			return buildText(kind, text)
		case "bool":
			return unmarshalTo[bool](data)
		case "datetime", "timestamp", "duration":
			at, err := unmarshalTo[goldenTime](data)
			if err != nil {
				return nil, err
			}
			return buildTime(kind, at)
		}
		return buildRest(kind, data)
	}
	panic("unreachable")
}

func unmarshalTo[T any](data json.RawMessage) (T, error) {
	var value T
	err := json.Unmarshal(data, &value)
	return value, err
}

func buildText(kind, text string) (any, error) {
	switch kind {
	case "str":
		return text, nil
	case "bytes":
		return hex.DecodeString(text)
	case "float", "number":
		return strconv.ParseFloat(text, 64)
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return whole, nil
	}
	whole, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, errNoGoValue
	}
	return whole, nil
}

func buildTime(kind string, at goldenTime) (any, error) {
	if kind == "duration" {
		nanos := new(big.Int).Mul(big.NewInt(at.Seconds), big.NewInt(1e9))
		if nanos.Add(nanos, big.NewInt(at.Nanos)); !nanos.IsInt64() {
			return nil, errNoGoValue
		}
		return time.Duration(nanos.Int64()), nil
	}
	if kind == "datetime" {
		return time.Unix(at.Seconds, at.Nanos).UTC(), nil
	}
	if at.Seconds < firstSecond || at.Seconds > lastSecond {
		return nil, errNoGoValue
	}
	return Timestamp{time.Unix(at.Seconds, at.Nanos).UTC()}, nil
}

func buildList(data json.RawMessage) (any, error) {
	forms, err := unmarshalTo[[]map[string]json.RawMessage](data)
	list := make([]any, len(forms))
	for i, form := range forms {
		if err == nil {
			list[i], err = build(form)
		}
	}
	return list, err
}

func buildMap(data json.RawMessage) (any, error) {
	forms, err := unmarshalTo[map[string]map[string]json.RawMessage](data)
	object := make(map[string]any, len(forms))
	for name, form := range forms {
		if err == nil {
			object[name], err = build(form)
		}
	}
	return object, err
}

func buildDict(data json.RawMessage) (any, error) {
	entries, err := unmarshalTo[[][2]map[string]json.RawMessage](data)
	object, texts := map[any]any{}, map[string]any{}
	for _, entry := range entries {
		var name, value any
		if err == nil {
			name, err = build(entry[0])
		}
		if err == nil {
			value, err = build(entry[1])
		}
		if err != nil {
			return nil, err
		}
		switch name := name.(type) {
		case []byte:
			return nil, errNoGoValue
		case string:
			texts[name] = value
		}
		object[name] = value
	}
	if len(texts) == len(object) {
		return texts, err
	}
	return object, err
}

func buildRest(kind string, data json.RawMessage) (any, error) {
	var rest struct {
		URI, Format, Tag, Bytes, Message string
		FailedNode                       string `json:"failed_node"`
		Columns                          [][2]string
	}
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, err
	}
	switch kind {
	case "extension":
		return nil, errNoGoValue
	case "binary":
		value, err := hex.DecodeString(rest.Bytes)
		return Binary{Value: value, Tag: rest.Tag}, err
	case "file":
		return File{URI: rest.URI, Format: rest.Format}, nil
	case "directory":
		return Directory{URI: rest.URI, Format: rest.Format}, nil
	case "error":
		return &core.Error{Message: rest.Message, FailedNodeId: rest.FailedNode}, nil
	case "dataset":
		dataset := StructuredDataset{URI: rest.URI, Format: rest.Format}
		for _, column := range rest.Columns {
			simple := Simple(core.SimpleType(core.SimpleType_value[column[1]]))
			dataset.Columns = append(dataset.Columns, Column{Name: column[0], Type: simple})
		}
		return dataset, nil
	case "schema":
		schema := Schema{URI: rest.URI}
		for _, column := range rest.Columns {
			columnType := core.SchemaType_SchemaColumn_SchemaColumnType_value[column[1]]
			schema.Columns = append(schema.Columns,
				SchemaColumn{Name: column[0], Type: core.SchemaType_SchemaColumn_SchemaColumnType(columnType)})
		}
		return schema, nil
	}
	return nil, fmt.Errorf("the kind %q is unknown to this test", kind)
}
