package agent

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	invopop "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// configuration is the Configure option of a plugin.
type configuration struct {
	// text is the JSON Schema of the config type, schema what checks a block against it.
	text   string
	schema *jsonschema.Schema
	// apply decodes a block that the schema accepts, and hands it to the author's function.
	apply func(ctx context.Context, block []byte) ([]ConfigError, error)

	mu   sync.Mutex
	done bool
}

func configurationOf[C any](fn func(context.Context, C) error) *configuration {
	return &configuration{
		text: schemaOf(reflect.TypeFor[C](), defaultsOf[C]()),
		apply: func(ctx context.Context, block []byte) ([]ConfigError, error) {
			config := defaultsOf[C]()
			if err := json.Unmarshal(block, &config); err != nil {
				return blame(reflect.TypeFor[C](), block, "", err), nil
			}
			if errs := missingSecrets(reflect.ValueOf(config), ""); len(errs) > 0 {
				return errs, nil
			}
			if errs := validate(&config); len(errs) > 0 {
				return errs, nil
			}
			err := fn(ctx, config)
			if status.Code(err) == codes.Unavailable {
				return nil, err // what the plugin needs is away, which is no mistake of the configuration
			}
			return configErrors(err), nil
		},
	}
}

func defaultsOf[C any]() C {
	var config C
	if defaulter, ok := any(&config).(interface{ SetDefaults() }); ok {
		defaulter.SetDefaults()
	}
	return config
}

// setConfiguration takes the plugin's one Configure option.
func (s *Server) setConfiguration(c *configuration) error {
	if s.configuration != nil {
		return errors.New("there are two agent.Configure options: a plugin takes one configuration")
	}
	schema, err := compileSchema(c.text)
	if err != nil {
		return fmt.Errorf("the configuration's JSON Schema is broken: %w", err)
	}
	c.schema, s.configuration = schema, c
	return nil
}

// schemaText is the JSON Schema that Describe tells; empty when the plugin takes no configuration.
func (c *configuration) schemaText() string {
	if c == nil {
		return ""
	}
	return c.text
}

// configure hands a `config:` block, JSON text, to the plugin.
func (s *Server) configure(ctx context.Context, block string) ([]ConfigError, error) {
	if block == "" {
		block = "{}"
	}
	value, err := parseBlock(block)
	if err != nil {
		return []ConfigError{{Message: "the block must be a mapping of keys to values: " + err.Error()}}, nil
	}
	c := s.configuration
	if c == nil {
		if len(value) == 0 {
			return nil, nil
		}
		return []ConfigError{{Message: fmt.Sprintf("the plugin %s takes no configuration: remove the `config:` block", s.plugin.Name)}}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return nil, FailedPrecondition("plugin %s is configured already: a process takes its configuration once", s.plugin.Name)
	}
	withoutNulls(c.schema, value)
	if errs := checkBlock(c.schema, value); len(errs) > 0 {
		return errs, nil
	}
	checked, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var errs []ConfigError
	err = guard(&registration{name: s.plugin.Name}, Category{}, "Configure", func() (err error) {
		errs, err = c.apply(ctx, checked)
		return err
	})
	c.done = err == nil && len(errs) == 0
	return errs, err
}

// ready says whether tasks can be taken: a plugin with configuration needs it first.
func (s *Server) ready() error {
	c := s.configuration
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done {
		return FailedPrecondition("plugin %s has no configuration yet: the host must call Configure before the first task", s.plugin.Name)
	}
	return nil
}

// validate asks the config type itself.
func validate(config any) []ConfigError {
	switch checked := config.(type) {
	case interface{ Validate() []ConfigError }:
		return checked.Validate()
	case interface{ Validate() error }:
		return configErrors(checked.Validate())
	}
	return nil
}

// configErrors finds the ConfigErrors in an error, joined ones too; any other error is about the whole block.
func configErrors(err error) []ConfigError {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []ConfigError
		for _, part := range joined.Unwrap() {
			errs = append(errs, configErrors(part)...)
		}
		return errs
	}
	var known ConfigError
	if errors.As(err, &known) {
		return []ConfigError{known}
	}
	return []ConfigError{{Message: err.Error()}}
}

// blame finds the keys whose values their types refuse, which encoding/json does not tell for types that read text
// themselves.
func blame(t reflect.Type, value []byte, key string, failure error) []ConfigError {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var errs []ConfigError
	inside := func(t reflect.Type, part []byte, key string) {
		if err := json.Unmarshal(part, reflect.New(t).Interface()); err != nil {
			errs = append(errs, blame(t, part, key, err)...)
		}
	}
	if !readsItself(t) {
		switch t.Kind() {
		case reflect.Struct:
			object := parts[map[string]json.RawMessage](value)
			for _, field := range reflect.VisibleFields(t) {
				if name := jsonKey(field); name != "" && object[name] != nil {
					inside(field.Type, object[name], joinKey(key, name))
				}
			}
		case reflect.Map:
			object := parts[map[string]json.RawMessage](value)
			for _, name := range slices.Sorted(maps.Keys(object)) {
				inside(t.Elem(), object[name], joinKey(key, name))
			}
		case reflect.Slice, reflect.Array:
			for i, part := range parts[[]json.RawMessage](value) {
				inside(t.Elem(), part, fmt.Sprintf("%s[%d]", key, i))
			}
		}
	}
	if len(errs) > 0 {
		return errs
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(failure, &wrongType) {
		return []ConfigError{{Key: key, Message: fmt.Sprintf("must be %s, got %s", jsonName(wrongType.Type), givenText(value))}}
	}
	return []ConfigError{{Key: key, Message: describeJSONError(failure)}}
}

func readsItself(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// parts are what a list or a mapping consists of; none where the text is something else.
func parts[T any](value []byte) (parts T) {
	if json.Unmarshal(value, &parts) != nil {
		return *new(T)
	}
	return parts
}

func givenText(text []byte) string {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return string(text)
	}
	return given(value)
}

// missingSecrets are the keys that name secrets which the plugin does not have.
func missingSecrets(value reflect.Value, key string) (errs []ConfigError) {
	if ref, ok := value.Interface().(SecretRef); ok {
		if ref == "" {
			return nil
		}
		if _, err := ref.Get(); err != nil {
			return []ConfigError{{Key: key, Message: status.Convert(err).Message()}}
		}
		return nil
	}
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			return missingSecrets(value.Elem(), key)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			field := value.Type().Field(i)
			name := jsonKey(field)
			switch {
			case field.Anonymous && name == "" && field.IsExported():
				errs = append(errs, missingSecrets(value.Field(i), key)...)
			case name != "":
				errs = append(errs, missingSecrets(value.Field(i), joinKey(key, name))...)
			}
		}
	case reflect.Map:
		for _, name := range value.MapKeys() {
			errs = append(errs, missingSecrets(value.MapIndex(name), joinKey(key, fmt.Sprint(name)))...)
		}
	case reflect.Slice, reflect.Array:
		for i := range value.Len() {
			errs = append(errs, missingSecrets(value.Index(i), fmt.Sprintf("%s[%d]", key, i))...)
		}
	}
	slices.SortFunc(errs, func(a, b ConfigError) int { return strings.Compare(a.Key, b.Key) })
	return errs
}

// schemaOf generates the JSON Schema of a config type, with its defaults.
func schemaOf(t reflect.Type, defaults any) string {
	reflector := invopop.Reflector{Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true}
	schema := reflector.ReflectFromType(t)
	var values map[string]json.RawMessage
	if data, err := json.Marshal(defaults); err == nil {
		_ = json.Unmarshal(data, &values) // Not an object: there are no keys to have defaults.
	}
	if schema.Properties != nil {
		for property := schema.Properties.Oldest(); property != nil; property = property.Next() {
			if value, ok := values[property.Key]; ok && property.Value.Default == nil && !isZeroJSON(value) {
				property.Value.Default = value
			}
		}
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return ""
	}
	return string(text)
}

func isZeroJSON(value json.RawMessage) bool {
	switch string(value) {
	case "null", `""`, "0", "false", "{}", "[]":
		return true
	}
	return false
}
