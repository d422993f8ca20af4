package taskrun

import (
	"fmt"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// TypeHelp describes the names that ParseType reads.
const TypeHelp = "int, float, str, bool, datetime, duration, bytes, json, file, directory, dataset, any of the last three with a format " +
	"as in dataset[csv]; list[TYPE], dict[TYPE], optional[TYPE]"

var simpleTypes = map[string]core.SimpleType{
	"int": core.SimpleType_INTEGER, "integer": core.SimpleType_INTEGER,
	"float": core.SimpleType_FLOAT, "double": core.SimpleType_FLOAT,
	"str": core.SimpleType_STRING, "string": core.SimpleType_STRING,
	"bool": core.SimpleType_BOOLEAN, "boolean": core.SimpleType_BOOLEAN,
	"datetime": core.SimpleType_DATETIME,
	"duration": core.SimpleType_DURATION, "timedelta": core.SimpleType_DURATION,
	"bytes": core.SimpleType_BINARY, "binary": core.SimpleType_BINARY,
	"json": core.SimpleType_STRUCT, "struct": core.SimpleType_STRUCT,
	"none": core.SimpleType_NONE,
}

// ParseType reads a Flyte type as people write it, see TypeHelp.
func ParseType(text string) (*core.LiteralType, error) {
	name, argument, hasArgument := strings.Cut(strings.TrimSpace(text), "[")
	name = strings.ToLower(strings.TrimSpace(name))
	if hasArgument {
		if !strings.HasSuffix(argument, "]") {
			return nil, fmt.Errorf("type %q: the bracket is not closed", text)
		}
		argument = strings.TrimSpace(strings.TrimSuffix(argument, "]"))
		if argument == "" {
			return nil, fmt.Errorf("type %q: nothing is in the brackets", text)
		}
	}
	switch name {
	case "dataset", "structureddataset":
		if argument == "" {
			argument = "parquet"
		}
		return datasetType(argument), nil
	case "file":
		return blobType(argument, core.BlobType_SINGLE), nil
	case "directory", "dir":
		return blobType(argument, core.BlobType_MULTIPART), nil
	case "list", "dict", "map", "optional":
		if !hasArgument {
			return nil, fmt.Errorf("type %q: expected %s[TYPE], such as %s[int]", text, name, name)
		}
		if name == "dict" || name == "map" { // dict[str, int] as in Python
			if key, value, ok := strings.Cut(argument, ","); ok && (key == "str" || key == "string") {
				argument = value
			}
		}
		element, err := ParseType(argument)
		if err != nil {
			return nil, err
		}
		switch name {
		case "list":
			return literal.ListOf(element), nil
		case "optional":
			return literal.Optional(element), nil
		}
		return literal.MapOf(element), nil
	}
	kind, known := simpleTypes[name]
	if !known || hasArgument {
		return nil, fmt.Errorf("unknown type %q; the types are %s", text, TypeHelp)
	}
	return literal.Simple(kind), nil
}

func datasetType(format string) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{Format: format}}}
}

func blobType(format string, dimension core.BlobType_BlobDimensionality) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_Blob{Blob: &core.BlobType{Format: format, Dimensionality: dimension}}}
}

// TypeName writes a type as ParseType reads it.
func TypeName(t *core.LiteralType) string {
	withFormat := func(name, format string) string {
		if format == "" {
			return name
		}
		return name + "[" + format + "]"
	}
	switch kind := t.GetType().(type) {
	case *core.LiteralType_Simple:
		switch kind.Simple {
		case core.SimpleType_INTEGER:
			return "int"
		case core.SimpleType_STRING:
			return "str"
		case core.SimpleType_BOOLEAN:
			return "bool"
		case core.SimpleType_STRUCT:
			return "json"
		case core.SimpleType_BINARY:
			return "bytes"
		}
		return strings.ToLower(kind.Simple.String())
	case *core.LiteralType_CollectionType:
		return "list[" + TypeName(kind.CollectionType) + "]"
	case *core.LiteralType_MapValueType:
		return "dict[" + TypeName(kind.MapValueType) + "]"
	case *core.LiteralType_StructuredDatasetType:
		return withFormat("dataset", kind.StructuredDatasetType.GetFormat())
	case *core.LiteralType_Blob:
		if kind.Blob.GetDimensionality() == core.BlobType_MULTIPART {
			return withFormat("directory", kind.Blob.GetFormat())
		}
		return withFormat("file", kind.Blob.GetFormat())
	case *core.LiteralType_Schema:
		return "schema"
	case *core.LiteralType_EnumType:
		return "one of " + strings.Join(kind.EnumType.GetValues(), ", ")
	case *core.LiteralType_UnionType:
		variants := kind.UnionType.GetVariants()
		names := make([]string, len(variants))
		for i, v := range variants {
			names[i] = TypeName(v)
		}
		if len(names) == 2 && names[1] == "none" {
			return "optional[" + names[0] + "]"
		}
		return strings.Join(names, " or ")
	}
	return "unknown"
}
