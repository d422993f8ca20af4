package taskrun

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// InputHelp describes what ParseInput reads.
const InputHelp = `An input is name=value or name:TYPE=value.

Its type is the TYPE, else that of the template's interface, else what the value looks like: 3 is an int, 0.5 a float,
true a bool, [1, 2] a list, {"a": 1} JSON, anything else a text. To read the value from a file write name=@FILE.

Types: ` + TypeHelp + `.
A datetime is 2024-01-31T12:00:00Z or 2024-01-31, a duration 90s or 1h30m, bytes are base64.
A file, directory or dataset is a path or a URI:

  --input n=3
  --input name:str=3
  --input ids='[1, 2, 3]'
  --input flights:dataset=./flights.parquet
  --input orders:dataset[csv]=s3://bucket/orders.csv
  --input query=@query.txt`

// inputs collects the values of a task by name, with their types.
type inputs struct {
	declared map[string]*core.Variable // of the template's interface; nil where it has none
	types    map[string]*core.LiteralType
	values   map[string]*core.Literal
}

func newInputs(declared *core.VariableMap) *inputs {
	return &inputs{declared: declared.GetVariables(), types: map[string]*core.LiteralType{}, values: map[string]*core.Literal{}}
}

// add reads one --input, see InputHelp.
func (in *inputs) add(argument string) error {
	left, value, ok := strings.Cut(argument, "=")
	name, typeName, typed := strings.Cut(left, ":")
	if !ok || name == "" {
		return fmt.Errorf("input %q: expected name=value or name:TYPE=value", argument)
	}
	if file, isFile := strings.CutPrefix(value, "@"); isFile {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("input %s: %w", name, err)
		}
		value = strings.TrimSuffix(string(content), "\n")
	}
	var declared *core.LiteralType
	switch {
	case typed:
		var err error
		if declared, err = ParseType(typeName); err != nil {
			return fmt.Errorf("input %s: %w", name, err)
		}
	case in.declared != nil:
		variable, known := in.declared[name]
		if !known {
			return fmt.Errorf("input %s: the task has no such input; it has %s", name, describeInputs(in.declared))
		}
		declared = variable.GetType()
	default:
		return in.set(name, guess(value), nil)
	}
	read, err := readAs(value, declared)
	if err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	return in.set(name, read, declared)
}

// addFile reads a file of inputs: JSON, an object of values by name, or else the protobuf form of a LiteralMap, as in
// the inputs.pb that Flyte writes.
func (in *inputs) addFile(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("inputs file: %w", err)
	}
	if trimmed := bytes.TrimSpace(content); len(trimmed) == 0 || trimmed[0] != '{' {
		var m core.LiteralMap
		if err := proto.Unmarshal(content, &m); err != nil {
			return fmt.Errorf("inputs file %s is neither a JSON object nor a protobuf LiteralMap: %w", path, err)
		}
		for name, value := range m.GetLiterals() {
			in.values[name] = value
			if variable, ok := in.declared[name]; ok {
				in.types[name] = variable.GetType()
			}
		}
		return nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(content, &values); err != nil {
		return fmt.Errorf("inputs file %s: not valid JSON: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text := string(values[name])
		if in.declared != nil { // a text for a text, a date, a path is written without its quotes
			var unquoted string
			if json.Unmarshal(values[name], &unquoted) == nil {
				text = unquoted
			}
			err = in.addValue(name, text)
		} else {
			var value any
			if value, err = readJSON(text); err == nil {
				err = in.set(name, value, nil)
			}
		}
		if err != nil {
			return fmt.Errorf("inputs file %s: %w", path, err)
		}
	}
	return nil
}

// addValue reads a text by the type that the interface gives the name.
func (in *inputs) addValue(name, text string) error {
	variable, known := in.declared[name]
	if !known {
		return fmt.Errorf("input %s: the task has no such input; it has %s", name, describeInputs(in.declared))
	}
	value, err := readAs(text, variable.GetType())
	if err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	return in.set(name, value, variable.GetType())
}

func (in *inputs) set(name string, value any, declared *core.LiteralType) error {
	if declared == nil {
		declared = naturalType(value)
	}
	encoded, err := literal.Encode(value, declared)
	if err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	in.types[name], in.values[name] = declared, encoded
	return nil
}

// missing names the inputs that the interface asks for and nobody gave. An optional one may be left out: it is None.
func (in *inputs) missing() ([]string, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(in.declared)) {
		if _, given := in.values[name]; given {
			continue
		}
		if takesNone(in.declared[name].GetType()) {
			if err := in.set(name, nil, in.declared[name].GetType()); err != nil {
				return nil, err
			}
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

func describeInputs(declared map[string]*core.Variable) string {
	if len(declared) == 0 {
		return "none"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		all = append(all, name+":"+TypeName(declared[name].GetType()))
	}
	return strings.Join(all, ", ")
}

func takesNone(t *core.LiteralType) bool {
	return slices.ContainsFunc(t.GetUnionType().GetVariants(), isNone)
}

func isNone(t *core.LiteralType) bool {
	_, simple := t.GetType().(*core.LiteralType_Simple)
	return simple && t.GetSimple() == core.SimpleType_NONE
}

// readAs reads a text as a value of a Flyte type, as a Go value that literal.Encode takes for that type.
func readAs(text string, declared *core.LiteralType) (any, error) {
	fail := func(want string) error {
		return fmt.Errorf("expected %s (type %s), got %q", want, TypeName(declared), text)
	}
	switch kind := declared.GetType().(type) {
	case *core.LiteralType_Simple:
		return readSimple(text, kind.Simple, fail)
	case *core.LiteralType_EnumType:
		if !slices.Contains(kind.EnumType.GetValues(), text) {
			return nil, fail("one of the enum's values")
		}
		return text, nil
	case *core.LiteralType_StructuredDatasetType:
		return literal.StructuredDataset{URI: location(text), Format: formatOf(text, kind.StructuredDatasetType.GetFormat())}, nil
	case *core.LiteralType_Blob:
		if kind.Blob.GetDimensionality() == core.BlobType_MULTIPART {
			return literal.Directory{URI: location(text), Format: kind.Blob.GetFormat()}, nil
		}
		return literal.File{URI: location(text), Format: kind.Blob.GetFormat()}, nil
	case *core.LiteralType_Schema:
		return literal.Schema{URI: location(text)}, nil
	case *core.LiteralType_CollectionType:
		var elements []json.RawMessage
		if json.Unmarshal([]byte(text), &elements) != nil {
			return nil, fail("a JSON list such as [1, 2]")
		}
		out := make([]any, len(elements))
		for i, element := range elements {
			value, err := readAs(bare(element), kind.CollectionType)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			out[i] = value
		}
		return out, nil
	case *core.LiteralType_MapValueType:
		var entries map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &entries) != nil {
			return nil, fail(`a JSON object such as {"a": 1}`)
		}
		out := make(map[string]any, len(entries))
		for key, entry := range entries {
			value, err := readAs(bare(entry), kind.MapValueType)
			if err != nil {
				return nil, fmt.Errorf("[%q]: %w", key, err)
			}
			out[key] = value
		}
		return out, nil
	case *core.LiteralType_UnionType: // the first variant that can read it
		if takesNone(declared) && (text == "null" || text == "") {
			return nil, nil
		}
		for _, variant := range kind.UnionType.GetVariants() {
			if isNone(variant) {
				continue
			}
			if value, err := readAs(text, variant); err == nil {
				return value, nil
			}
		}
		return nil, fail("a value of one of the union's types")
	}
	return nil, fmt.Errorf("values of type %s cannot be given as text; use a LiteralMap in an inputs file", TypeName(declared))
}

func readSimple(text string, kind core.SimpleType, fail func(want string) error) (any, error) {
	switch kind {
	case core.SimpleType_INTEGER:
		if value, err := strconv.ParseInt(text, 10, 64); err == nil {
			return value, nil
		}
		return nil, fail("a whole number")
	case core.SimpleType_FLOAT:
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			return value, nil
		}
		return nil, fail("a number")
	case core.SimpleType_STRING:
		return text, nil
	case core.SimpleType_BOOLEAN:
		if value, err := strconv.ParseBool(text); err == nil {
			return value, nil
		}
		return nil, fail("true or false")
	case core.SimpleType_DATETIME:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
			if value, err := time.Parse(layout, text); err == nil {
				return value, nil
			}
		}
		return nil, fail("a time such as 2024-01-31T12:00:00Z")
	case core.SimpleType_DURATION:
		if value, err := time.ParseDuration(text); err == nil {
			return value, nil
		}
		return nil, fail("a duration such as 90s")
	case core.SimpleType_BINARY:
		if value, err := base64.StdEncoding.DecodeString(text); err == nil {
			return value, nil
		}
		return nil, fail("base64")
	case core.SimpleType_STRUCT:
		value, err := readJSON(text)
		if err != nil {
			return nil, fail("JSON")
		}
		return value, nil
	case core.SimpleType_NONE:
		if text == "" || text == "null" {
			return nil, nil
		}
		return nil, fail("nothing")
	}
	return nil, fail("a value of another type")
}

// guess reads a text as what it looks like.
func guess(text string) any {
	value, err := readJSON(text)
	if err != nil {
		return text
	}
	return value
}

// readJSON reads JSON with whole numbers as int64 or, above its range, uint64.
func readJSON(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, errors.New("more than one JSON value")
	}
	return goNumbers(value)
}

// goNumbers refuses what no Go number holds, so that nothing becomes another number without a word.
func goNumbers(value any) (any, error) {
	var err error
	switch v := value.(type) {
	case json.Number:
		return goNumber(v)
	case []any:
		for i := range v {
			if v[i], err = goNumbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], err = goNumbers(v[key]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

func goNumber(n json.Number) (any, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return u, nil
	}
	f, err := n.Float64()
	if err != nil || !strings.ContainsAny(n.String(), ".eE") {
		return nil, fmt.Errorf("no number here holds %s", n)
	}
	return f, nil
}

// naturalType is the Flyte type of a guessed value. A list whose elements differ, and an object, are JSON.
func naturalType(value any) *core.LiteralType {
	switch v := value.(type) {
	case nil:
		return literal.Simple(core.SimpleType_NONE)
	case bool:
		return literal.Simple(core.SimpleType_BOOLEAN)
	case int64:
		return literal.Simple(core.SimpleType_INTEGER)
	case float64:
		return literal.Simple(core.SimpleType_FLOAT)
	case string:
		return literal.Simple(core.SimpleType_STRING)
	case []any:
		if len(v) == 0 {
			return literal.ListOf(literal.Simple(core.SimpleType_NONE))
		}
		element := naturalType(v[0])
		for _, other := range v[1:] {
			switch t := naturalType(other); {
			case proto.Equal(t, element), isNumber(t) && element.GetSimple() == core.SimpleType_FLOAT:
			case isNumber(t) && isNumber(element):
				element = literal.Simple(core.SimpleType_FLOAT)
			default:
				return literal.Simple(core.SimpleType_STRUCT)
			}
		}
		return literal.ListOf(element)
	}
	return literal.Simple(core.SimpleType_STRUCT)
}

func isNumber(t *core.LiteralType) bool {
	return t.GetSimple() == core.SimpleType_INTEGER || t.GetSimple() == core.SimpleType_FLOAT
}

// bare gives a JSON value as text: a JSON string without its quotes.
func bare(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
		return text
	}
	return string(raw)
}

// location makes a local path absolute, because a plugin has another working directory; a URI stays as it is.
func location(text string) string {
	if strings.Contains(text, "://") {
		return text
	}
	if absolute, err := filepath.Abs(text); err == nil {
		return absolute
	}
	return text
}

// formatOf is the declared format of a dataset, unless that is the default and the file's name says another.
func formatOf(path, declared string) string {
	if declared != "" && declared != "parquet" {
		return declared
	}
	switch extension := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), ".")); extension {
	case "csv", "json", "parquet":
		return extension
	}
	return declared
}
