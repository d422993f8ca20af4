package taskrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// TaskOptions say what a task is. What is given here wins over what a template file has.
type TaskOptions struct {
	// Template is a file with a whole TaskTemplate or TaskSpec: protobuf as flytekit's serialize writes it, or YAML or
	// JSON in protobuf's JSON form. Empty: the template is made of the other options.
	Template string
	// Type and Version are the task category. A type is needed where there is no template.
	Type    string
	Version int32
	// Name is the task's name; default: the type.
	Name string
	// SQL is the statement of an SQL task.
	SQL string
	// Custom are key=value or @file.json for the template's custom field; a value is JSON, or else a text.
	Custom []string
	// Config are key=value for the template's config field, a map of texts.
	Config []string
	// Inputs are name=value, see InputHelp; InputsFile is a file of them.
	Inputs     []string
	InputsFile string
	// Outputs are name:TYPE, and declare what the task is asked to give.
	Outputs []string
	// Project and Domain are those of the execution.
	Project, Domain string
}

// Task is a task with its inputs, ready to run.
type Task struct {
	Template *core.TaskTemplate
	Inputs   *core.LiteralMap
}

// NewTask builds a task, or says which option or file makes no sense.
func NewTask(options TaskOptions) (*Task, error) {
	template := &core.TaskTemplate{}
	if options.Template != "" {
		var err error
		if template, err = readTemplate(options.Template); err != nil {
			return nil, err
		}
	}
	if options.Type != "" {
		template.Type = options.Type
	}
	if template.GetType() == "" {
		return nil, errors.New("which task? Give its type with --type, or a template with --template")
	}
	if options.Version != 0 {
		template.TaskTypeVersion = options.Version
	}
	if options.SQL != "" {
		template.Target = &core.TaskTemplate_Sql{Sql: &core.Sql{Statement: options.SQL, Dialect: core.Sql_ANSI}}
	}
	if err := addCustom(template, options.Custom); err != nil {
		return nil, err
	}
	if err := addConfig(template, options.Config); err != nil {
		return nil, err
	}
	complete(template, options)

	given := newInputs(template.GetInterface().GetInputs())
	if options.InputsFile != "" {
		if err := given.addFile(options.InputsFile); err != nil {
			return nil, err
		}
	}
	for _, argument := range options.Inputs {
		if err := given.add(argument); err != nil {
			return nil, err
		}
	}
	if missing, err := given.missing(); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, fmt.Errorf("the task needs the inputs %s, of which these are missing: %s; give each with --input name=value",
			describeInputs(given.declared), strings.Join(missing, ", "))
	}
	if err := declare(template, given, options.Outputs); err != nil {
		return nil, err
	}
	return &Task{Template: template, Inputs: &core.LiteralMap{Literals: given.values}}, nil
}

// complete fills in what every template has and a hand-made one does not say.
func complete(template *core.TaskTemplate, options TaskOptions) {
	if template.Id == nil {
		template.Id = &core.Identifier{ResourceType: core.ResourceType_TASK, Version: "v1"}
	}
	id := template.GetId()
	for _, f := range []struct {
		field        *string
		given, usual string
	}{
		{&id.Project, options.Project, "flytesnacks"},
		{&id.Domain, options.Domain, "development"},
		{&id.Name, options.Name, template.GetType()},
	} {
		if f.given != "" {
			*f.field = f.given
		}
		if *f.field == "" {
			*f.field = f.usual
		}
	}
	if template.Metadata == nil {
		template.Metadata = &core.TaskMetadata{Runtime: &core.RuntimeMetadata{Type: core.RuntimeMetadata_OTHER, Flavor: "agenthost"}}
	}
	if template.Custom == nil { // Flyte always sends one
		template.Custom = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
}

// declare writes the interface: an agent reads from it which inputs there are and which outputs are wanted.
func declare(template *core.TaskTemplate, given *inputs, outputs []string) error {
	if template.Interface == nil {
		template.Interface = &core.TypedInterface{}
	}
	if template.Interface.Inputs == nil {
		template.Interface.Inputs = &core.VariableMap{Variables: map[string]*core.Variable{}}
		for name, t := range given.types {
			template.Interface.Inputs.Variables[name] = &core.Variable{Type: t}
		}
	}
	if template.Interface.Outputs == nil {
		template.Interface.Outputs = &core.VariableMap{}
	}
	if template.Interface.Outputs.Variables == nil {
		template.Interface.Outputs.Variables = map[string]*core.Variable{}
	}
	for _, output := range outputs {
		name, typeName, ok := strings.Cut(output, ":")
		if !ok || name == "" {
			return fmt.Errorf("output %q: expected name:TYPE, such as rows:dataset or count:int", output)
		}
		t, err := ParseType(typeName)
		if err != nil {
			return fmt.Errorf("output %s: %w", name, err)
		}
		template.Interface.Outputs.Variables[name] = &core.Variable{Type: t}
	}
	return nil
}

func addCustom(template *core.TaskTemplate, arguments []string) error {
	for _, argument := range arguments {
		fields := map[string]any{}
		if file, isFile := strings.CutPrefix(argument, "@"); isFile {
			content, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("custom: %w", err)
			}
			read, err := readJSON(string(content))
			if err != nil {
				return fmt.Errorf("custom: %s is not a JSON object: %w", file, err)
			}
			object, isObject := read.(map[string]any)
			if !isObject {
				return fmt.Errorf("custom: %s is not a JSON object", file)
			}
			fields = object
		} else {
			key, value, ok := strings.Cut(argument, "=")
			if !ok || key == "" {
				return fmt.Errorf("custom %q: expected key=value or @file.json", argument)
			}
			fields[key] = guess(value)
		}
		if err := fitsStruct(fields); err != nil {
			return fmt.Errorf("custom %q: %w", argument, err)
		}
		custom, err := structpb.NewStruct(fields)
		if err != nil {
			return fmt.Errorf("custom %q: %w", argument, err)
		}
		if template.Custom == nil {
			template.Custom = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		}
		proto.Merge(template.Custom, custom)
	}
	return nil
}

func addConfig(template *core.TaskTemplate, arguments []string) error {
	for _, argument := range arguments {
		key, value, ok := strings.Cut(argument, "=")
		if !ok || key == "" {
			return fmt.Errorf("task config %q: expected key=value", argument)
		}
		if template.Config == nil {
			template.Config = map[string]string{}
		}
		template.Config[key] = value
	}
	return nil
}

// readTemplate reads a template from a file.
func readTemplate(path string) (*core.TaskTemplate, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	var template *core.TaskTemplate
	switch strings.ToLower(filepath.Ext(path)) {
	case ".json", ".yaml", ".yml":
		template, err = textTemplate(content)
	default:
		template, err = binaryTemplate(content)
	}
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", path, err)
	}
	return template, nil
}

// textTemplate reads protobuf's JSON form, which YAML is only another spelling of.
func textTemplate(content []byte) (*core.TaskTemplate, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	if _, isSpec := tree["template"]; isSpec {
		var spec admin.TaskSpec
		if err := protojson.Unmarshal(text, &spec); err != nil {
			return nil, fmt.Errorf("not a TaskSpec in protobuf's JSON form: %w", err)
		}
		return spec.GetTemplate(), nil
	}
	var template core.TaskTemplate
	if err := protojson.Unmarshal(text, &template); err != nil {
		return nil, fmt.Errorf("not a TaskTemplate in protobuf's JSON form: %w", err)
	}
	return &template, nil
}

// binaryTemplate tells a TaskSpec from a TaskTemplate. Nothing in the bytes names the message, and each can be read as
// the other; but then what stands in field 1 does not fit: an id has no nested template, a template no number there.
func binaryTemplate(content []byte) (*core.TaskTemplate, error) {
	var spec admin.TaskSpec
	if err := proto.Unmarshal(content, &spec); err == nil && sound(spec.GetTemplate()) {
		return spec.GetTemplate(), nil
	}
	var template core.TaskTemplate
	if err := proto.Unmarshal(content, &template); err == nil && sound(&template) {
		return &template, nil
	}
	return nil, errors.New("neither a TaskSpec nor a TaskTemplate in protobuf's binary form; a YAML or JSON template needs the extension .yaml or .json")
}

func sound(template *core.TaskTemplate) bool {
	return template.GetType() != "" && template.GetId() != nil && len(template.GetId().ProtoReflect().GetUnknown()) == 0 &&
		template.GetId().GetName() != "" && template.GetId().GetResourceType() == core.ResourceType_TASK
}

// fitsStruct refuses numbers that a protobuf Struct, whose only numbers are floats, would change.
func fitsStruct(value any) error {
	var err error
	switch v := value.(type) {
	case int64:
		if float := float64(v); float >= math.MaxInt64 || int64(float) != v {
			err = fmt.Errorf("a custom part cannot hold %d exactly, give it as text", v)
		}
	case uint64:
		if float := float64(v); float >= math.MaxUint64 || uint64(float) != v {
			err = fmt.Errorf("a custom part cannot hold %d exactly, give it as text", v)
		}
	case []any:
		for i := range v {
			err = errors.Join(err, fitsStruct(v[i]))
		}
	case map[string]any:
		for _, key := range sorted(v) {
			err = errors.Join(err, fitsStruct(v[key]))
		}
	}
	return err
}
