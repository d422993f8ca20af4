package literal

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Encode writes a Go value as a literal of the declared type, or, when that is nil, of the type that is natural for the
// value. The error says where inside the value, what is there and what the type asks for.
func Encode(value any, declared *core.LiteralType) (*core.Literal, error) {
	return encoder{}.encode(reflect.ValueOf(value), declared, "")
}

// EncodeMap writes values by name. types may lack names, or be nil. The error names the value.
func EncodeMap(values map[string]any, types map[string]*core.LiteralType) (*core.LiteralMap, error) {
	encoded := &core.LiteralMap{Literals: make(map[string]*core.Literal, len(values))}
	for name, value := range values {
		l, err := Encode(value, types[name])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		encoded.Literals[name] = l
	}
	return encoded, nil
}

// encoder writes values. A strict one takes only values that are of the declared type already, which is how the variant
// of a union is chosen: an int is the integer of union[float, integer], though it could be made a float.
type encoder struct{ strict bool }

func (e encoder) encode(v reflect.Value, declared *core.LiteralType, path string) (*core.Literal, error) {
	v = indirect(v)
	if ready, ok := passedThrough(v); ok {
		return ready, nil
	}
	if stamp, ok := valueOf(v).(Timestamp); ok {
		v = reflect.ValueOf(stamp.Time)
	}
	switch t := declared.GetType().(type) {
	case nil:
		return e.natural(v, path)
	case *core.LiteralType_UnionType:
		return e.union(v, declared, t.UnionType.GetVariants(), path)
	case *core.LiteralType_Simple:
		return e.simple(v, declared, path)
	case *core.LiteralType_CollectionType:
		return e.list(v, t.CollectionType, path)
	case *core.LiteralType_MapValueType:
		return e.mapping(v, t.MapValueType, path)
	case *core.LiteralType_EnumType:
		if v.Kind() == reflect.String && slices.Contains(t.EnumType.GetValues(), v.String()) {
			return stringLiteral(v.String()), nil
		}
		if v.Kind() == reflect.String {
			return nil, problem(path, "%q is not one of %s", v.String(), TypeName(declared))
		}
	case *core.LiteralType_Blob:
		return e.blob(v, declared, t.Blob, path)
	case *core.LiteralType_StructuredDatasetType:
		return e.dataset(v, declared, t.StructuredDatasetType, path)
	case *core.LiteralType_Schema:
		return e.schema(v, declared, t.Schema, path)
	}
	return nil, unfit(v, declared, path)
}

// indirect follows interfaces and pointers to the value itself; the invalid value stands for nil.
func indirect(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		switch v.Interface().(type) {
		case *core.Literal, *core.Scalar, *core.Error, *structpb.Struct:
			if !v.IsNil() {
				return v
			}
		}
		v = v.Elem()
	}
	return v
}

// passedThrough returns the literal that a value already is.
func passedThrough(v reflect.Value) (*core.Literal, bool) {
	if !v.IsValid() {
		return nil, false
	}
	switch value := v.Interface().(type) {
	case *core.Literal:
		return value, true
	case *core.Scalar:
		return scalarLiteral(value), true
	}
	return nil, false
}

func unfit(v reflect.Value, declared *core.LiteralType, path string) error {
	return problem(path, "%s cannot be written as %s", valueName(v), TypeName(declared))
}

func (e encoder) union(v reflect.Value, declared *core.LiteralType, variants []*core.LiteralType, path string) (*core.Literal, error) {
	attempts := []encoder{{strict: true}, {strict: false}}
	if e.strict {
		attempts = attempts[:1]
	}
	for _, attempt := range attempts {
		for _, variant := range firstForText(valueOf(v), variants) {
			if encoded, err := attempt.encode(v, variant, path); err == nil {
				return scalarLiteral(&core.Scalar{Value: &core.Scalar_Union{Union: &core.Union{Value: encoded, Type: variant}}}), nil
			}
		}
	}
	return nil, unfit(v, declared, path)
}

// firstForText prefers string to enum where both take a text, as flytekit does.
func firstForText(value any, variants []*core.LiteralType) []*core.LiteralType {
	if _, ok := value.(string); !ok {
		return variants
	}
	isText := func(t *core.LiteralType) bool { return t.GetSimple() == core.SimpleType_STRING }
	if i := slices.IndexFunc(variants, isText); i > 0 {
		return slices.Concat(variants[i:i+1], variants[:i], variants[i+1:])
	}
	return variants
}

// natural writes a value whose type nobody declared.
func (e encoder) natural(v reflect.Value, path string) (*core.Literal, error) {
	if !v.IsValid() {
		return none(), nil
	}
	switch value := v.Interface().(type) {
	case time.Time:
		return e.encode(v, Simple(core.SimpleType_DATETIME), path)
	case time.Duration:
		return e.encode(v, Simple(core.SimpleType_DURATION), path)
	case []byte, Binary:
		return e.encode(v, Simple(core.SimpleType_BINARY), path)
	case JSON, *structpb.Struct:
		return e.encode(v, Simple(core.SimpleType_STRUCT), path)
	case *core.Error:
		return e.encode(v, Simple(core.SimpleType_ERROR), path)
	case StructuredDataset:
		return e.dataset(v, nil, nil, path)
	case Schema:
		return e.schema(v, nil, nil, path)
	case File:
		return blobLiteral(value.URI, value.Format, core.BlobType_SINGLE), nil
	case Directory:
		return blobLiteral(value.URI, value.Format, core.BlobType_MULTIPART), nil
	case encoding.TextMarshaler:
		return e.encode(v, Simple(core.SimpleType_STRING), path)
	}
	switch v.Kind() {
	case reflect.Bool:
		return e.encode(v, Simple(core.SimpleType_BOOLEAN), path)
	case reflect.String:
		return e.encode(v, Simple(core.SimpleType_STRING), path)
	case reflect.Float32, reflect.Float64:
		return e.encode(v, Simple(core.SimpleType_FLOAT), path)
	case reflect.Slice, reflect.Array:
		return e.list(v, nil, path)
	case reflect.Struct:
		return e.encode(v, Simple(core.SimpleType_STRUCT), path)
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.Interface {
			return e.encode(v, Simple(core.SimpleType_STRUCT), path)
		}
		return e.mapping(v, nil, path)
	}
	if v.CanInt() || v.CanUint() {
		return e.encode(v, Simple(core.SimpleType_INTEGER), path)
	}
	return nil, problem(path, "%s has no literal", valueName(v))
}

func (e encoder) simple(v reflect.Value, declared *core.LiteralType, path string) (*core.Literal, error) {
	if !v.IsValid() {
		if declared.GetSimple() == core.SimpleType_NONE {
			return none(), nil
		}
		return nil, unfit(v, declared, path)
	}
	switch declared.GetSimple() {
	case core.SimpleType_INTEGER:
		return e.integer(v, declared, path)
	case core.SimpleType_FLOAT:
		return e.float(v, declared, path)
	case core.SimpleType_STRING:
		if text, ok := v.Interface().(encoding.TextMarshaler); ok {
			if _, isTime := v.Interface().(time.Time); !isTime {
				written, err := text.MarshalText()
				if err != nil {
					return nil, problem(path, "%s cannot be written as a string: %w", valueName(v), err)
				}
				return utf8Literal(string(written), path)
			}
		}
		if v.Kind() == reflect.String {
			return utf8Literal(v.String(), path)
		}
	case core.SimpleType_BOOLEAN:
		if v.Kind() == reflect.Bool {
			return primitive(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: v.Bool()}}), nil
		}
	case core.SimpleType_DATETIME:
		if value, ok := v.Interface().(time.Time); ok {
			stamp := timestamppb.New(value)
			if err := stamp.CheckValid(); err != nil {
				return nil, problem(path, "the time cannot be a datetime: %w", err)
			}
			return primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: stamp}}), nil
		}
	case core.SimpleType_DURATION:
		if value, ok := v.Interface().(time.Duration); ok {
			return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: durationpb.New(value)}}), nil
		}
	case core.SimpleType_BINARY:
		switch value := v.Interface().(type) {
		case []byte:
			if !isPickle(declared) {
				return binaryLiteral(value, ""), nil
			}
		case Binary:
			if !isPickle(declared) || value.Tag == pickleTag {
				return binaryLiteral(value.Value, value.Tag), nil
			}
		}
	case core.SimpleType_ERROR:
		if failure, ok := v.Interface().(*core.Error); ok {
			return scalarLiteral(&core.Scalar{Value: &core.Scalar_Error{Error: failure}}), nil
		}
	case core.SimpleType_STRUCT:
		return e.object(v, declared, path)
	}
	return nil, unfit(v, declared, path)
}

func (e encoder) integer(v reflect.Value, declared *core.LiteralType, path string) (*core.Literal, error) {
	var whole int64
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return nil, unfit(v, declared, path)
	case v.CanInt():
		whole = v.Int()
	case v.CanUint():
		if v.Uint() > math.MaxInt64 {
			return nil, problem(path, "%d is out of the range of integer", v.Uint())
		}
		whole = int64(v.Uint())
	case v.CanFloat() && !e.strict:
		exact, ok := exactInteger(v.Float())
		if !ok {
			return nil, problem(path, "%v is not a whole number, and integer is declared", v.Float())
		}
		whole = exact
	default:
		return nil, unfit(v, declared, path)
	}
	return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: whole}}), nil
}

func (e encoder) float(v reflect.Value, declared *core.LiteralType, path string) (*core.Literal, error) {
	var float float64
	switch {
	case v.CanFloat():
		float = v.Float()
	case e.strict || v.Type() == reflect.TypeFor[time.Duration]():
		return nil, unfit(v, declared, path)
	case v.CanInt():
		float = float64(v.Int())
		if back, exact := exactInteger(float); !exact || back != v.Int() {
			return nil, problem(path, "%d has more digits than a float", v.Int())
		}
	case v.CanUint():
		float = float64(v.Uint())
		if float >= 1<<64 || uint64(float) != v.Uint() {
			return nil, problem(path, "%d has more digits than a float", v.Uint())
		}
	default:
		return nil, unfit(v, declared, path)
	}
	return primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: float}}), nil
}

// object writes a dataclass, a dict or whatever else JSON can say.
func (e encoder) object(v reflect.Value, declared *core.LiteralType, path string) (*core.Literal, error) {
	switch value := v.Interface().(type) {
	case *structpb.Struct:
		return genericLiteral(value), nil
	case Binary:
		return binaryLiteral(value.Value, value.Tag), nil
	case JSON:
		plain, err := toPlain(reflect.ValueOf(value.Value))
		if err != nil {
			return nil, problem(path, "%T cannot be written as JSON: %w", value.Value, err)
		}
		object, ok := plain.(map[string]any)
		if !ok {
			return nil, problem(path, "%T is not a JSON object, and a generic literal can hold nothing else", value.Value)
		}
		if err := fitsGeneric(object); err != nil {
			return nil, problem(path, "%T cannot be written as a generic literal: %w", value.Value, err)
		}
		generic, err := structpb.NewStruct(object)
		if err != nil {
			return nil, problem(path, "%T cannot be written as JSON: %w", value.Value, err)
		}
		return genericLiteral(generic), nil
	case StructuredDataset, Schema, File, Directory, time.Time, []byte:
		return nil, unfit(v, declared, path)
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map:
	case reflect.Slice, reflect.Array:
		if e.strict {
			return nil, unfit(v, declared, path)
		}
	default:
		return nil, unfit(v, declared, path)
	}
	plain, err := toPlain(v)
	if err != nil {
		return nil, problem(path, "%s cannot be written as JSON: %w", valueName(v), err)
	}
	packed, err := encodeMsgPack(plain)
	if err != nil {
		return nil, problem(path, "%s cannot be written as msgpack: %w", valueName(v), err)
	}
	return binaryLiteral(packed, MsgPack), nil
}

// fitsGeneric refuses what a generic literal would change: whole numbers that are no floats, its only numbers, and what JSON
// lacks.
func fitsGeneric(plain any) error {
	var float float64
	exact := true
	switch value := plain.(type) {
	case []byte, Timestamp, map[any]any:
		return fmt.Errorf("JSON has no %T; a dict without literal.JSON around it becomes msgpack, which has", plain)
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return fmt.Errorf("JSON has no %v; a dict without literal.JSON around it becomes msgpack, which has", value)
		}
	case int64:
		float = float64(value)
		back, whole := exactInteger(float)
		exact = whole && back == value
	case uint64:
		float = float64(value)
		exact = float < math.MaxUint64 && uint64(float) == value
	case []any:
		for _, element := range value {
			if err := fitsGeneric(element); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if err := fitsGeneric(value[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if !exact {
		return fmt.Errorf("%d has more digits than its floats; a dict without literal.JSON around it becomes msgpack, which holds it", plain)
	}
	return nil
}

func (e encoder) list(v reflect.Value, element *core.LiteralType, path string) (*core.Literal, error) {
	if !v.IsValid() || (v.Kind() != reflect.Slice && v.Kind() != reflect.Array) || v.Type() == reflect.TypeFor[[]byte]() {
		return nil, unfit(v, ListOf(element), path)
	}
	literals := make([]*core.Literal, v.Len())
	for i := range literals {
		var err error
		if literals[i], err = e.encode(v.Index(i), element, index(path, i)); err != nil {
			return nil, err
		}
	}
	return &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: literals}}}, nil
}

func (e encoder) mapping(v reflect.Value, value *core.LiteralType, path string) (*core.Literal, error) {
	if !v.IsValid() || v.Kind() != reflect.Map || v.Type().Key().Kind() != reflect.String {
		return nil, unfit(v, MapOf(value), path)
	}
	literals := make(map[string]*core.Literal, v.Len())
	for entries := v.MapRange(); entries.Next(); {
		name := entries.Key().String()
		if !utf8.ValidString(name) {
			return nil, problem(path, "the key %q is no UTF-8, and a string is", name)
		}
		var err error
		if literals[name], err = e.encode(entries.Value(), value, key(path, name)); err != nil {
			return nil, err
		}
	}
	return &core.Literal{Value: &core.Literal_Map{Map: &core.LiteralMap{Literals: literals}}}, nil
}

func (e encoder) blob(v reflect.Value, declared *core.LiteralType, blobType *core.BlobType, path string) (*core.Literal, error) {
	var uri, format string
	dimensionality := core.BlobType_SINGLE
	switch value := valueOf(v).(type) {
	case File:
		uri, format = value.URI, value.Format
	case Directory:
		uri, format, dimensionality = value.URI, value.Format, core.BlobType_MULTIPART
	case string:
		if e.strict {
			return nil, unfit(v, declared, path)
		}
		uri, dimensionality = value, blobType.GetDimensionality()
	default:
		return nil, unfit(v, declared, path)
	}
	if dimensionality != blobType.GetDimensionality() {
		return nil, unfit(v, declared, path)
	}
	if format == "" {
		format = blobType.GetFormat()
	}
	return blobLiteral(uri, format, dimensionality), nil
}

func (e encoder) dataset(v reflect.Value, declared *core.LiteralType, datasetType *core.StructuredDatasetType, path string) (*core.Literal, error) {
	var dataset StructuredDataset
	switch value := valueOf(v).(type) {
	case StructuredDataset:
		dataset = value
	case string:
		if e.strict {
			return nil, unfit(v, declared, path)
		}
		dataset.URI = value
	default:
		return nil, unfit(v, declared, path)
	}
	written := &core.StructuredDatasetType{
		Format: dataset.Format, Columns: datasetType.GetColumns(),
		ExternalSchemaType: datasetType.GetExternalSchemaType(), ExternalSchemaBytes: datasetType.GetExternalSchemaBytes(),
	}
	if dataset.Format == "" {
		written.Format = datasetType.GetFormat()
	}
	if dataset.Columns != nil {
		written.Columns = nil
	}
	for _, column := range dataset.Columns {
		written.Columns = append(written.Columns,
			&core.StructuredDatasetType_DatasetColumn{Name: column.Name, LiteralType: column.Type})
	}
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_StructuredDataset{StructuredDataset: &core.StructuredDataset{
		Uri: dataset.URI, Metadata: &core.StructuredDatasetMetadata{StructuredDatasetType: written},
	}}}), nil
}

func (e encoder) schema(v reflect.Value, declared *core.LiteralType, schemaType *core.SchemaType, path string) (*core.Literal, error) {
	var schema Schema
	switch value := valueOf(v).(type) {
	case Schema:
		schema = value
	case string:
		if e.strict {
			return nil, unfit(v, declared, path)
		}
		schema.URI = value
	default:
		return nil, unfit(v, declared, path)
	}
	written := &core.SchemaType{Columns: schemaType.GetColumns()}
	if schema.Columns != nil {
		written.Columns = nil
	}
	for _, column := range schema.Columns {
		written.Columns = append(written.Columns, &core.SchemaType_SchemaColumn{Name: column.Name, Type: column.Type})
	}
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_Schema{Schema: &core.Schema{Uri: schema.URI, Type: written}}}), nil
}

func valueOf(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

func scalarLiteral(scalar *core.Scalar) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: scalar}}
}

func primitive(value *core.Primitive) *core.Literal {
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_Primitive{Primitive: value}})
}

func none() *core.Literal {
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_NoneType{NoneType: &core.Void{}}})
}

func stringLiteral(value string) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}})
}

// utf8Literal refuses what gRPC would break the whole answer for.
func utf8Literal(value, path string) (*core.Literal, error) {
	if !utf8.ValidString(value) {
		return nil, problem(path, "%q is no UTF-8, and a string is", value)
	}
	return stringLiteral(value), nil
}

func binaryLiteral(value []byte, tag string) *core.Literal {
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: value, Tag: tag}}})
}

func genericLiteral(value *structpb.Struct) *core.Literal {
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_Generic{Generic: value}})
}

func blobLiteral(uri, format string, dimensionality core.BlobType_BlobDimensionality) *core.Literal {
	return scalarLiteral(&core.Scalar{Value: &core.Scalar_Blob{Blob: &core.Blob{
		Uri: uri, Metadata: &core.BlobMetadata{Type: &core.BlobType{Format: format, Dimensionality: dimensionality}},
	}}})
}
