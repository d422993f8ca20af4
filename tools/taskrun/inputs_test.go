package taskrun

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

func newTask(t *testing.T, options TaskOptions) *Task {
	t.Helper()
	task, err := NewTask(options)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryTypeReadsBackAsItIsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"int": "int", "Integer": "int", "float": "float", "str": "str", "string": "str", "bool": "bool", "datetime": "datetime",
		"timedelta": "duration", "bytes": "bytes", "json": "json", "none": "none", "file": "file", "file[csv]": "file[csv]",
		"directory": "directory", "dataset": "dataset[parquet]", "dataset[csv]": "dataset[csv]", "list[int]": "list[int]",
		"dict[str,list[float]]": "dict[list[float]]", "dict[int]": "dict[int]", "optional[str]": "optional[str]", "list[ optional[int] ]": "list[optional[int]]",
	} {
		parsed, err := ParseType(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := TypeName(parsed); got != want {
			t.Errorf("%s came back as %s, want %s", text, got, want)
		}
		again, err := ParseType(TypeName(parsed))
		if diff := cmp.Diff(parsed, again, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"tabel": "unknown type", "list": "expected list[TYPE]", "list[int": "not closed", "list[]": "nothing is in", "int[3]": "unknown type", "list[nope]": `unknown type "nope"`, "": "unknown type",
	} {
		if _, err := ParseType(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestInputsAreReadByTheirTypeOrByWhatTheyLookLike(t *testing.T) {
	query := writeFile(t, "query.txt", []byte("select\n1\n"))
	here, err := filepath.Abs("flights.parquet")
	if err != nil {
		t.Fatal(err)
	}
	for argument, want := range map[string]struct {
		typeName string
		value    any
	}{
		"x=3":                       {"int", int64(3)},
		"x=-0.5":                    {"float", -0.5},
		"x=1e3":                     {"float", 1000.0},
		"x=true":                    {"bool", true},
		"x=hello":                   {"str", "hello"},
		"x=a=b":                     {"str", "a=b"},
		"x=":                        {"str", ""},
		"x=null":                    {"none", nil},
		`x="3"`:                     {"str", "3"},
		"x=[1, 2]":                  {"list[int]", []any{int64(1), int64(2)}},
		"x=[1, 2.5]":                {"list[float]", []any{1.0, 2.5}},
		"x:str=3":                   {"str", "3"},
		"x:float=3":                 {"float", 3.0},
		"x:list[str]=[\"1\"]":       {"list[str]", []any{"1"}},
		"x:dict[int]={\"a\": 1}":    {"dict[int]", map[string]any{"a": int64(1)}},
		"x:optional[int]=3":         {"optional[int]", int64(3)},
		"x:optional[int]=null":      {"optional[int]", nil},
		"x=@" + query:               {"str", "select\n1"},
		"x:dataset=s3://b/c":        {"dataset[parquet]", literal.StructuredDataset{URI: "s3://b/c", Format: "parquet"}},
		"x:dataset=flights.parquet": {"dataset[parquet]", literal.StructuredDataset{URI: here, Format: "parquet"}},
		"x:dataset=/a/b.csv":        {"dataset[parquet]", literal.StructuredDataset{URI: "/a/b.csv", Format: "csv"}},
		"x:file[csv]=/a/b":          {"file[csv]", literal.File{URI: "/a/b", Format: "csv"}},
		"x:directory=gs://a/b":      {"directory", literal.Directory{URI: "gs://a/b"}},
	} {
		t.Run(argument, func(t *testing.T) {
			task := newTask(t, TaskOptions{Type: "x", Inputs: []string{argument}})
			declared := task.Template.GetInterface().GetInputs().GetVariables()["x"].GetType()
			if got := TypeName(declared); got != want.typeName {
				t.Errorf("type %s, want %s", got, want.typeName)
			}
			got, err := literal.Decode[any](task.Inputs.GetLiterals()["x"])
			if diff := cmp.Diff(want.value, got, protocmp.Transform()); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestAnInputThatDoesNotFitItsTypeIsRefusedByName(t *testing.T) {
	for argument, want := range map[string]string{
		"x":                   "expected name=value",
		"=3":                  "expected name=value",
		"x:int=three":         `input x: expected a whole number (type int), got "three"`,
		"x:bool=maybe":        "expected true or false",
		"x:datetime=soon":     "expected a time such as 2024-01-31",
		"x:duration=5":        "expected a duration such as 90s",
		"x:bytes=***":         "expected base64",
		"x:list[int]=3":       "expected a JSON list",
		"x:list[int]=[\"a\"]": "input x: [0]: expected a whole number",
		"x:dict[int]=[]":      "expected a JSON object",
		"x:json={":            "expected JSON",
		"x:nope=1":            "unknown type",
		"x=@/nowhere":         "no such file",
	} {
		if _, err := NewTask(TaskOptions{Type: "x", Inputs: []string{argument}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", argument, err, want)
		}
	}
}

// declared is a template as flytekit would make it: with an id, an interface and a target.
func declared() *core.TaskTemplate {
	return &core.TaskTemplate{
		Id:   &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "p", Domain: "d", Name: "flights.top", Version: "v7"},
		Type: "duckdb_query",
		Interface: &core.TypedInterface{
			Inputs: &core.VariableMap{Variables: map[string]*core.Variable{
				"n":    {Type: literal.Simple(core.SimpleType_INTEGER)},
				"name": {Type: literal.Simple(core.SimpleType_STRING)},
				"or":   {Type: literal.Optional(literal.Simple(core.SimpleType_FLOAT))},
			}},
			Outputs: &core.VariableMap{Variables: map[string]*core.Variable{"o0": {Type: literal.Simple(core.SimpleType_INTEGER)}}},
		},
		Custom: &structpb.Struct{Fields: map[string]*structpb.Value{"kept": structpb.NewBoolValue(true)}},
		Target: &core.TaskTemplate_Sql{Sql: &core.Sql{Statement: "select 1"}},
	}
}

func TestATemplateIsReadInEachOfItsForms(t *testing.T) {
	spec := &admin.TaskSpec{Template: declared(), Description: &admin.DescriptionEntity{ShortDescription: "about flights"}}
	binary := func(m proto.Message) []byte {
		encoded, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	text := func(m proto.Message) []byte {
		encoded, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	for name, content := range map[string][]byte{
		"template.pb": binary(declared()), "spec.pb": binary(spec),
		"template.json": text(declared()), "spec.yaml": text(spec), // JSON is YAML
	} {
		task := newTask(t, TaskOptions{Template: writeFile(t, name, content), Inputs: []string{"n=3", "name=3"}})
		want := declared()
		want.Metadata = task.Template.GetMetadata()
		if diff := cmp.Diff(want, task.Template, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got, err := literal.Decode[string](task.Inputs.GetLiterals()["name"]); err != nil || got != "3" {
			t.Errorf("%s: the interface says that name is a text, got %v, %v", name, task.Inputs, err)
		}
		if task.Inputs.GetLiterals()["or"] == nil {
			t.Errorf("%s: an optional input that was left out is None, got %v", name, task.Inputs)
		}
	}
}

func TestFlagsWinOverTheTemplate(t *testing.T) {
	encoded, err := proto.Marshal(declared())
	if err != nil {
		t.Fatal(err)
	}
	task := newTask(t, TaskOptions{
		Template: writeFile(t, "t.pb", encoded), Type: "other", Version: 2, SQL: "select 2", Project: "q", Name: "mine",
		Custom: []string{"a=1", `b={"c": [true]}`, "text=hello", "@" + writeFile(t, "custom.json", []byte(`{"d": 2}`))},
		Config: []string{"account=x=y"}, Inputs: []string{"n=1", "name=a"}, Outputs: []string{"rows:dataset"},
	})
	got := task.Template
	if got.GetType() != "other" || got.GetTaskTypeVersion() != 2 || got.GetSql().GetStatement() != "select 2" || got.GetId().GetProject() != "q" ||
		got.GetId().GetDomain() != "d" || got.GetId().GetName() != "mine" || got.GetConfig()["account"] != "x=y" {
		t.Errorf("got %v", got)
	}
	want := map[string]any{"kept": true, "a": 1.0, "b": map[string]any{"c": []any{true}}, "text": "hello", "d": 2.0}
	if diff := cmp.Diff(want, got.GetCustom().AsMap()); diff != "" {
		t.Errorf("custom: %s", diff)
	}
	if outputs := got.GetInterface().GetOutputs().GetVariables(); len(outputs) != 2 || TypeName(outputs["rows"].GetType()) != "dataset[parquet]" {
		t.Errorf("outputs: %v", outputs)
	}
}

func TestATemplateThatIsNoneIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"a.pb": "\x00\x01garbage", "b.pb": "", "c.json": `{"tipe": "x"}`, "d.yaml": "- a\n", "e.json": `{"template": {"nope": 1}}`,
	} {
		path := writeFile(t, name, []byte(content))
		if _, err := NewTask(TaskOptions{Template: path}); err == nil || !strings.Contains(err.Error(), "template "+path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestInputsComeFromAFileToo(t *testing.T) {
	template, err := proto.Marshal(declared())
	if err != nil {
		t.Fatal(err)
	}
	literals, err := proto.Marshal(newTask(t, TaskOptions{Type: "x", Inputs: []string{"n=3", "name=abc"}}).Inputs)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"inputs.json": []byte(`{"n": 3, "name": "abc"}`), "inputs.pb": literals} {
		task := newTask(t, TaskOptions{Template: writeFile(t, "t.pb", template), InputsFile: writeFile(t, name, content)})
		n, err := literal.Decode[int64](task.Inputs.GetLiterals()["n"])
		text, err2 := literal.Decode[string](task.Inputs.GetLiterals()["name"])
		if err != nil || err2 != nil || n != 3 || text != "abc" {
			t.Errorf("%s: got %d %q, %v %v", name, n, text, err, err2)
		}
	}
	for content, want := range map[string]string{
		`{"m": 3}`:             "the task has no such input; it has n:int, name:str, or:",
		`{"n": "three"}`:       "expected a whole number",
		`{"n": 3}`:             "of which these are missing: name",
		`{"n": 3,}`:            "not valid JSON",
		"\x0a\xff\xff\xff\x7f": "neither a JSON object nor",
	} {
		_, err := NewTask(TaskOptions{Template: writeFile(t, "t.pb", template), InputsFile: writeFile(t, "inputs", []byte(content))})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", content, err, want)
		}
	}
}

func TestNumbersAreTakenExactlyOrRefused(t *testing.T) {
	for text, want := range map[string]any{"9007199254740993": int64(9007199254740993), "18446744073709551615": uint64(math.MaxUint64), "0.5": 0.5} {
		if got, err := readJSON(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{"a": 18446744073709551616}`, "[1e400]", "-9223372036854775809"} {
		if got, err := readJSON(text); err == nil {
			t.Errorf("%s: got %v", text, got)
		}
	}
	file := writeFile(t, "custom.json", []byte(`{"ids": [9007199254740993]}`))
	for _, custom := range []string{"id=9007199254740993", "@" + file} {
		if err := addCustom(&core.TaskTemplate{}, []string{custom}); err == nil || !strings.Contains(err.Error(), "9007199254740993 exactly") {
			t.Errorf("%s: got %v", custom, err)
		}
	}
}

func TestOutputsThatJSONCannotSayAreShown(t *testing.T) {
	dict, err := literal.Encode(map[any]any{1: "one", "1": []byte{0, 255}, "a": math.Inf(1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	literals := map[string]*core.Literal{
		"dict": dict,
		"nan":  literalOf(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: math.NaN()}}),
		"late": literalOf(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: &timestamppb.Timestamp{Seconds: 1 << 60}}}),
	}
	r := &Result{Phase: core.TaskExecution_SUCCEEDED, Outputs: &core.LiteralMap{Literals: literals}}
	var printed strings.Builder
	r.Print(&printed, 0)
	encoded, err := json.Marshal(r.Report(0))
	for _, shown := range []string{printed.String(), string(encoded)} {
		for _, wanted := range []string{`"NaN"`, "1152921504606846976", `"\"1\""`, `"AP8="`, `"1"`, `"one"`, `"+Inf"`} {
			if err != nil || !strings.Contains(shown, wanted) {
				t.Errorf("got %s, %v; want %s in it", shown, err, wanted)
			}
		}
	}
}

func literalOf(p *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}}}}
}
