package agent_test

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/plugins/opa/opatest"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// values has a rule for each kind of value that a rule may have, and each way to have none.
const values = `package values

yes := true

no := false

undefined if input.nowhere

text := "true"

number := 1

nothing := null

list := ["x", "y"]

empty_list := []

reasons contains reason if some reason in ["b", "a", {"msg": "an object"}, 3, ["deep", null]]

no_reasons contains reason if some reason in input.nowhere

empty_reason contains ""

empty := {}

agreed := {"allow": true, "reasons": ["because"], "more": {"n": [1, 2.5, "x", null, false]}}

refused := {"allow": false, "reasons": {"b", "a"}}

refused_silently := {"allow": false}

text_allow := {"allow": "true"}

null_allow := {"allow": null, "reasons": []}

text_reasons := {"allow": false, "reasons": "because"}

zero := count(input.inputs.dataset) * 0

division if 1 / zero > 0

negated if not division

conversion if to_number(input.inputs.dataset) > 0

conflict := true if input.inputs.dataset != ""

conflict := false if input.inputs.dataset != "?"

f(x) := 1 if x != ""

f(x) := 2 if x != "?"

function := f(input.inputs.dataset)

sees := {"allow": true, "dataset": input.inputs.dataset, "n": input.inputs.n}

length := {"allow": true, "reasons": [sprintf("%d", [count(input.inputs.dataset)])]}

exact := {"allow": input.inputs.n == 9007199254740993, "reasons": [sprintf("%d", [input.inputs.n])]}

digits := {"allow": true, "reasons": [9007199254740993, "123456789012345678901234567890", {"n": 18446744073709551615, "x": "<&>"}],
	"n": 18446744073709551615}

huge := {"allow": true, "n": 123456789012345678901234567890}

kept := {"allow": true, "n": data.n, "seen": input.inputs.n}

summed := {"allow": true, "reasons": [input.inputs.n + 1]}

granted if input.inputs.dataset in data.granted
`

// engines are both ways to have decisions of the same policies, in a plugin that is configured the same else.
func engines(t *testing.T, config map[string]any, files map[string]string) map[string]*agenttest.Client {
	t.Helper()
	dir := opatest.Write(t, files)
	config["decision_log"] = false
	embedded, there := maps.Clone(config), maps.Clone(config)
	embedded["policies"] = dir
	there["server"] = map[string]any{"url": opatest.Start(t, "--bundle", dir).URL}
	return map[string]*agenttest.Client{"embedded": run(t, embedded), "server": run(t, there)}
}

// end is how a task ends, without what is another for each decision.
type end struct {
	// How is what the plugin says of a decision, or the code where there is none.
	How string
	// Why is the error, without the engine's own words around OPA's.
	Why     string
	Outputs map[string]any
	Allowed any
}

var opaError = regexp.MustCompile(`(\w+\.rego:\d+: eval|rego)_\w+_error: .*`)

func ended(t *testing.T, client *agenttest.Client, asked agenttest.Task) end {
	t.Helper()
	result, err := client.Execute(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	e := end{How: result.Message, Outputs: result.Outputs, Allowed: result.Resource.GetCustomInfo().AsMap()["allowed"]}
	delete(e.Outputs, "decision_id")
	if code := codeOf(result); code != "" {
		e.How, e.Why = code, result.Message
		if said := opaError.FindString(result.Message); said != "" {
			e.Why = said
		}
	}
	return e
}

// endsSame runs a task with both engines, which must come to the same end.
func endsSame(t *testing.T, clients map[string]*agenttest.Client, asked agenttest.Task) end {
	t.Helper()
	embedded, there := ended(t, clients["embedded"], asked), ended(t, clients["server"], asked)
	if !reflect.DeepEqual(embedded, there) {
		t.Errorf("%v of %.100v\nembedded: %.500v\nserver:   %.500v", asked.Custom, asked.Inputs, embedded, there)
	}
	return embedded
}

// everything asks for a decision with all that there is to know of it.
func everything(t *testing.T, policy, kind string, inputs map[string]any) agenttest.Task {
	t.Helper()
	custom := map[string]any{"policy": policy, "on_deny": "return"}
	if kind != "" {
		custom["decision"] = kind
	}
	asked := task(t, custom, "", "allowed", "reasons", "decision", "decision_id")
	asked.Inputs = inputs
	return asked
}

func TestBothEnginesReadEveryValueTheSame(t *testing.T) {
	const broken = "PolicyError"
	undefined := func(name string) string {
		return "denied: the policy values/" + name + " is undefined for this input: there is no such rule, or none of its conditions holds"
	}
	// By the kinds "", boolean, object and denials.
	strict := map[string][4]string{
		"yes":              {"allowed", "allowed", broken, broken},
		"no":               {"denied: the policy values/no is false for this input", "denied: the policy values/no is false for this input", broken, broken},
		"text":             {broken, broken, broken, broken},
		"number":           {broken, broken, broken, broken},
		"nothing":          {broken, broken, broken, broken},
		"list":             {broken, broken, broken, "denied: x; y"},
		"empty_list":       {broken, broken, broken, "allowed"},
		"reasons":          {broken, broken, broken, `denied: 3; a; b; ["deep",null]; an object`},
		"no_reasons":       {broken, broken, broken, "allowed"},
		"empty_reason":     {broken, broken, broken, broken},
		"empty":            {broken, broken, broken, broken},
		"agreed":           {"allowed", broken, "allowed", broken},
		"refused":          {"denied: a; b", broken, "denied: a; b", broken},
		"refused_silently": {"denied: the policy values/refused_silently denies without a reason", broken, "denied: the policy values/refused_silently denies without a reason", broken},
		"text_allow":       {broken, broken, broken, broken},
		"null_allow":       {broken, broken, broken, broken},
		"text_reasons":     {broken, broken, broken, broken},
		"division":         {broken, broken, broken, broken},
		"negated":          {broken, broken, broken, broken},
		"conversion":       {broken, broken, broken, broken},
		"conflict":         {broken, broken, broken, broken},
		"function":         {broken, broken, broken, broken},
		"f":                {broken, broken, broken, broken}, // which would have to be called
		"yes/deeper":       {broken, broken, broken, broken},
		"nested":           {broken, broken, broken, broken}, // a package: an object without allow
		"nested/value":     {"allowed", "allowed", broken, broken},
	}
	for _, name := range []string{"undefined", "nowhere", "nowhere/deeper"} {
		strict[name] = [4]string{undefined(name), undefined(name), undefined(name), undefined(name)}
	}
	lenient := maps.Clone(strict)
	lenient["negated"] = strict["yes"]
	for _, name := range []string{"division", "conversion"} {
		lenient[name] = [4]string{undefined(name), undefined(name), undefined(name), undefined(name)}
	}
	files := map[string]string{"values.rego": values, "nested.rego": "package values.nested\n\nvalue := true\n"}
	for name, table := range map[string]map[string][4]string{"strict": strict, "lenient": lenient} {
		t.Run(name, func(t *testing.T) {
			clients := engines(t, map[string]any{"lenient_builtins": name == "lenient", "timeout": "1m"}, files)
			for rule, wants := range table {
				for i, kind := range []string{"", "boolean", "object", "denials"} {
					got := endsSame(t, clients, everything(t, "values/"+rule, kind, map[string]any{"dataset": "x"}))
					if got.How != wants[i] {
						t.Errorf("%s as %q: %+v; want %s", rule, kind, got, wants[i])
					}
				}
			}
		})
	}
}

func TestBothEnginesSeeEveryInputTheSame(t *testing.T) {
	clients := engines(t, map[string]any{"timeout": "1m"}, map[string]string{
		"values.rego": values, "data.json": `{"granted": ["x", "ü\u2028\"\\\u0000"]}`,
	})
	check := func(policy string, inputs map[string]any, how string, reasons ...any) {
		t.Helper()
		got := endsSame(t, clients, everything(t, policy, "", inputs))
		if got.How != how || reasons != nil && !reflect.DeepEqual(got.Outputs["reasons"], reasons) {
			t.Errorf("%s: %.500v; want %s, %v", policy, got, how, reasons)
		}
	}
	large := strings.Repeat("ü", 400_000)
	check("values/length", map[string]any{"dataset": large}, "allowed", "400000")
	check("values/granted", map[string]any{"dataset": "x"}, "allowed")
	check("values/granted", map[string]any{"dataset": "ü\u2028\"\\\x00"}, "allowed")
	check("values/exact", map[string]any{"n": int64(9007199254740993)}, "allowed", "9007199254740993")
	check("values/sees", map[string]any{"dataset": large, "n": 1}, "allowed")
	for _, n := range []any{int64(-1 << 63), int64(1<<63 - 1), 0.1, 1e300, -5e-324, true, nil, []any{}, map[string]any{"": map[string]any{"x": []any{nil}}}} {
		check("values/sees", map[string]any{"dataset": "x", "n": n}, "allowed")
	}
}

func TestNumbersOfADecisionKeepTheirDigits(t *testing.T) {
	clients := engines(t, map[string]any{"timeout": "1m"}, map[string]string{"values.rego": values, "data.json": `{"n": 9007199254740993}`})
	check := func(rule string, n any, want map[string]any) {
		t.Helper()
		asked := everything(t, "values/"+rule, "", map[string]any{"n": n})
		if want["decision"] == nil {
			delete(asked.OutputTypes, "decision") // which has fewer digits than a reason
		}
		got := endsSame(t, clients, asked)
		for name, value := range want {
			if !reflect.DeepEqual(got.Outputs[name], value) {
				t.Errorf("%s of %s: got %#v, want %#v", name, rule, got.Outputs[name], value)
			}
		}
	}
	reasons := []any{"9007199254740993", "123456789012345678901234567890", `{"n":18446744073709551615,"x":"<&>"}`}
	check("digits", 1, map[string]any{"reasons": reasons, "decision": map[string]any{
		"allow": true, "n": uint64(math.MaxUint64),
		"reasons": []any{int64(9007199254740993), "123456789012345678901234567890", map[string]any{"n": uint64(math.MaxUint64), "x": "<&>"}},
	}})
	check("kept", int64(math.MinInt64+1), map[string]any{"decision": map[string]any{"allow": true, "n": int64(9007199254740993), "seen": int64(math.MinInt64 + 1)}})
	check("kept", map[int]any{7: "seven"}, map[string]any{"decision": map[string]any{
		"allow": true, "n": int64(9007199254740993), "seen": map[string]any{"7": "seven"},
	}})
	check("summed", math.Ldexp(1, 60), map[string]any{"reasons": []any{"1152921504606846977"}})
	check("summed", 2500000*time.Hour+time.Nanosecond, map[string]any{"reasons": []any{"9.000000001000000001e+09"}})
	check("summed", -1500*time.Millisecond, map[string]any{"reasons": []any{"-0.5"}})

	refused := endsSame(t, clients, everything(t, "values/huge", "", map[string]any{"n": 1}))
	if refused.How != "PolicyError" || !strings.Contains(refused.Why, "123456789012345678901234567890") {
		t.Errorf("got %+v", refused)
	}
	for _, n := range []any{math.NaN(), map[any]any{1: "a", "1": "b"}} {
		refused = endsSame(t, clients, everything(t, "values/yes", "", map[string]any{"n": n}))
		if refused.How != "BadTask" || !strings.Contains(refused.Why, "input n") {
			t.Errorf("%v: got %+v", n, refused)
		}
	}
}

// What a policy computes of numbers beyond 2^53 has every digit, with either engine.
func TestRegoCountsExactly(t *testing.T) {
	want := map[string]string{
		`9007199254740993 + 1`:                        "9007199254740994",
		`9007199254740993 * 3`:                        "27021597764222979",
		`9007199254740993 / 1`:                        "9007199254740993",
		`9007199254740993 % 10`:                       "3",
		`18446744073709551615 * 18446744073709551615`: "340282366920938463426481119284349108225",
		`123456789012345678901 + 1`:                   "123456789012345678902",
		`sum([9007199254740993, 1])`:                  "9007199254740994",
		`product([18446744073709551615, 2])`:          "36893488147419103230",
		`max([9007199254740993, 9007199254740992])`:   "9007199254740993",
		`abs(-9007199254740993)`:                      "9007199254740993",
		`round(9007199254740993.4)`:                   "9007199254740993",
		`to_number("9007199254740993")`:               "9007199254740993",
		`format_int(9007199254740993, 10)`:            "9007199254740993",
		`json.unmarshal("9007199254740993")`:          "9007199254740993",
		`json.marshal(9007199254740993)`:              "9007199254740993",
		`yaml.unmarshal("9007199254740993")`:          "9007199254740993",
		`9007199254740993 == 9007199254740992`:        "false",
		`count({9007199254740993, 9007199254740992})`: "2",
		`0.1 + 0.2`: "0.3",
		`time.parse_rfc3339_ns("2024-01-01T00:00:00.000000001Z")`: "1704067200000000001",
		`data.least`: "-9223372036854775808",
	}
	rules := "package count\n\ntold := {\"allow\": true, \"reasons\": [sprintf(\"%s = %v\", [k, v]) | some k, v in all]}\n"
	var reasons []any
	for _, expression := range slices.Sorted(maps.Keys(want)) {
		rules += fmt.Sprintf("\nall[%q] := %s\n", expression, expression)
		reasons = append(reasons, expression+" = "+want[expression])
	}
	clients := engines(t, map[string]any{"timeout": "1m"}, map[string]string{"count.rego": rules, "data.yaml": "least: -9223372036854775808\n"})
	got := endsSame(t, clients, everything(t, "count/told", "", map[string]any{}))
	if diff := cmp.Diff(reasons, got.Outputs["reasons"]); diff != "" {
		t.Error(got.How, got.Why, diff)
	}
}
