package query

import (
	"cmp"
	"encoding/base64"
	"flag"
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
	gocmp "github.com/google/go-cmp/cmp"
	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

var update = flag.Bool("update", false, "write types.tsv anew")

// kind is a type of Flyte's with values of it at its edges.
type kind struct {
	name     string
	declared *core.LiteralType
	values   []*core.Literal
}

func kinds() []kind {
	simple := func(name string, t core.SimpleType, values ...*core.Literal) kind {
		return kind{name, literal.Simple(t), values}
	}
	scalar := func(s *core.Scalar) *core.Literal { return &core.Literal{Value: &core.Literal_Scalar{Scalar: s}} }
	integer := func(n int64) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: n}})
	}
	float := func(f float64) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: f}})
	}
	text := func(s string) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: s}})
	}
	datetime := func(seconds int64, nanos int32) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}}})
	}
	duration := func(seconds int64, nanos int32) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: &durationpb.Duration{Seconds: seconds, Nanos: nanos}}})
	}
	binary := func(tag string) *core.Literal {
		return scalar(&core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: []byte{0, 255}, Tag: tag}}})
	}
	none := scalar(&core.Scalar{Value: &core.Scalar_NoneType{NoneType: &core.Void{}}})
	union := func(l *core.Literal, t *core.LiteralType) *core.Literal {
		return scalar(&core.Scalar{Value: &core.Scalar_Union{Union: &core.Union{Value: l, Type: t}}})
	}
	list := func(elements ...*core.Literal) *core.Literal {
		return &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: elements}}}
	}
	nothing, whole := literal.Simple(core.SimpleType_NONE), literal.Simple(core.SimpleType_INTEGER)
	unionOf := func(variants ...*core.LiteralType) *core.LiteralType {
		return &core.LiteralType{Type: &core.LiteralType_UnionType{UnionType: &core.UnionType{Variants: variants}}}
	}
	dict := &core.Literal{Value: &core.Literal_Map{Map: &core.LiteralMap{Literals: map[string]*core.Literal{"k": integer(1)}}}}
	blob := func(d core.BlobType_BlobDimensionality) (*core.LiteralType, *core.Literal) {
		of := &core.BlobType{Dimensionality: d}
		return &core.LiteralType{Type: &core.LiteralType_Blob{Blob: of}},
			scalar(&core.Scalar{Value: &core.Scalar_Blob{Blob: &core.Blob{Uri: "s3://b/f", Metadata: &core.BlobMetadata{Type: of}}}})
	}
	fileType, file := blob(core.BlobType_SINGLE)
	folderType, folder := blob(core.BlobType_MULTIPART)
	const first, last = -62135596800, 253402300799 // of the years 1 and 9999
	return []kind{
		simple("int", core.SimpleType_INTEGER, integer(0), integer(1<<53+1), integer(math.MaxInt64), integer(math.MinInt64)),
		simple("float", core.SimpleType_FLOAT, float(0.1), float(math.Copysign(0, -1)), float(math.NaN()), float(math.Inf(1)), float(math.Inf(-1)),
			float(math.SmallestNonzeroFloat64), float(math.MaxFloat64), float(1<<53+2)),
		simple("str", core.SimpleType_STRING, text(""), text("it's @x -- ☃\x00\U0001F600"), text("01234")),
		simple("bool", core.SimpleType_BOOLEAN, primitive(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: true}}), primitive(&core.Primitive{Value: &core.Primitive_Boolean{}})),
		simple("datetime", core.SimpleType_DATETIME, datetime(first, 0), datetime(last, 999_999_000), datetime(1483228799, 1000), datetime(0, 1), datetime(last+1, 0), datetime(first-1, 0)),
		simple("timedelta", core.SimpleType_DURATION, duration(0, 0), duration(-1, -1000), duration(300*365*day, 0), duration(-300*365*day, 0),
			duration(1, 1), duration(math.MaxInt64, 0)),
		simple("bytes", core.SimpleType_BINARY, binary("")),
		simple("bytes with a tag", core.SimpleType_BINARY, binary("pickle")),
		{"enum", &core.LiteralType{Type: &core.LiteralType_EnumType{EnumType: &core.EnumType{Values: []string{"red"}}}}, []*core.Literal{text("red")}},
		{"Optional[int]", unionOf(whole, nothing), []*core.Literal{union(integer(1<<53+1), whole), union(none, nothing)}},
		{"Union[int, str]", unionOf(whole, literal.Simple(core.SimpleType_STRING), nothing), []*core.Literal{union(integer(1), whole), union(none, nothing)}},
		simple("None", core.SimpleType_NONE, none),
		{"list[int]", literal.ListOf(whole), []*core.Literal{list(integer(1), integer(1<<53+1)), list()}},
		{"list[Union[int, float]]", literal.ListOf(unionOf(whole, literal.Simple(core.SimpleType_FLOAT))), []*core.Literal{
			list(union(integer(1), whole), union(float(2.5), literal.Simple(core.SimpleType_FLOAT)))}},
		simple("dict", core.SimpleType_STRUCT, scalar(&core.Scalar{Value: &core.Scalar_Generic{Generic: &structpb.Struct{}}})),
		simple("dataclass", core.SimpleType_STRUCT, binary("msgpack")),
		{"dict[str, int]", literal.MapOf(whole), []*core.Literal{dict}},
		{"file", fileType, []*core.Literal{file}},
		{"directory", folderType, []*core.Literal{folder}},
		{"dataset", &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{}}},
			[]*core.Literal{scalar(&core.Scalar{Value: &core.Scalar_StructuredDataset{StructuredDataset: &core.StructuredDataset{Uri: "s3://b/t"}}})}},
		{"a value that Flyte has put into storage", whole, []*core.Literal{{Value: &core.Literal_OffloadedMetadata{
			OffloadedMetadata: &core.LiteralOffloadedMetadata{Uri: "s3://b/o.pb"}}}}},
	}
}

// The table of types is what each kind of input becomes: the value that the parameter has for BigQuery is the one that was put in,
// or the task is refused with the input's name.
func TestTypes(t *testing.T) {
	var cells []string
	for _, k := range kinds() {
		for _, position := range []string{"named parameter", "list item"} {
			declared := k.declared
			if position == "list item" {
				declared = literal.ListOf(declared)
			}
			engine, notes, exact := "", []string{}, false
			for _, value := range k.values {
				if position == "list item" {
					value = &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: []*core.Literal{value}}}}
				}
				kind, parameter, err := parameter(value, declared)
				if err != nil {
					notes = append(notes, anonymous(err.Error()))
					continue
				}
				exact, engine = true, typeName(kind)
				if back := read(t, kind, parameter); !same(back, value) {
					t.Errorf("%s as %s is %v, want %v", k.name, position, back, value)
				}
			}
			outcome := "refused"
			if exact {
				outcome = "exact"
			}
			slices.Sort(notes)
			cells = append(cells, strings.Join([]string{"in", k.name, cmp.Or(engine, "none"), position, outcome, strings.Join(slices.Compact(notes), "; ")}, "\t"))
		}
	}
	cells = append(cells, strings.Join([]string{"out", "dataset", "table", "scalar", "exact", "the table's address, bq://…; nothing of it is read"}, "\t"))
	holdTypes(t, "../types.tsv", cells)
}

func typeName(kind *rest.QueryParameterType) string {
	if kind.Type == array {
		return "ARRAY<" + typeName(kind.ArrayType) + ">"
	}
	return kind.Type
}

// anonymous is a message without the value that it is about.
func anonymous(message string) string {
	message = strings.TrimPrefix(message, "element 0: ")
	message, _, _ = strings.Cut(message, ": proto:")
	fields := strings.Fields(message)
	for i, field := range fields {
		if strings.ContainsAny(field, "0123456789") && strings.ContainsAny(field, ".-") && !strings.HasPrefix(field, "s3:") {
			fields[i] = "…"
		}
	}
	return strings.Join(fields, " ")
}

// read gives the value that BigQuery has of a parameter, by its documentation of each type's text.
func read(t *testing.T, kind *rest.QueryParameterType, value *rest.QueryParameterValue) *core.Literal {
	t.Helper()
	if kind.Type == array {
		list := &core.LiteralCollection{}
		for _, element := range value.ArrayValues {
			list.Literals = append(list.Literals, read(t, kind.ArrayType, element))
		}
		return &core.Literal{Value: &core.Literal_Collection{Collection: list}}
	}
	if value.Value == "" && !slices.Contains(value.ForceSendFields, "Value") {
		return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_NoneType{NoneType: &core.Void{}}}}}
	}
	read, err := readText(kind.Type, value.Value)
	if err != nil {
		t.Errorf("%q is no %s: %v", value.Value, kind.Type, err)
	}
	return read
}

func readText(kind, text string) (*core.Literal, error) {
	switch kind {
	case "INT64":
		n, err := strconv.ParseInt(text, 10, 64)
		return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: n}}), err
	case "FLOAT64":
		f, err := strconv.ParseFloat(text, 64)
		return primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: f}}), err
	case "STRING":
		return primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: text}}), nil
	case "BOOL":
		b, err := strconv.ParseBool(text)
		return primitive(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: b}}), err
	case "BYTES":
		raw, err := base64.StdEncoding.DecodeString(text)
		return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: raw}}}}}, err
	case "DATETIME":
		at, err := time.Parse("2006-01-02T15:04:05.999999", text)
		return primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: timestamppb.New(at)}}), err
	case "INTERVAL":
		return readInterval(text)
	}
	return nil, fmt.Errorf("%s is no type of a parameter", kind)
}

// readInterval reads years-months days hours:minutes:seconds, of which each part has a sign of its own.
func readInterval(text string) (*core.Literal, error) {
	parts := strings.Fields(text)
	clock := strings.Split(strings.TrimPrefix(parts[2], "-"), ":")
	micros := new(big.Rat)
	for i, unit := range []int64{3600, 60, 1} {
		number, ok := new(big.Rat).SetString(clock[i])
		if !ok {
			return nil, fmt.Errorf("%s is no number", clock[i])
		}
		micros.Add(micros, number.Mul(number, new(big.Rat).SetInt64(unit*1_000_000)))
	}
	if strings.HasPrefix(parts[2], "-") {
		micros.Neg(micros)
	}
	days, err := strconv.ParseInt(parts[1], 10, 64)
	micros.Add(micros, new(big.Rat).Mul(new(big.Rat).SetInt64(days), new(big.Rat).SetInt64(day*1_000_000)))
	if parts[0] != "0-0" || !micros.IsInt() {
		return nil, fmt.Errorf("it has months, or parts of microseconds")
	}
	whole := micros.Num().Int64()
	return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: &durationpb.Duration{
		Seconds: whole / 1_000_000, Nanos: int32(whole % 1_000_000 * 1000),
	}}}), err
}

// same says whether two literals are one value, whatever unions are around it. NaN is NaN.
func same(a, b *core.Literal) bool {
	for b.GetScalar().GetUnion() != nil {
		b = b.GetScalar().GetUnion().GetValue()
	}
	if x, y := a.GetCollection(), b.GetCollection(); x != nil && y != nil {
		return slices.EqualFunc(x.GetLiterals(), y.GetLiterals(), same)
	}
	x, isFloat := a.GetScalar().GetPrimitive().GetValue().(*core.Primitive_FloatValue)
	y, both := b.GetScalar().GetPrimitive().GetValue().(*core.Primitive_FloatValue)
	if isFloat && both {
		return math.Float64bits(x.FloatValue) == math.Float64bits(y.FloatValue) || math.IsNaN(x.FloatValue) && math.IsNaN(y.FloatValue)
	}
	return proto.Equal(a, b)
}

// holdTypes compares the cells with the file, which -update writes.
func holdTypes(t *testing.T, file string, cells []string) {
	t.Helper()
	slices.Sort(cells)
	text := "direction\tflyte\tengine\tposition\toutcome\tnote\n" + strings.Join(cells, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(held), text); diff != "" {
		t.Errorf("%s is not what happens (-update writes it): %s", file, diff)
	}
}
