package literal

import (
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// StructuredDataset is a table that lies in storage: flytekit's StructuredDataset.
type StructuredDataset struct {
	// URI says where the table is, such as "s3://bucket/a/b" or "bq://project:dataset.table".
	URI string
	// Format is how it is stored: "parquet", "csv", or "" where the URI says it all.
	Format string
	// Columns are its columns, in order; nil when unknown.
	Columns []Column
}

// Column is one column of a StructuredDataset.
type Column struct {
	Name string
	// Type is the type of the column's values, such as Simple(core.SimpleType_INTEGER).
	Type *core.LiteralType
}

// File is one file in storage: flytekit's FlyteFile.
type File struct {
	// URI says where the file is.
	URI string
	// Format is its kind as the task's interface names it, such as "csv"; "" for any.
	Format string
}

// Directory is a folder in storage: flytekit's FlyteDirectory.
type Directory struct {
	URI    string
	Format string
}

// Schema is flytekit's deprecated FlyteSchema: a folder of parquet files with typed columns. A Schema literal can also
// be read as a StructuredDataset.
type Schema struct {
	URI     string
	Columns []SchemaColumn
}

// SchemaColumn is one column of a Schema.
type SchemaColumn struct {
	Name string
	Type core.SchemaType_SchemaColumn_SchemaColumnType
}

// Binary is bytes with the name of their encoding. A []byte is a Binary without a tag; the tag MsgPack marks what
// flytekit 1.14 and newer send for dataclasses and dicts, which is better read as a struct or a map.
type Binary struct {
	Value []byte
	Tag   string
}

// MsgPack is the tag of a binary literal that holds a dataclass, a pydantic model or a dict.
const MsgPack = "msgpack"

const (
	// pickleType marks declared types whose values Flyte 2's SDK pickles, since it has no type for them: bytes, Decimal, Any, ….
	pickleType = "FlytePickle"
	// pickleTag is the tag of such a value, which the host gives it.
	pickleTag = "pickle"
)

// isPickle says whether a binary of a declared type is a pickle. Whoever reads it unpickles it, so that other bytes do not belong there.
func isPickle(declared *core.LiteralType) bool {
	return declared.GetSimple() == core.SimpleType_BINARY && declared.GetStructure().GetTag() == pickleType
}

// Timestamp is msgpack's own timestamp, which a dict of Python's has for a msgpack.Timestamp. Python's datetimes in dicts and
// dataclasses are texts, and so is a time.Time that is written within one.
type Timestamp struct{ time.Time }

// JSON marks a value to be written as a generic literal (a protobuf Struct) instead of msgpack, for readers that are
// older than flytekit 1.14. Its numbers become floats, and what that would change is refused, as is what JSON lacks.
type JSON struct{ Value any }

// Simple returns the literal type of a simple kind.
func Simple(kind core.SimpleType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: kind}}
}

// ListOf returns the literal type of a list.
func ListOf(element *core.LiteralType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_CollectionType{CollectionType: element}}
}

// MapOf returns the literal type of a map from strings.
func MapOf(value *core.LiteralType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_MapValueType{MapValueType: value}}
}

// UnionOf returns the literal type of a union.
func UnionOf(variants ...*core.LiteralType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_UnionType{UnionType: &core.UnionType{Variants: variants}}}
}

// Optional returns the literal type of a value that may be None.
func Optional(of *core.LiteralType) *core.LiteralType {
	return UnionOf(of, Simple(core.SimpleType_NONE))
}
