package agent_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/plugins/opa/opatest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

var update = flag.Bool("update", false, "write types.tsv anew")

// put is a value that goes into a policy, and what the policy has of it: the same, or what is told by how.
type put struct {
	value, want any
	how         string
}

func equal(values ...any) []put {
	var puts []put
	for _, value := range values {
		puts = append(puts, put{value, value, ""})
	}
	return puts
}

// inputKinds are Flyte's types with values at their edges, and what a policy's input has of them.
func inputKinds() []struct {
	name, engine string
	declared     *core.LiteralType
	puts         []put
} {
	simple := literal.Simple
	at := time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	last := time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	const address = "its uri and format"
	primitive := func(p *core.Primitive) *core.Literal {
		return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}}}}
	}
	late := primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: &timestamppb.Timestamp{Seconds: 253402300800}}}) // year 10000
	long := primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: &durationpb.Duration{Seconds: 300 * 365 * 86400}}})
	offloaded := &core.Literal{Value: &core.Literal_OffloadedMetadata{OffloadedMetadata: &core.LiteralOffloadedMetadata{Uri: "s3://b/o.pb"}}}
	type kinds = []struct {
		name, engine string
		declared     *core.LiteralType
		puts         []put
	}
	return kinds{
		{"int", "number", nil, equal(int64(0), int64(1<<53+1), int64(math.MaxInt64), int64(math.MinInt64))},
		{"float", "number", simple(core.SimpleType_FLOAT), append(equal(0.1, -5e-324, math.MaxFloat64, math.Copysign(0, -1), 1e22),
			put{2.0, int64(2), ""}, put{math.Ldexp(1, 60), int64(1 << 60), ""}, put{math.NaN(), nil, ""}, put{math.Inf(-1), nil, ""})},
		{"str", "string", nil, equal("", "it's <&> ☃\x00\u2028\U0001F600", "01234", "ü\"\\")},
		{"bool", "boolean", nil, equal(true, false)},
		{"datetime", "string", nil, []put{{at, "0001-01-01T00:00:00.000000001Z", "RFC 3339 in UTC"}, {last, "9999-12-31T23:59:59.999999999Z", "RFC 3339 in UTC"}, {late, nil, ""}}},
		{"timedelta", "number", nil, []put{{1500 * time.Millisecond, 1.5, "seconds"}, {-time.Nanosecond, -1e-9, "seconds"}, {time.Hour, int64(3600), "seconds"}, {long, nil, ""}}},
		{"bytes", "string", nil, []put{{[]byte{0, 255}, "AP8=", "base64"}}},
		{"bytes with a tag", "object", nil, []put{{literal.Binary{Value: []byte{0, 255}, Tag: "x"}, map[string]any{"value": "AP8=", "tag": "x"}, "base64, and the tag"}}},
		{"enum", "string", &core.LiteralType{Type: &core.LiteralType_EnumType{EnumType: &core.EnumType{Values: []string{"red"}}}}, equal("red")},
		{"None", "null", nil, equal(nil)},
		{"list[int]", "array", nil, equal([]any{}, []any{int64(1<<53 + 1), int64(2)})},
		{"list[Union[int, str, None]]", "array", nil, equal([]any{int64(1), "a", nil})},
		{"dict", "object", simple(core.SimpleType_STRUCT), append(equal(map[string]any{}, map[string]any{"": []any{int64(1<<53 + 1), uint64(math.MaxUint64), nil, map[string]any{"x": 0.1}}}),
			put{map[string]any{"x": math.NaN()}, nil, ""}, put{packed("\x81\xa1x\xa1\xff"), nil, ""}, put{packed("\x81\xa1\xff\x01"), nil, ""})},
		{"dict with keys that are no texts", "object", simple(core.SimpleType_STRUCT), []put{
			{map[any]any{int64(7): "a", true: "b", 1.0: "c"}, map[string]any{"7": "a", "true": "b", "1.0": "c"}, "the keys as text"},
			{map[any]any{int64(1): "a", "1": "b"}, nil, ""}, {map[any]any{math.Inf(1): "a"}, nil, ""}}},
		{"dict[str, int]", "object", literal.MapOf(simple(core.SimpleType_INTEGER)), equal(map[string]any{"a": int64(1<<53 + 1)})},
		{"file", "object", nil, []put{{sdk.File{URI: "s3://b/f", Format: "csv"}, map[string]any{"uri": "s3://b/f", "format": "csv"}, address}}},
		{"directory", "object", nil, []put{{sdk.Directory{URI: "s3://b/d"}, map[string]any{"uri": "s3://b/d", "format": ""}, address}}},
		{"dataset", "object", nil, []put{{sdk.StructuredDataset{URI: "s3://b/t", Format: "parquet"}, map[string]any{"uri": "s3://b/t", "format": "parquet", "columns": []any{}}, address + ", and its columns"}}},
		{"a value that Flyte has put into storage", "none", nil, []put{{offloaded, nil, ""}}},
	}
}

// outputKinds are the values that a policy may decide with, as Rego, and what the task's output has of them.
var outputKinds = []struct {
	name, engine string
	rules        []string
	want         []any
	how          string
}{
	{"int", "number", []string{"0", "9007199254740993", "-9223372036854775808", "18446744073709551615", "123456789012345678901234567890"},
		[]any{int64(0), int64(9007199254740993), int64(math.MinInt64), uint64(math.MaxUint64), nil}, ""},
	{"float", "number", []string{"0.1", "1e22", "-1.5e-300", "0.1 + 0.2", "round(1000 * (1 / 3)) / 1000", "0.12345678901234567890", "1 / 3", "1e400"},
		[]any{0.1, 1e22, -1.5e-300, 0.3, 0.333, nil, nil, nil}, ""},
	{"str", "string", []string{`""`, `"<&> \u0000 ☃"`, `"01234"`}, []any{"", "<&> \x00 ☃", "01234"}, ""},
	{"bool", "boolean", []string{"true", "false"}, []any{true, false}, ""},
	{"None", "null", []string{"null"}, []any{nil}, ""},
	{"list", "array", []string{"[]", `[1, "a", null]`}, []any{[]any{}, []any{int64(1), "a", nil}}, ""},
	{"list", "set", []string{`{"b", "a"}`}, []any{[]any{"a", "b"}}, "a list in Rego's order"},
	{"dict", "object", []string{"{}", `{"k": {"deep": 9007199254740993}}`}, []any{map[string]any{}, map[string]any{"k": map[string]any{"deep": int64(9007199254740993)}}}, ""},
	{"dict", "object with keys that are no strings", []string{`{1: "a"}`}, []any{map[string]any{"1": "a"}}, "the keys as their JSON"},
}

const echo = `package echo

kept := {"allow": true, "n": input.inputs.n}

first := {"allow": true, "n": input.inputs.n[0]}

entry := {"allow": true, "n": input.inputs.n.k}
`

// The table of types is what really happens, with the embedded OPA and with the server alike: a policy hands back what it was
// given, and decides with each kind of value.
func TestTypes(t *testing.T) {
	rules := "package made\n"
	for i, k := range outputKinds {
		for j, rule := range k.rules {
			rules += fmt.Sprintf("\nscalar_%d_%d := {\"allow\": true, \"n\": %s}\n\nnested_%d_%d := {\"allow\": true, \"n\": [{\"n\": %s}]}\n", i, j, rule, i, j, rule)
		}
	}
	clients := engines(t, map[string]any{"timeout": "1m"}, map[string]string{"echo.rego": echo, "made.rego": rules})
	var cells []string
	for _, k := range inputKinds() {
		for position, policy := range map[string]string{"named parameter": "echo/kept", "list item": "echo/first", "dict value": "echo/entry"} {
			outcome := newCell("in", k.name, k.engine, position)
			for _, p := range k.puts {
				given, declared := p.value, k.declared
				switch position {
				case "list item":
					given = []any{given}
					if declared != nil {
						declared = literal.ListOf(declared)
					}
				case "dict value":
					entries := map[string]*core.Literal{"k": encode(t, given, declared)}
					given, declared = &core.Literal{Value: &core.Literal_Map{Map: &core.LiteralMap{Literals: entries}}}, literal.MapOf(nil)
				}
				asked := everything(t, policy, "", map[string]any{"n": given})
				if declared != nil {
					asked.InputTypes = sdk.OutputTypes{"n": declared}
				}
				outcome.take(t, endsSame(t, clients, asked), "n", p.want, p.how, "BadTask")
			}
			cells = append(cells, outcome.String())
		}
	}
	for i, k := range outputKinds {
		for position, rule := range map[string]string{"dict value": "scalar", "nested two deep": "nested"} {
			outcome := newCell("out", k.name, k.engine, position)
			for j := range k.rules {
				asked := everything(t, fmt.Sprintf("made/%s_%d_%d", rule, i, j), "", map[string]any{})
				want, refused := k.want[j], k.want[j] == nil && k.engine != "null"
				if rule == "nested" && !refused {
					want = []any{map[string]any{"n": want}}
				}
				outcome.take(t, endsSame(t, clients, asked), "n", want, k.how, "PolicyError")
			}
			cells = append(cells, outcome.String())
		}
	}
	holdTypes(t, "../types.tsv", cells)
}

// packed is a dict as others may write it, whose texts are not UTF-8.
func packed(data string) literal.Binary {
	return literal.Binary{Value: []byte(data), Tag: literal.MsgPack}
}

func encode(t *testing.T, value any, declared *core.LiteralType) *core.Literal {
	t.Helper()
	encoded, err := literal.Encode(value, declared)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// cell is one of the table, of several values.
type cell struct {
	key   string
	exact bool
	hows  []string
	notes []string
}

func newCell(fields ...string) *cell { return &cell{key: strings.Join(fields, "\t")} }

// take adds how a value came out: as it is wanted, or the task was refused for it.
func (c *cell) take(t *testing.T, e end, name string, want any, how, code string) {
	t.Helper()
	if e.How == code {
		c.notes = append(c.notes, anonymous(e.Why))
		return
	}
	decision, _ := e.Outputs["decision"].(map[string]any)
	got, there := decision[name]
	if float, isFloat := want.(float64); isFloat {
		same, is := got.(float64)
		if !is || math.Float64bits(same) != math.Float64bits(float) {
			t.Errorf("%s: got %#v, want %#v (%s)", c.key, got, want, e.How)
		}
	} else if !there || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v (%s: %s)", c.key, got, want, e.How, e.Why)
	}
	c.exact = c.exact || how == ""
	if how != "" {
		c.hows = append(c.hows, how)
	}
}

func (c *cell) String() string {
	outcome := "refused"
	switch {
	case c.exact:
		outcome = "exact"
	case len(c.hows) > 0:
		outcome = "widened"
	}
	all := slices.Concat(c.hows, c.notes)
	slices.Sort(all)
	return c.key + "\t" + outcome + "\t" + strings.Join(slices.Compact(all), "; ")
}

var (
	number = regexp.MustCompile(`-?\d[\d.e+]{3,}`)
	prefix = regexp.MustCompile(`^(the decision of \S+ cannot be an output:|input n(\.k|\[0\])?:?|"[kx]"|\[0\]|n(\[0\]\.n)?) `)
)

// anonymous is a message without what is another for each value.
func anonymous(message string) string {
	for before := ""; before != message; {
		before, message = message, prefix.ReplaceAllString(message, "")
	}
	message, _, _ = strings.Cut(message, ": proto:") // whose words change from build to build
	return number.ReplaceAllString(message, "…")
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

// Numbers of the task's own constants, which a template may have rounded, are refused by their place.
func TestAConstantThatATemplateMayHaveRoundedIsRefused(t *testing.T) {
	client := run(t, map[string]any{"policies": opatest.Write(t, map[string]string{"echo.rego": echo})})
	asked := task(t, map[string]any{"policy": "echo/kept", "input": map[string]any{"limits": []any{1 << 53}}}, "x", "decision")
	result, err := client.Execute(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if result.Phase != failed || codeOf(result) != "BadTask" || !strings.Contains(result.Message, "custom.input.limits[0] is 9007199254740992") {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
}
