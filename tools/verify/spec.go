package verify

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/tools/taskrun"
)

// Subject is what is verified: a plugin's command, and what it is given.
type Subject struct {
	// Build is a shell command that makes the program. Run does not look at it; see Builder.
	Build string `yaml:"build"`
	// Service is the program, and its arguments, that the tasks need beside the plugin, such as a server that they are about. It runs from
	// before the plugin's first start until after its last end, in Dir, with this process's environment and a TMPDIR of its own; what it
	// takes calls at is 127.0.0.1:${PORT}. Empty: none.
	Service []string `yaml:"service"`
	// Command is the program and its arguments. A relative program with a slash is relative to Dir.
	Command []string `yaml:"command"`
	// Env is added to the few variables that every plugin gets.
	Env map[string]string `yaml:"env"`
	// InheritEnv names variables of this process's environment that the plugin gets too.
	InheritEnv []string `yaml:"inherit_env"`
	// Secrets maps names to where they are read, file:///path or env:NAME for example, as in the host's configuration.
	Secrets map[string]string `yaml:"secrets"`
	// Config is the plugin's `config:` block: one that it must accept.
	Config map[string]any `yaml:"config"`
	// TLS is "on" (where empty) or "off", as in the host's configuration.
	TLS string `yaml:"tls"`
	// StartTimeout bounds each start. Zero: 60s.
	StartTimeout Duration `yaml:"start_timeout"`
	// TaskTimeout bounds each sample task, as Options.TaskTimeout does.
	TaskTimeout Duration `yaml:"task_timeout"`
	// Tasks are tasks that the plugin must be able to run. Without them, what only a task can show is skipped.
	Tasks []Task `yaml:"tasks"`

	// Dir is the working directory of the plugin.
	Dir string `yaml:"-"`
}

// Task is a sample task: what `agenthost task run` takes as flags, and how it must end.
type Task struct {
	// Name is what reports call it; default: its type.
	Name string `yaml:"name"`
	// Template is a file with a TaskTemplate or TaskSpec.
	Template string `yaml:"template"`
	Type     string `yaml:"type"`
	Version  int32  `yaml:"version"`
	SQL      string `yaml:"sql"`
	// Custom and Config are the template's fields of these names.
	Custom map[string]any    `yaml:"custom"`
	Config map[string]string `yaml:"config"`
	// Inputs are values by `name` or `name:type`.
	Inputs map[string]any `yaml:"inputs"`
	// Outputs are the types of the wanted outputs by name.
	Outputs map[string]string `yaml:"outputs"`
	// Expect says how the task must end; default: SUCCEEDED.
	Expect Expectation `yaml:"expect"`
}

// Expectation is how a task must end.
type Expectation struct {
	// Phase is a terminal phase such as FAILED; default: SUCCEEDED.
	Phase string `yaml:"phase"`
	// Outputs are values that outputs must have; outputs that are not named may have any.
	Outputs map[string]any `yaml:"outputs"`
}

// Duration is written as 90s or 1m30s.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// MarshalText writes a duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ReadSpec reads a verify.yaml. ${DIR} in its values is the folder of the file, which is also the plugin's working
// directory; ${WORK} and ${PORT} are left for Run, which makes that directory and finds that port.
func ReadSpec(path string) (*Subject, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	subject := &Subject{Dir: dir}
	if err := readYAML(path, map[string]string{"${DIR}": dir}, subject); err != nil {
		return nil, err
	}
	if len(subject.Command) == 0 {
		return nil, fmt.Errorf("%s: command: is missing: the program that is the plugin, and its arguments", path)
	}
	for i := range subject.Tasks {
		if file := subject.Tasks[i].Template; file != "" && !filepath.IsAbs(file) {
			subject.Tasks[i].Template = filepath.Join(dir, file)
		}
	}
	return subject, nil
}

// ReadTask reads a file with one sample task: either as in a verify.yaml, or a bare template as `agenthost task run`
// takes it.
func ReadTask(path string) (Task, error) {
	bare := Task{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Template: path}
	if !slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path))) {
		return bare, nil
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Task{}, err
	}
	task := Task{Name: bare.Name}
	if err := readYAML(path, map[string]string{"${DIR}": dir}, &task); err != nil {
		if _, bareErr := taskrun.NewTask(taskrun.TaskOptions{Template: path}); errors.Is(bareErr, os.ErrNotExist) || looksLikeTask(path) {
			return Task{}, err
		}
		return bare, nil // a template, whose own errors are told where it is read
	}
	if task.Template != "" && !filepath.IsAbs(task.Template) {
		task.Template = filepath.Join(dir, task.Template)
	}
	return task, nil
}

// looksLikeTask says that a file has keys that only a sample task has, so that its errors are those of one.
func looksLikeTask(path string) bool {
	var keys map[string]any
	content, err := os.ReadFile(path)
	if err != nil || yaml.Unmarshal(content, &keys) != nil {
		return false
	}
	for _, key := range []string{"inputs", "outputs", "expect", "name"} {
		if _, ok := keys[key]; ok {
			return true
		}
	}
	return false
}

// readYAML reads a file strictly: a key that is not known is an error.
func readYAML(path string, names map[string]string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(content, &root); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	expand(&root, names)
	expanded, err := yaml.Marshal(&root)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(expanded))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func expand(node *yaml.Node, names map[string]string) {
	for name, value := range names {
		if node.Value == name {
			node.Tag = "" // a port alone is a number, as if it were written there
		}
		node.Value = strings.ReplaceAll(node.Value, name, value)
	}
	for _, child := range node.Content {
		expand(child, names)
	}
}

// within is the subject with ${WORK} replaced by a directory, and ${PORT} by a port.
func (s Subject) within(work, port string) (Subject, error) {
	encoded, err := yaml.Marshal(s)
	if err != nil {
		return s, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(encoded, &root); err != nil {
		return s, err
	}
	expand(&root, map[string]string{"${WORK}": work, "${PORT}": port})
	replaced := Subject{Dir: s.Dir}
	return replaced, root.Decode(&replaced)
}

func (s Subject) startTimeout() time.Duration {
	return cmp.Or(time.Duration(s.StartTimeout), config.DefaultStartTimeout)
}

// options are the task as `agenthost task run` has it.
func (t Task) options() (taskrun.TaskOptions, error) {
	options := taskrun.TaskOptions{Template: t.Template, Type: t.Type, Version: t.Version, Name: t.Name, SQL: t.SQL}
	for _, name := range sortedKeys(t.Custom) {
		value, err := json.Marshal(t.Custom[name])
		if err != nil {
			return options, fmt.Errorf("custom: %s: %w", name, err)
		}
		options.Custom = append(options.Custom, name+"="+string(value))
	}
	for _, name := range sortedKeys(t.Config) {
		options.Config = append(options.Config, name+"="+t.Config[name])
	}
	for _, name := range sortedKeys(t.Inputs) {
		value, isText := t.Inputs[name].(string)
		if !isText {
			encoded, err := json.Marshal(t.Inputs[name])
			if err != nil {
				return options, fmt.Errorf("inputs: %s: %w", name, err)
			}
			value = string(encoded)
		} else if t.Template == "" && !strings.Contains(name, ":") {
			name += ":str" // what YAML calls a text is not guessed at
		}
		options.Inputs = append(options.Inputs, name+"="+value)
	}
	for _, name := range sortedKeys(t.Outputs) {
		options.Outputs = append(options.Outputs, name+":"+t.Outputs[name])
	}
	return options, nil
}
