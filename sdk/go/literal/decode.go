package literal

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// DecodeInto reads a literal into what target points to. See Decode.
func DecodeInto(l *core.Literal, target any) error {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return errors.New("literal.DecodeInto needs a pointer to what it shall fill")
	}
	return decode(l, v.Elem(), "")
}

func decode(l *core.Literal, v reflect.Value, path string) error {
	switch target := v.Addr().Interface().(type) {
	case **core.Literal:
		*target = l
		return nil
	case *Timestamp:
		plain, err := natural(l, path)
		if stamp, ok := plain.(Timestamp); ok {
			*target = stamp
		} else if err == nil {
			err = mismatch(l, v, path)
		}
		return err
	case **structpb.Struct:
		if generic := l.GetScalar().GetGeneric(); generic != nil {
			*target = generic
			return nil
		}
	case **core.Error:
		if failure := l.GetScalar().GetError(); failure != nil {
			*target = failure
			return nil
		}
	}
	if union := l.GetScalar().GetUnion(); union != nil {
		return decode(union.GetValue(), v, path)
	}
	if l.GetScalar().GetNoneType() != nil {
		if !nillable(v.Kind()) {
			return mismatch(l, v, path)
		}
		v.SetZero()
		return nil
	}
	switch {
	case v.Kind() == reflect.Pointer:
		made := reflect.New(v.Type().Elem())
		if err := decode(l, made.Elem(), path); err != nil {
			return err
		}
		v.Set(made)
		return nil
	case v.Kind() == reflect.Interface && v.NumMethod() == 0:
		value, err := natural(l, path)
		if err == nil && value != nil {
			v.Set(reflect.ValueOf(value))
		}
		return err
	}
	switch value := l.GetValue().(type) {
	case *core.Literal_Scalar:
		return decodeScalar(l, v, path)
	case *core.Literal_Collection:
		return decodeList(l, value.Collection.GetLiterals(), v, path)
	case *core.Literal_Map:
		return decodeMap(l, value.Map.GetLiterals(), v, path)
	case *core.Literal_OffloadedMetadata:
		return offloaded(value.OffloadedMetadata, path)
	}
	return mismatch(l, v, path)
}

func mismatch(l *core.Literal, v reflect.Value, path string) error {
	return problem(path, "%s cannot be read as %s", literalName(l), v.Type())
}

func offloaded(data *core.LiteralOffloadedMetadata, path string) error {
	return problem(path, "Flyte has put the value, of %d bytes, into storage at %s: agents take values inline; "+
		"pass a file or a structured dataset, or raise the size from which propeller offloads literals", data.GetSizeBytes(), data.GetUri())
}

func decodeList(l *core.Literal, elements []*core.Literal, v reflect.Value, path string) error {
	if v.Kind() != reflect.Slice || v.Type() == reflect.TypeFor[[]byte]() {
		return mismatch(l, v, path)
	}
	made := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	for i, element := range elements {
		if err := decode(element, made.Index(i), index(path, i)); err != nil {
			return err
		}
	}
	v.Set(made)
	return nil
}

func decodeMap(l *core.Literal, entries map[string]*core.Literal, v reflect.Value, path string) error {
	if v.Kind() == reflect.Struct {
		return decodeStruct(l, entries, v, path)
	}
	if v.Kind() != reflect.Map || v.Type().Key().Kind() != reflect.String {
		return mismatch(l, v, path)
	}
	made := reflect.MakeMapWithSize(v.Type(), len(entries))
	for name, entry := range entries {
		element := reflect.New(v.Type().Elem()).Elem()
		if err := decode(entry, element, key(path, name)); err != nil {
			return err
		}
		made.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), element)
	}
	v.Set(made)
	return nil
}

func decodeStruct(l *core.Literal, entries map[string]*core.Literal, v reflect.Value, path string) error {
	fields, ok := fieldsOf(v.Type())
	if !ok || readsItself(v.Type()) {
		value, err := natural(l, path)
		if err != nil {
			return err
		}
		return plainThroughJSON(value, v, path)
	}
	for name, entry := range entries {
		f, ok := fieldNamed(fields, name)
		if !ok {
			continue
		}
		target := fieldAt(v, f.index)
		if !target.IsValid() {
			return problem(key(path, name), "%s embeds a pointer that is not exported", v.Type())
		}
		if err := decode(entry, target, key(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func decodeScalar(l *core.Literal, v reflect.Value, path string) error {
	scalar := l.GetScalar()
	switch target := v.Addr().Interface().(type) {
	case *[]byte:
		switch binary := scalar.GetBinary(); {
		case binary == nil, binary.GetTag() != "" && binary.GetTag() != MsgPack:
			return mismatch(l, v, path)
		case binary.GetTag() == "":
			*target = binary.GetValue()
			return nil
		}
	case *Binary:
		if binary := scalar.GetBinary(); binary != nil {
			*target = Binary{Value: binary.GetValue(), Tag: binary.GetTag()}
			return nil
		}
		return mismatch(l, v, path)
	case *StructuredDataset:
		switch {
		case scalar.GetStructuredDataset() != nil:
			*target = datasetOf(scalar.GetStructuredDataset())
			return nil
		case scalar.GetSchema() != nil:
			*target = schemaOf(scalar.GetSchema()).dataset()
			return nil
		}
		return mismatch(l, v, path)
	case *Schema, *File, *Directory, *time.Time, *time.Duration:
		value, err := natural(l, path)
		if err != nil {
			return err
		}
		if reflect.TypeOf(value) != v.Type() {
			return mismatch(l, v, path)
		}
		v.Set(reflect.ValueOf(value))
		return nil
	}
	switch {
	case scalar.GetPrimitive() != nil:
		return decodePrimitive(l, v, path)
	case scalar.GetGeneric() != nil || scalar.GetBinary().GetTag() == MsgPack:
		plain, err := natural(l, path)
		if err != nil {
			return err
		}
		return plainInto(plain, v, path)
	}
	return mismatch(l, v, path)
}

func decodePrimitive(l *core.Literal, v reflect.Value, path string) error {
	switch value := l.GetScalar().GetPrimitive().GetValue().(type) {
	case *core.Primitive_StringValue:
		if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			if err := text.UnmarshalText([]byte(value.StringValue)); err != nil {
				return problem(path, "the string cannot be read as %s: %w", v.Type(), err)
			}
			return nil
		}
		if v.Kind() == reflect.String {
			v.SetString(value.StringValue)
			return nil
		}
	case *core.Primitive_Boolean:
		if v.Kind() == reflect.Bool {
			v.SetBool(value.Boolean)
			return nil
		}
	case *core.Primitive_Integer:
		return decodeInteger(l, value.Integer, v, path)
	case *core.Primitive_FloatValue:
		if v.CanFloat() {
			if v.OverflowFloat(value.FloatValue) && !math.IsInf(value.FloatValue, 0) {
				return problem(path, "%v is out of the range of %s", value.FloatValue, v.Type())
			}
			v.SetFloat(value.FloatValue)
			return nil
		}
		if whole, exact := exactInteger(value.FloatValue); exact && (v.CanInt() || v.CanUint()) {
			return decodeInteger(l, whole, v, path)
		}
	}
	return mismatch(l, v, path)
}

func decodeInteger(l *core.Literal, value int64, v reflect.Value, path string) error {
	switch {
	case v.CanInt():
		if v.OverflowInt(value) {
			return problem(path, "%d is out of the range of %s", value, v.Type())
		}
		v.SetInt(value)
	case v.CanUint():
		if value < 0 || v.OverflowUint(uint64(value)) {
			return problem(path, "%d is out of the range of %s", value, v.Type())
		}
		v.SetUint(uint64(value))
	case v.CanFloat():
		float := float64(value)
		if back, exact := exactInteger(float); !exact || back != value || v.Kind() == reflect.Float32 && float64(float32(float)) != float {
			return problem(path, "%d has more digits than %s", value, v.Type())
		}
		v.SetFloat(float)
	default:
		return mismatch(l, v, path)
	}
	return nil
}

// exactInteger returns the integer that a float is, if it is one.
func exactInteger(float float64) (int64, bool) {
	if float != math.Trunc(float) || float < math.MinInt64 || float >= math.MaxInt64 {
		return 0, false
	}
	return int64(float), true
}

// natural returns the Go value that the package comment's table names for a literal.
func natural(l *core.Literal, path string) (any, error) {
	switch value := l.GetValue().(type) {
	case *core.Literal_Collection:
		list := make([]any, len(value.Collection.GetLiterals()))
		for i, element := range value.Collection.GetLiterals() {
			var err error
			if list[i], err = natural(element, index(path, i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case *core.Literal_Map:
		object := make(map[string]any, len(value.Map.GetLiterals()))
		for name, entry := range value.Map.GetLiterals() {
			var err error
			if object[name], err = natural(entry, key(path, name)); err != nil {
				return nil, err
			}
		}
		return object, nil
	case *core.Literal_OffloadedMetadata:
		return nil, offloaded(value.OffloadedMetadata, path)
	}
	return naturalScalar(l, path)
}

func naturalScalar(l *core.Literal, path string) (any, error) {
	switch value := l.GetScalar().GetValue().(type) {
	case *core.Scalar_Primitive:
		return naturalPrimitive(l, value.Primitive, path)
	case *core.Scalar_NoneType:
		return nil, nil
	case *core.Scalar_Union:
		return natural(value.Union.GetValue(), path)
	case *core.Scalar_Generic:
		if l.GetMetadata()["format"] == "pickle" {
			return nil, problem(path, "Python has pickled the dict, into %s: only Python can read it",
				value.Generic.GetFields()["pickle_file"].GetStringValue())
		}
		return structEntries(value.Generic), nil
	case *core.Scalar_Binary:
		switch value.Binary.GetTag() {
		case "":
			return append([]byte{}, value.Binary.GetValue()...), nil // which is nil of none
		case MsgPack:
			plain, err := decodeMsgPack(value.Binary.GetValue())
			if err != nil {
				return nil, problem(path, "%w", err)
			}
			return plain, nil
		}
		return Binary{Value: value.Binary.GetValue(), Tag: value.Binary.GetTag()}, nil
	case *core.Scalar_Blob:
		blobType := value.Blob.GetMetadata().GetType()
		if blobType.GetDimensionality() == core.BlobType_MULTIPART {
			return Directory{URI: value.Blob.GetUri(), Format: blobType.GetFormat()}, nil
		}
		return File{URI: value.Blob.GetUri(), Format: blobType.GetFormat()}, nil
	case *core.Scalar_StructuredDataset:
		return datasetOf(value.StructuredDataset), nil
	case *core.Scalar_Schema:
		return schemaOf(value.Schema), nil
	case *core.Scalar_Error:
		return value.Error, nil
	}
	return nil, problem(path, "%s has no value", literalName(l))
}

func naturalPrimitive(l *core.Literal, primitive *core.Primitive, path string) (any, error) {
	switch value := primitive.GetValue().(type) {
	case *core.Primitive_Integer:
		return value.Integer, nil
	case *core.Primitive_FloatValue:
		return value.FloatValue, nil
	case *core.Primitive_StringValue:
		return value.StringValue, nil
	case *core.Primitive_Boolean:
		return value.Boolean, nil
	case *core.Primitive_Datetime:
		if err := value.Datetime.CheckValid(); err != nil {
			return nil, problem(path, "the datetime is not one: %w", err)
		}
		return value.Datetime.AsTime(), nil
	case *core.Primitive_Duration:
		duration := value.Duration.AsDuration() // the longest there is, where it is longer
		if err := value.Duration.CheckValid(); err != nil {
			return nil, problem(path, "the duration is not one: %w", err)
		}
		if !proto.Equal(durationpb.New(duration), value.Duration) {
			return nil, problem(path, "the duration of %d s is longer than a Go duration can be, 292 years", value.Duration.GetSeconds())
		}
		return duration, nil
	}
	return nil, problem(path, "%s has no value", literalName(l))
}

// structEntries reads a Struct. Its own AsMap makes texts of NaN and infinity.
func structEntries(object *structpb.Struct) map[string]any {
	entries := make(map[string]any, len(object.GetFields()))
	for name, value := range object.GetFields() {
		entries[name] = structValue(value)
	}
	return entries
}

func structValue(value *structpb.Value) any {
	switch kind := value.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return kind.NumberValue
	case *structpb.Value_StructValue:
		return structEntries(kind.StructValue)
	case *structpb.Value_ListValue:
		list := make([]any, len(kind.ListValue.GetValues()))
		for i, element := range kind.ListValue.GetValues() {
			list[i] = structValue(element)
		}
		return list
	}
	return value.AsInterface()
}

func datasetOf(dataset *core.StructuredDataset) StructuredDataset {
	datasetType := dataset.GetMetadata().GetStructuredDatasetType()
	value := StructuredDataset{URI: dataset.GetUri(), Format: datasetType.GetFormat()}
	for _, column := range datasetType.GetColumns() {
		value.Columns = append(value.Columns, Column{Name: column.GetName(), Type: column.GetLiteralType()})
	}
	return value
}

func schemaOf(schema *core.Schema) Schema {
	value := Schema{URI: schema.GetUri()}
	for _, column := range schema.GetType().GetColumns() {
		value.Columns = append(value.Columns, SchemaColumn{Name: column.GetName(), Type: column.GetType()})
	}
	return value
}

// dataset returns the schema as a structured dataset: FlyteSchema always stores parquet.
func (s Schema) dataset() StructuredDataset {
	value := StructuredDataset{URI: s.URI, Format: "parquet"}
	for _, column := range s.Columns {
		kind := core.SimpleType(core.SimpleType_value[fmt.Sprint(column.Type)])
		value.Columns = append(value.Columns, Column{Name: column.Name, Type: Simple(kind)})
	}
	return value
}
