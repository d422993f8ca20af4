package agent_test

import (
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

var update = flag.Bool("update", false, "write types.tsv anew")

// The table of types: whatever a task's inputs are, the run is submitted the same, since its code reads inputs.pb and writes
// outputs.pb itself. What the plugin itself hands on are the values of the template.
func TestTypes(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	workspace.Live("types", fakejobs.Success())
	submitted := func(change agenttest.Task) map[string]any {
		t.Helper()
		job := create(t, client, change)
		body := maps.Clone(workspace.Submitted()[runOf(t, job)])
		delete(body, "idempotency_token")
		if result := get(t, job); result.Phase != sdk.PhaseSucceeded || result.Resource.GetOutputs() != nil {
			t.Errorf("%s with %v: %s", result.Phase, result.Resource.GetOutputs(), result.Message)
		}
		return body
	}
	const byItself = "not by the plugin: the run's code reads inputs.pb and writes outputs.pb"
	plain := submitted(task("types", nil))
	var cells []string
	for name, value := range map[string]any{
		"int": int64(1<<53 + 1), "float": math.NaN(), "str": "ü\x00", "bool": true, "datetime": time.Date(9999, 12, 31, 0, 0, 0, 1, time.UTC),
		"timedelta": time.Nanosecond, "bytes": []byte{0, 255}, "None": nil, "list[int]": []any{1, 2}, "dict": map[string]any{"k": 1.5},
		"file": sdk.File{URI: "s3://b/f"}, "directory": sdk.Directory{URI: "s3://b/d"}, "dataset": sdk.StructuredDataset{URI: "s3://b/t"},
		"a value that Flyte has put into storage": &core.Literal{Value: &core.Literal_OffloadedMetadata{
			OffloadedMetadata: &core.LiteralOffloadedMetadata{Uri: "s3://b/o.pb"}}},
	} {
		given := task("types", nil)
		given.Inputs = map[string]any{"x": value}
		if diff := cmp.Diff(plain, submitted(given)); diff != "" {
			t.Errorf("an input that is %s changes the run: %s", name, diff)
		}
		for direction, position := range map[string]string{"in": "named parameter", "out": "scalar"} {
			if direction == "out" && strings.HasPrefix(name, "a value that") {
				continue // Flyte itself puts outputs there
			}
			cells = append(cells, strings.Join([]string{direction, name, "inputs.pb, outputs.pb", position, "exact", byItself}, "\t"))
		}
	}
	for _, c := range []struct {
		name, engine string
		values       []any
		want         []string
	}{
		{"int", "number", []any{2, 1<<53 - 1, 1 << 53}, []string{"2", "9007199254740991", ""}},
		{"float", "number", []any{0.1, -5e-324}, []string{"0.1", "-5e-324"}},
		{"str", "string", []any{"ü\x00", "01"}, []string{`"ü\u0000"`, `"01"`}},
		{"bool", "boolean", []any{true}, []string{"true"}},
		{"None", "null", []any{nil}, []string{"null"}},
		{"list", "array", []any{[]any{1, "a"}}, []string{`[1,"a"]`}},
		{"dict", "object", []any{map[string]any{"k": 1.5}}, []string{`{"k":1.5}`}},
	} {
		outcome, notes := "refused", []string{}
		for i, value := range c.values {
			made := task("types", map[string]any{"notebookPath": "/n", "notebookBaseParameters": map[string]any{"extra": value}})
			if c.want[i] == "" {
				result := get(t, create(t, client, made))
				if result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "notebookBaseParameters.extra is 9007199254740992") {
					t.Errorf("%v: %s: %s", value, result.Phase, result.Message)
				}
				notes = append(notes, "whole numbers from 2^53 on: a template keeps whole numbers below 2^53 and rounds larger ones")
				continue
			}
			outcome = "exact"
			create(t, client, made)
			requests := workspace.Requests()
			var body struct {
				Task struct {
					Parameters map[string]json.RawMessage `json:"base_parameters"`
				} `json:"notebook_task"`
			}
			for _, request := range requests {
				if strings.HasSuffix(request.Path, "/submit") {
					if err := json.Unmarshal(request.Body, &body); err != nil {
						t.Fatal(err)
					}
				}
			}
			if text := string(body.Task.Parameters["extra"]); text != c.want[i] {
				t.Errorf("%v is submitted as %s, want %s", value, text, c.want[i])
			}
		}
		cells = append(cells, strings.Join([]string{"in", c.name, "JSON " + c.engine, "template value", outcome, strings.Join(notes, "; ")}, "\t"))
	}
	holdTypes(t, "../types.tsv", cells)
}

// holdTypes compares the cells with the file, which -update writes.
func holdTypes(t *testing.T, file string, cells []string) {
	t.Helper()
	slices.Sort(cells)
	text := "direction\tflyte\tengine\tposition\toutcome\tnote\n" + strings.Join(cells, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(held), text); diff != "" {
		t.Errorf("%s is not what happens (-update writes it): %s", file, diff)
	}
}
