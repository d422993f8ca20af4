package chart

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the README's table of values anew")

// value is one documented value of the chart.
type value struct {
	key, comment string
	def          *yaml.Node
}

// documented are the values that have a comment in values.yaml, in its order. What is in a value with a comment belongs to it.
func documented(t *testing.T) []value {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartFolder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file yaml.Node
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var all []value
	var walk func(prefix string, mapping *yaml.Node)
	walk = func(prefix string, mapping *yaml.Node) {
		for i := 0; i < len(mapping.Content); i += 2 {
			key, def := mapping.Content[i], mapping.Content[i+1]
			name := prefix + key.Value
			_, comment, found := strings.Cut("\n"+key.HeadComment, "\n# -- ")
			switch {
			case found:
				all = append(all, value{key: name, comment: strings.ReplaceAll(comment, "\n# ", " "), def: def})
			case def.Kind == yaml.MappingNode && len(def.Content) > 0:
				walk(name+".", def)
			default:
				t.Errorf("values.yaml:%d: %s has no comment that begins with `# -- `", key.Line, name)
			}
		}
	}
	walk("", file.Content[0])
	return all
}

func TestTheReadmeHasEveryValue(t *testing.T) {
	const begin, end = "<!-- values: of values.yaml, by GOWORK=off go -C test/chart test -update -->\n", "<!-- values end -->\n"
	path := filepath.Join(chartFolder, "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := bytes.Cut(readme, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !found || !ended {
		t.Fatalf("README.md has no lines %q and %q", begin, end)
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(begin + "| value | default | |\n|---|---|---|\n")
	for _, v := range documented(t) {
		var def any
		if err := v.def.Decode(&def); err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(def)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("`%s`", shown)
		if len(shown) > 60 {
			text = "see values.yaml"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", v.key, text, strings.ReplaceAll(v.comment, "|", `\|`))
	}
	out.WriteString(end)
	out.Write(after)
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(readme, out.Bytes()) {
		t.Errorf("%s is out of date: GOWORK=off go -C test/chart test -run '^%s$' -update", path, t.Name())
	}
}

// A value that the schema does not know would be refused, and one that values.yaml does not have is not documented.
func TestTheSchemaAndTheValuesNameTheSame(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	wholes := map[string]bool{}
	for _, v := range documented(t) {
		wholes[v.key] = true
	}
	var schema map[string]any
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var walk func(prefix string, in map[string]any)
	walk = func(prefix string, in map[string]any) {
		properties, _ := in["properties"].(map[string]any)
		for key, below := range properties {
			if below, isObject := below.(map[string]any); isObject && below["properties"] != nil && !wholes[prefix+key] {
				walk(prefix+key+".", below)
				continue
			}
			known[prefix+key] = true
		}
	}
	walk("", schema)
	delete(known, "global") // Helm's own
	for _, v := range documented(t) {
		if !known[v.key] {
			t.Errorf("values.schema.json does not know %s", v.key)
		}
		delete(known, v.key)
	}
	for key := range known {
		t.Errorf("values.yaml does not have %s", key)
	}
}

func TestAnUnknownValueIsRefusedByName(t *testing.T) {
	for _, v := range documented(t) {
		parent, key := "", v.key
		if i := strings.LastIndexByte(v.key, '.'); i >= 0 {
			parent, key = v.key[:i], v.key[i+1:]
		}
		wrong := map[string]any{key + "x": 1}
		if parent != "" {
			for _, name := range reversed(strings.Split(parent, ".")) {
				wrong = map[string]any{name: wrong}
			}
		}
		values, err := sigsyaml.Marshal(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (rendering{values: string(values)}).render(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("additional properties '%sx' not allowed", key)) {
			t.Errorf("%sx: %v", v.key, err)
		}
	}
}

func reversed(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[len(names)-1-i] = name
	}
	return out
}
