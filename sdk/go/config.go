package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
	if errs := checkBlock(c.schema, value); len(errs) > 0 {
		return errs, nil
	}
	var errs []ConfigError
	err = guard(&registration{name: s.plugin.Name}, Category{}, "Configure", func() (err error) {
		errs, err = c.apply(ctx, []byte(block))
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
	var object map[string]json.RawMessage
	readsItself := reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
	var errs []ConfigError
	if t.Kind() == reflect.Struct && !readsItself && json.Unmarshal(value, &object) == nil {
		for _, field := range reflect.VisibleFields(t) {
			name := jsonKey(field)
			part, given := object[name]
			if !given || name == "" {
				continue
			}
			if err := json.Unmarshal(part, reflect.New(field.Type).Interface()); err != nil {
				errs = append(errs, blame(field.Type, part, joinKey(key, name), err)...)
			}
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return []ConfigError{{Key: key, Message: describeJSONError(failure)}}
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
