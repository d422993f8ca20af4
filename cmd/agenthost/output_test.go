package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestYAMLIsTheJSONInAnotherNotation(t *testing.T) {
	value := struct {
		Zone  string         `json:"zone"`
		Count int            `json:"count"`
		Empty []string       `json:"empty"`
		Rows  []any          `json:"rows"`
		Text  string         `json:"text"`
		More  map[string]any `json:"more"`
	}{"no", 3, []string{}, []any{"1", 1.5, nil, true, map[string]any{"a": 1, "b": "x: y"}}, "two\nlines\n", map[string]any{}}
	const want = `zone: "no"
count: 3
empty: []
rows:
  - "1"
  - 1.5
  - null
  - true
  - a: 1
    b: 'x: y'
text: |
  two
  lines
more: {}
`
	var got bytes.Buffer
	if err := printData(&got, outputYAML, value); err != nil || got.String() != want {
		t.Errorf("%v, got:\n%s", err, got.String())
	}
}

// values are those that JSON has.
func values() *rapid.Generator[any] {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "yes", "no", "on", "~", "null", "1", "1e3", "0x1", "12:30", "2026-11-23", "<<", "a\nb", " a ", "- a", "#", "\u2028", "\t", "\x00"}))
	scalar := rapid.OneOf(rapid.Map(text, func(s string) any { return s }), rapid.Map(rapid.Float64Range(-1e300, 1e300), func(f float64) any { return f }),
		rapid.SampledFrom([]any{nil, true, false, 0.0, 1e21, 123456789.0}))
	return rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(scalar, 0, 4), func(list []any) any { return list }),
		rapid.Map(rapid.MapOfN(text, scalar, 0, 4), func(object map[string]any) any { return object }))
}

func TestEveryResultIsReadFromYAMLAsFromJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := map[string]any{"value": values().Draw(t, "value"), "list": []any{values().Draw(t, "element")}}
		var asJSON, asYAML bytes.Buffer
		if err := printData(&asJSON, outputJSON, value); err != nil {
			t.Fatal(err)
		}
		if err := printData(&asYAML, outputYAML, value); err != nil {
			t.Fatal(err)
		}
		var fromJSON, fromYAML any
		if err := json.Unmarshal(asJSON.Bytes(), &fromJSON); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(asYAML.Bytes(), &fromYAML); err != nil {
			t.Fatalf("%v in:\n%s", err, asYAML.String())
		}
		again, err := json.Marshal(fromYAML) // numbers of one type
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &fromYAML); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
			t.Fatalf("%s\nin:\n%s", diff, asYAML.String())
		}
	})
}

// Every command with a result has -o, --output with JSON and YAML among its forms.
func TestEveryCommandHasTheSameForms(t *testing.T) {
	var visit func(cmd *cobra.Command)
	checked := 0
	visit = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			visit(child)
		}
		flag := cmd.Flags().Lookup("output")
		if flag == nil {
			return
		}
		checked++
		forms, _, _ := strings.Cut(flag.Usage, ": ")
		_, said, _ := strings.Cut(flag.Usage, ": ")
		if flag.Shorthand != "o" || forms != "`form` of the result" || !strings.Contains(said, "json") || !strings.Contains(said, "yaml") {
			t.Errorf("%s: -%s, --output: %s", cmd.CommandPath(), flag.Shorthand, flag.Usage)
		}
	}
	visit(newRootCommand())
	if checked < 8 {
		t.Errorf("%d commands have --output", checked)
	}
}

func TestResultsCanBeHadAsYAML(t *testing.T) {
	for line, want := range map[string]string{
		"version -o yaml":       "version: ",
		"schema -o yaml":        "$schema: https://json-schema.org/draft/2020-12/schema\n",
		"verify --list -o yaml": "- name: ",
		"check -o yaml --config " + writeFile(t, "host.yaml", "listne: {}\n"): "ok: false\n",
	} {
		got := agenthost(t, strings.Fields(line)...)
		var value any
		if err := yaml.Unmarshal([]byte(got.stdout), &value); err != nil || !strings.HasPrefix(got.stdout, want) {
			t.Errorf("%s: %v, want %q first in:\n%s", line, err, want, got.stdout)
		}
	}
}
