package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("agenthost.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("agenthost.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate checks a YAML text against the schema, by way of JSON, as an editor would.
func validate(schema *jsonschema.Schema, content []byte) error {
	var tree any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return err
	}
	if tree == nil {
		tree = map[string]any{} // an empty file
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(document)
}

func TestTheShippedConfigurationsLoadAndFitTheSchema(t *testing.T) {
	schema := compiled(t)
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		load(t, config.Sources{Files: []string{file}})
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(schema, content); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// example finds the lines of a comment that are a part of the file once the comment's sign is taken away.
var example = regexp.MustCompile(`(?m)^( *)# ( *(?:[a-z0-9_/.-]+:(?: .*)?|- \{.*))$`)

func TestTheExamplesInTheCommentsOfTheShippedConfigurationsLoad(t *testing.T) {
	for name, plugins := range map[string]int{"production.yaml": 4, "kubernetes.yaml": 10} {
		content, err := os.ReadFile("../../configs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		file := write(t, name, example.ReplaceAllString(string(content), "$1$2"))
		if got := load(t, config.Sources{Files: []string{file}}); len(got.Plugins) != plugins || len(got.Routes) == 0 {
			t.Errorf("%s: got %d plugins and %d routes; are the examples still found?", name, len(got.Plugins), len(got.Routes))
		}
	}
}

func TestTheSchemaTakesEveryKey(t *testing.T) {
	if err := validate(compiled(t), []byte(everyKey)); err != nil {
		t.Error(err)
	}
}

// Mistakes that JSON Schema cannot see, by the names of their tests.
var beyondTheSchema = []string{
	"port too large", "bare IPv6 address", "one port for two listeners", "no time to start", "size too large", "size beyond numbers", "a record that Flyte cannot keep",
	"environment the contract needs", "secret with a host", "backoffs the wrong way round", "empty program",
	"zero byte in a key", "foreign tag", "two documents", "address with port 0", "address twice", "certificates without TLS",
	"certificate without key", "key without certificate", "route to nobody", "route without any plugin", "route twice", "routes that contradict",
	"route behind a wider one",
	"root as a plugin's user", "an empty range of users", "a user for two", "the run directory for writing", "the state directory for reading",
	"one port for the probe and another listener", "a socket with a long path", "a day that is none", "a day that is far away",
	"a task type twice", "a task type of two plugins",
	"a certificate without its key", "an authority without a certificate", "asking for certificates of nobody", "rules that allow nothing", "tokens without rules",
	"a rule for nobody", "no operation", "no project", "anyone and somebody", "a certificate that nobody is asked for", "an empty subject", "a subject of no issuer",
	"a subject of an unknown issuer", "a subject of any issuer", "an issuer twice", "tokens for nobody", "an unprotected issuer",
	"a program outside of its image", "a registry with a scheme", "an image of a registry that none is", "an image without a tag",
	"an image that its user cannot reach",
	"a share and steps", "a step back", "a step that does not wait", "an end of no steps", "less than as long",
}

func TestTheSchemaSeesTheMistakesThatASchemaCanSee(t *testing.T) {
	schema := compiled(t)
	var missed []string
	for _, test := range badFiles {
		if validate(schema, []byte(test.content)) == nil {
			missed = append(missed, test.name)
		}
	}
	for _, name := range missed {
		if !slices.Contains(beyondTheSchema, name) {
			t.Errorf("the schema takes %q", name)
		}
	}
}

// What an editor marks as wrong must not load, whatever the values: the schema promises no more than Load keeps.
func TestWhatTheSchemaRefusesLoadRefusesToo(t *testing.T) {
	schema := compiled(t)
	folder := t.TempDir()
	scalars := []any{
		"", "x", "0", "30s", "-1s", "0s", ".5s", "1h2m", "5 m", "12", "64MiB", "1 GB", "2 kB", "1kiB", "on", "off", "info", "json", "text",
		"127.0.0.1:80", ":1", "[::1]:99999", "a/b:1", "file:///x", "file://", "env:A", "env:1", "./x", strings.Repeat("aF", 32), "é", "a\nb",
		0, 1, -1, 1024, 1 << 40, 1.5, 1e300, true, false, nil,
		[]any{}, []any{"x"}, []any{"x", 1}, []any{""}, map[string]any{}, map[string]any{"A": "b"}, map[string]any{"a-b": 1},
	}
	keys := []string{"k", "A", "a-b", "A_B", "a.b", "/x/y.z", "", "ä", strings.Repeat("k", 200)}
	refused, taken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		tree := draw(t, reflect.TypeFor[config.Config](), scalars, keys)
		content, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		refusal := validate(schema, content)
		file := filepath.Join(folder, "host.json")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Sources{Files: []string{file}}); err == nil && refusal != nil {
			t.Fatalf("Load takes what the schema refuses\n%s\n%v", content, refusal)
		}
		if refusal != nil {
			refused++
		} else {
			taken++
		}
	})
	if refused == 0 || taken == 0 {
		t.Errorf("the examples were one-sided: the schema refused %d and took %d", refused, taken)
	}
}

// draw makes a configuration in which some keys are right, some wrong and most absent.
func draw(t *rapid.T, typ reflect.Type, scalars []any, keys []string) any {
	if rapid.IntRange(0, 11).Draw(t, "odd") == 0 {
		return rapid.SampledFrom(scalars).Draw(t, "scalar")
	}
	switch {
	case typ.Kind() == reflect.Struct:
		out := map[string]any{}
		key := rapid.SampledFrom([]string{"command", "command", "address"}).Draw(t, "kind")
		for f := range typ.Fields() {
			name := f.Tag.Get("koanf")
			if name != "" && (name == key || f.Tag.Get("required") != "" || rapid.IntRange(0, 9).Draw(t, name) == 0) {
				out[name] = draw(t, f.Type, scalars, keys)
			}
		}
		if rapid.IntRange(0, 19).Draw(t, "unknown") == 0 {
			out[rapid.SampledFrom(keys).Draw(t, "key")] = "x"
		}
		return out
	case typ.Kind() == reflect.Map:
		out := map[string]any{}
		for range rapid.IntRange(0, 2).Draw(t, "entries") {
			out[rapid.SampledFrom(keys).Draw(t, "key")] = draw(t, typ.Elem(), scalars, keys)
		}
		return out
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		return []any{draw(t, typ.Elem(), scalars, keys)}
	case typ.Kind() == reflect.Slice:
		return []any{"program", draw(t, typ.Elem(), scalars, keys)}
	}
	return rapid.SampledFrom(scalars).Draw(t, "scalar")
}

func TestTheSchemaDescribesEveryKey(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		properties, _ := s["properties"].(map[string]any)
		for name, property := range properties {
			p := property.(map[string]any)
			if p["description"] == nil || p["description"] == "" {
				t.Errorf("%s.%s has no description", path, name)
			}
			walk(path+"."+name, p)
		}
		if below, ok := s["additionalProperties"].(map[string]any); ok {
			walk(path+".<name>", below)
		}
		if len(properties) > 0 && s["additionalProperties"] != false {
			t.Errorf("%s takes unknown keys", path)
		}
	}
	walk("", schema)
}
