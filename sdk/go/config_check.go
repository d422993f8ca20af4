package agent

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/agenthost/agenthost/proto/nearest"
)

func compileSchema(text string) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	const name = "config.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		return nil, err
	}
	return compiler.Compile(name)
}

// parseBlock reads a `config:` block, keeping numbers exact.
func parseBlock(block string) (map[string]any, error) {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(block))
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it is %s", jsonKindOf(value))
	}
	return object, nil
}

// checkBlock returns everything that the schema has against a block, sorted by key.
func checkBlock(schema *jsonschema.Schema, block map[string]any) []ConfigError {
	var failure *jsonschema.ValidationError
	if err := schema.Validate(block); !errors.As(err, &failure) {
		return configErrors(err)
	}
	var errs []ConfigError
	collect(schema, block, failure, &errs)
	slices.SortFunc(errs, func(a, b ConfigError) int { return strings.Compare(a.Key+"\x00"+a.Message, b.Key+"\x00"+b.Message) })
	return slices.Compact(errs)
}

// collect walks to the leaves of a failure, where the reasons are.
func collect(root *jsonschema.Schema, block any, failure *jsonschema.ValidationError, errs *[]ConfigError) {
	if len(failure.Causes) > 0 {
		for _, cause := range failure.Causes {
			collect(root, block, cause, errs)
		}
		return
	}
	at, value := schemaAt(root, failure.InstanceLocation), valueAt(block, failure.InstanceLocation)
	key := dotted(failure.InstanceLocation)
	add := func(key, format string, args ...any) {
		*errs = append(*errs, ConfigError{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	switch reason := failure.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range reason.Properties {
			add(joinKey(key, name), "unknown key: %s", suggest(name, slices.Sorted(maps.Keys(at.Properties))))
		}
	case *kind.Required:
		for _, name := range reason.Missing {
			add(joinKey(key, name), "is required")
		}
	case *kind.Type:
		wanted := expected(at)
		if wanted == "" {
			wanted = wantedTypes(reason.Want)
		}
		add(key, "must be %s, got %s", wanted, given(value))
	case *kind.Enum:
		allowed := make([]string, len(reason.Want))
		for i, value := range reason.Want {
			allowed[i] = fmt.Sprint(value)
		}
		add(key, "must be one of %s, got %s", strings.Join(allowed, ", "), given(value))
	case *kind.Pattern:
		switch wanted := expected(at); {
		case reason.Want == secretPattern:
			add(key, notSecretName)
		case wanted != "":
			add(key, "must be %s, got %s", wanted, given(value))
		case len(at.Examples) > 0:
			add(key, "must be something like %v, got %s", at.Examples[0], given(value))
		default:
			add(key, "must match %s, got %s", reason.Want, given(value))
		}
	case *kind.Minimum:
		add(key, "must be at least %s, got %s", exactly(reason.Want), given(value))
	case *kind.Maximum:
		add(key, "must be at most %s, got %s", exactly(reason.Want), given(value))
	default:
		add(key, "%s", failure.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	}
}

// expected names what a schema of one of this package's own types wants; "" for others.
func expected(at *jsonschema.Schema) string {
	if at.Pattern == nil {
		return ""
	}
	switch at.Pattern.String() {
	case durationPattern:
		return aDuration
	case sizePattern:
		return aSize
	case secretPattern:
		return aSecretName
	}
	return ""
}

// given shows a value as the block has it; lists and mappings by their kind alone.
func given(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	case string:
		return strconv.Quote(value)
	}
	return fmt.Sprint(value)
}

// exactly writes a bound as its author would.
func exactly(bound *big.Rat) string {
	digits, _ := bound.FloatPrec()
	return bound.FloatString(digits)
}

// valueAt returns what a block has at a location.
func valueAt(value any, location []string) any {
	for _, token := range location {
		switch at := value.(type) {
		case map[string]any:
			value = at[token]
		case []any:
			index, err := strconv.Atoi(token)
			if err != nil || index >= len(at) {
				return nil
			}
			value = at[index]
		}
	}
	return value
}

// withoutNulls takes keys out of a block that are null and need not be given: `+"`limits:`"+` with nothing behind it is as if
// it were not there.
func withoutNulls(schema *jsonschema.Schema, value any) {
	switch value := value.(type) {
	case map[string]any:
		at := schemaAt(schema, nil)
		for name, inner := range value {
			if property := at.Properties[name]; property != nil && inner == nil && !slices.Contains(at.Required, name) {
				delete(value, name)
				continue
			}
			withoutNulls(schemaAt(at, []string{name}), inner)
		}
	case []any:
		for _, inner := range value {
			withoutNulls(schemaAt(schema, []string{"0"}), inner)
		}
	}
}

// schemaAt returns the part of a schema that a value's location is checked by; an empty one where it cannot be told.
func schemaAt(schema *jsonschema.Schema, location []string) *jsonschema.Schema {
	for schema != nil && schema.Ref != nil {
		schema = schema.Ref
	}
	if schema == nil {
		return &jsonschema.Schema{}
	}
	if len(location) == 0 {
		return schema
	}
	if property := schema.Properties[location[0]]; property != nil {
		return schemaAt(property, location[1:])
	}
	if values, ok := schema.AdditionalProperties.(*jsonschema.Schema); ok {
		return schemaAt(values, location[1:])
	}
	return schemaAt(schema.Items2020, location[1:])
}

// suggest says which name was meant, or which there are.
func suggest(name string, known []string) string {
	meant := nearest.Name(name, known)
	switch {
	case meant != "":
		return fmt.Sprintf("did you mean %q?", meant)
	case len(known) == 0:
		return "there are no keys here"
	}
	return "the keys are " + strings.Join(known, ", ")
}

func wantedTypes(names []string) string {
	articled := make([]string, len(names))
	for i, name := range names {
		articled[i] = withArticle(name)
	}
	return strings.Join(articled, " or ")
}

func withArticle(jsonType string) string {
	switch jsonType {
	case "null":
		return "null"
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "integer":
		return "an integer"
	}
	return "a " + jsonType
}

func jsonKindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

// dotted writes a location as a key: limits.memory, hosts[2].
func dotted(location []string) string {
	key := ""
	for _, token := range location {
		if _, err := strconv.Atoi(token); err == nil {
			key += "[" + token + "]"
		} else {
			key = joinKey(key, token)
		}
	}
	return key
}

func joinKey(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// jsonKey returns the key of a struct field, or "".
func jsonKey(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	switch {
	case name == "-" || !field.IsExported() || (field.Anonymous && name == ""):
		return ""
	case name == "":
		return field.Name
	}
	return name
}
