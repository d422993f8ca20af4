package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

func taskWith(t *testing.T, inputs map[string]any) *agent.Task {
	t.Helper()
	encoded, err := literal.EncodeMap(inputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &agent.Task{Inputs: encoded, Template: &core.TaskTemplate{Type: "query"}}
}

func TestInputsAreReadAsTheTypeThatTheAgentAsksFor(t *testing.T) {
	task := taskWith(t, map[string]any{
		"n": 3, "when": time.Unix(1, 0).UTC(), "rows": []int{1, 2}, "none": nil,
		"table": agent.StructuredDataset{URI: "s3://b/t", Format: "parquet"}, "config": map[string]any{"steps": 2},
	})
	if n, err := agent.Input[int](task, "n"); err != nil || n != 3 {
		t.Errorf("n = %d, %v", n, err)
	}
	if rows, err := agent.Input[[]float64](task, "rows"); err != nil || len(rows) != 2 || rows[1] != 2 {
		t.Errorf("rows = %v, %v", rows, err)
	}
	if table, err := agent.Input[agent.StructuredDataset](task, "table"); err != nil || table.URI != "s3://b/t" {
		t.Errorf("table = %v, %v", table, err)
	}
	if config, err := agent.Input[struct{ Steps int }](task, "config"); err != nil || config.Steps != 2 {
		t.Errorf("config = %v, %v", config, err)
	}
	if none, err := agent.Input[*string](task, "none"); err != nil || none != nil {
		t.Errorf("none = %v, %v", none, err)
	}
	if absent, err := agent.Input[*string](task, "absent"); err != nil || absent != nil {
		t.Errorf("absent = %v, %v", absent, err)
	}
	if value, err := agent.InputOr(task, "none", "default"); err != nil || value != "default" {
		t.Errorf("none or default = %v, %v", value, err)
	}
	if value, err := agent.InputOr(task, "n", 9); err != nil || value != 3 {
		t.Errorf("n or 9 = %v, %v", value, err)
	}
	if !task.HasInput("n") || task.HasInput("none") || task.HasInput("absent") {
		t.Error("HasInput is wrong about n, none or absent")
	}
	optional, err := agent.Encode(nil, literal.Optional(literal.Simple(core.SimpleType_FLOAT)))
	if err != nil {
		t.Fatal(err)
	}
	if taskWith(t, map[string]any{"optional": optional}).HasInput("optional") {
		t.Error("HasInput takes the None of an optional input for a value")
	}
	values, err := task.InputValues()
	if err != nil || len(values) != 6 || values["n"] != int64(3) || values["none"] != nil {
		t.Errorf("values = %v, %v", values, err)
	}
}

func TestAWrongInputIsAnInvalidArgumentThatNamesItAndTheTypes(t *testing.T) {
	task := taskWith(t, map[string]any{"n": "three", "rows": []any{1, "two"}})
	_, err := agent.Input[int](task, "n")
	wantStatus(t, err, codes.InvalidArgument, "input n: a string cannot be read as int")
	_, err = agent.Input[[]int](task, "rows")
	wantStatus(t, err, codes.InvalidArgument, "input rows[1]: a string cannot be read as int")
	_, err = agent.Input[int](task, "limit")
	wantStatus(t, err, codes.InvalidArgument, `input "limit" is missing: the task's inputs are n, rows`)
	_, err = agent.InputOr(task, "n", 5)
	wantStatus(t, err, codes.InvalidArgument, "input n")
	_, err = agent.Input[int](taskWith(t, nil), "n")
	wantStatus(t, err, codes.InvalidArgument, "the task has no inputs")
	offloaded := taskWith(t, map[string]any{"big": &core.Literal{Value: &core.Literal_OffloadedMetadata{
		OffloadedMetadata: &core.LiteralOffloadedMetadata{Uri: "s3://b/big", SizeBytes: 5},
	}}})
	_, err = agent.Input[string](offloaded, "big")
	wantStatus(t, err, codes.InvalidArgument, "input big: Flyte has put the value", "s3://b/big")
	_, err = offloaded.InputValues()
	wantStatus(t, err, codes.InvalidArgument, "input big")
}

func TestDecodeInputsFillsAStruct(t *testing.T) {
	type common struct{ Region string }
	var inputs struct {
		common
		Name       string
		MaxRows    int
		DatasetURI string `input:"uri"`
		Limit      *int
		Mode       string `input:"mode,optional"`
		Ignored    string `input:"-"`
		private    string // Left alone.
	}
	inputs.Mode, inputs.Ignored = "fast", "kept"
	task := taskWith(t, map[string]any{"name": "a", "max_rows": 5, "uri": "u", "region": "eu", "mode": nil, "extra": 1, "ignored": "no"})
	if err := task.DecodeInputs(&inputs); err != nil {
		t.Fatal(err)
	}
	if inputs.Name != "a" || inputs.MaxRows != 5 || inputs.DatasetURI != "u" || inputs.Limit != nil || inputs.Mode != "fast" ||
		inputs.Region != "eu" || inputs.Ignored != "kept" {
		t.Errorf("inputs = %+v", inputs)
	}
}

func TestDecodeInputsReportsEveryWrongInputAtOnce(t *testing.T) {
	var inputs struct {
		Name    string
		MaxRows int
		HTTPUrl string
	}
	err := taskWith(t, map[string]any{"max_rows": "x"}).DecodeInputs(&inputs)
	wantStatus(t, err, codes.InvalidArgument, `input "name" is missing`, "input max_rows: a string", `input "http_url" is missing`)
	if err := taskWith(t, nil).DecodeInputs(inputs); err == nil || !strings.Contains(err.Error(), "pointer to a struct") {
		t.Errorf("error = %v", err)
	}
}
