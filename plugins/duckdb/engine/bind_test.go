package engine_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
)

func TestEveryKindOfInputBindsWithItsOwnType(t *testing.T) {
	packed, err := msgpack.Marshal(map[string]any{"n": 9007199254740993, "deep": []any{map[int]string{1: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2013, 1, 2, 3, 4, 5, 678901000, time.UTC)
	for _, c := range []struct {
		name     string
		input    *core.Literal
		declared *core.LiteralType
		sqlType  string
		text     string
	}{
		{"int", ofInt(math.MinInt64), whole, "BIGINT", "-9223372036854775808"},
		{"float", ofFloat(0.1), real, "DOUBLE", "0.1"},
		{"infinite float", ofFloat(math.Inf(-1)), real, "DOUBLE", "-inf"},
		{"string", ofString("it's $x; -- ☃\x00"), str, "VARCHAR", "it's $x; -- ☃\x00"},
		{"empty string", ofString(""), str, "VARCHAR", ""},
		{"bool", ofBool(true), truth, "BOOLEAN", "true"},
		{"datetime", ofTime(at), instant, "TIMESTAMP WITH TIME ZONE", "2013-01-02 03:04:05.678901+00"},
		{"duration", ofDuration(25*time.Hour + time.Microsecond), duration, "INTERVAL", "25:00:00.000001"},
		{"negative duration", ofDuration(-time.Second), duration, "INTERVAL", "-00:00:01"},
		{"none", ofNone(), nothing, "VARCHAR", "NULL"},
		{"none of an optional int", ofNone(), unionOf(whole, nothing), "BIGINT", "NULL"},
		{"optional int", ofUnion(ofInt(4), whole), unionOf(whole, nothing), "BIGINT", "4"},
		{"optional int that is none", ofUnion(ofNone(), nothing), unionOf(whole, nothing), "BIGINT", "NULL"},
		{"enum", ofString("red"), &core.LiteralType{Type: &core.LiteralType_EnumType{EnumType: &core.EnumType{Values: []string{"red"}}}}, "VARCHAR", "red"},
		{"bytes", ofBytes("", []byte{0, 255}), raw, "BLOB", `\x00\xFF`},
		{"struct", ofStruct(t, map[string]any{"a": map[string]any{"b": []any{1.0, "<x>", nil}}}), object, "JSON", `{"a":{"b":[1,"<x>",null]}}`},
		{"msgpack", ofBytes("msgpack", packed), object, "JSON", `{"deep":[{"1":"x"}],"n":9007199254740993}`},
		{"list of ints", ofList(ofInt(1), ofInt(2)), listOf(whole), "BIGINT[]", "[1, 2]"},
		{"list with a null", ofList(ofUnion(ofNone(), nothing), ofUnion(ofInt(2), whole)), listOf(unionOf(whole, nothing)), "BIGINT[]", "[NULL, 2]"},
		{"empty list", ofList(), listOf(real), "DOUBLE[]", "[]"},
		{"empty list of no known type", ofList(), nil, "VARCHAR[]", "[]"},
		{"list of nulls", ofList(ofNone()), nil, "VARCHAR[]", "[NULL]"},
		{"list of strings", ofList(ofString("a'b"), ofString("c, d")), listOf(str), "VARCHAR[]", `['a\'b', 'c, d']`},
		{"list of datetimes", ofList(ofTime(at)), listOf(instant), "TIMESTAMP WITH TIME ZONE[]", "['2013-01-02 03:04:05.678901+00']"},
		{"list of lists", ofList(ofList(ofInt(1)), ofList()), listOf(listOf(whole)), "BIGINT[][]", "[[1], []]"},
		{"list of structs", ofList(ofStruct(t, map[string]any{"a": 1.0})), listOf(object), "JSON[]", `[{"a":1}]`},
		{"list of mixed types", ofList(ofInt(1), ofString("x")), listOf(unionOf(whole, str)), "JSON", `[1,"x"]`},
		{"map", ofMap(literals{"b": ofFloat(2), "a": ofFloat(1)}), mapOf(real), "MAP(VARCHAR, DOUBLE)", "{a=1.0, b=2.0}"},
		{"empty map", ofMap(nil), mapOf(truth), "MAP(VARCHAR, BOOLEAN)", "{}"},
		{"map of mixed types", ofMap(literals{"a": ofInt(1), "b": ofBool(true)}), nil, "JSON", `{"a":1,"b":true}`},
		{"list of maps", ofList(ofMap(literals{"a": ofInt(1)})), listOf(mapOf(whole)), "MAP(VARCHAR, BIGINT)[]", "[{a=1}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			for _, sql := range []string{
				"select coalesce($v::varchar, 'NULL') as text, typeof($v) as type",
				"select coalesce({{ .inputs.v }}::varchar, 'NULL') as text, typeof('{{ .inputs.v }}') as type",
			} {
				result, err := b.run(engine.Query{
					Statement: sql, Inputs: literals{"v": c.input}, InputTypes: types{"v": c.declared}, Outputs: types{"text": str, "type": str},
				})
				if err != nil {
					t.Fatal(err)
				}
				want := literals{"text": ofString(c.text), "type": ofString(c.sqlType)}
				if diff := cmp.Diff(want, result.Outputs.GetLiterals(), protocmp.Transform()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestParametersStandWhereverAConstantMay(t *testing.T) {
	b := newBench(t)
	path := b.file("in.csv", "a;b\n1;x\n2;y\n")
	inputs := literals{
		"n": ofInt(2), "names": ofList(ofString("x"), ofString("z")), "cfg": ofStruct(t, map[string]any{"a": map[string]any{"b": 5.0}}),
		"prices": ofMap(literals{"tea": ofFloat(1.5)}), "since": ofTime(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)), "long": ofDuration(time.Hour),
		"file": ofFile(path, "csv"), "Mixed": ofInt(3),
	}
	for sql, want := range map[string]string{
		"select string_agg(range::varchar, ',') as out from (from range(10) limit $n)":               "0,1",
		"select (count(*))::varchar as out from range(10) where range in (select $n union select 5)": "2",
		"select ('x' in $names)::varchar || ('y' in $names)::varchar as out":                         "truefalse",
		"select string_agg(u, '+') as out from (select unnest($names) as u)":                         "x+z",
		"select $cfg->>'$.a.b' as out":                                                                    "5",
		"select $prices['tea']::varchar as out":                                                           "1.5",
		"select ($since + $long)::varchar as out":                                                         "2020-01-01 01:00:00+00",
		"select (timestamp '2020-01-01 00:00:00' >= $since)::varchar as out":                              "true",
		"select (date '2019-12-31' >= $since)::varchar as out":                                            "false",
		"select string_agg(b, ',') as out from read_csv($file, delim = ';', header = true) where a <= $n": "x,y",
		"create view v as select $n + 1 as x; select x::varchar as out from v":                            "3",
		"create macro twice(x) as x * $n; select twice(4)::varchar as out":                                "8",
		"select $mixed::varchar as out":                                                                   "3",
		"select '$n' as out":                                                                              "$n",
		"select $$ $n $$ as out":                                                                          " $n ",
	} {
		if got := b.text(sql, inputs); got != want {
			t.Errorf("%s: got %q, want %q", sql, got, want)
		}
	}
}

func TestInputsThatTheSQLDoesNotUseAreLeftAlone(t *testing.T) {
	b := newBench(t)
	got := b.text("select 'fine' as out", literals{
		"missing": ofFile("/nowhere/at/all.csv", "csv"), "remote": ofDataset("ftp://nobody/x", ""), "odd": scalar(&core.Scalar{}), "n": ofInt(1),
	})
	if got != "fine" {
		t.Errorf("got %q", got)
	}
}

func TestAParameterWithoutAnInputNamesItself(t *testing.T) {
	b := newBench(t)
	b.fails(engine.Query{Statement: "select $missing", Inputs: literals{"here": ofInt(1), "also": ofInt(2)}}, "$missing", "also, here")
	b.fails(engine.Query{Statement: "select $a", Inputs: literals{"A": ofInt(1), "b": ofInt(2)}, Outputs: types{"out": str}}, "an int")
	b.fails(engine.Query{Statement: "select $ab", Inputs: literals{"Ab": ofInt(1), "aB": ofInt(2)}}, "Ab, aB")
	b.fails(engine.Query{Statement: "select ?, $1"}, "without a name")
}

func TestValuesThatCannotBeBoundNameTheirInput(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		input *core.Literal
		want  string
	}{
		{scalar(&core.Scalar{}), "cannot be bound"},
		{&core.Literal{}, "no value"},
		{ofList(ofInt(1), &core.Literal{}), "element 1"},
		{ofMap(literals{"k": &core.Literal{}}), `entry "k"`},
		{ofBytes("msgpack", []byte{0xc1}), "msgpack"},
		{ofBytes("pickle", []byte{0x80}), `in the form "pickle"`},
		{ofList(ofBytes("pickle", []byte{0x80}), ofInt(1)), `in the form "pickle"`},
		{&core.Literal{Value: &core.Literal_OffloadedMetadata{OffloadedMetadata: &core.LiteralOffloadedMetadata{Uri: "/nowhere/k"}}}, "/nowhere/k"},
		{scalar(&core.Scalar{Value: &core.Scalar_Error{Error: &core.Error{Message: "it broke"}}}), "it broke"},
	} {
		t.Run(c.want, func(*testing.T) {
			b.fails(engine.Query{Statement: "select $v", Inputs: literals{"v": c.input}}, `input "v"`, c.want)
		})
	}
}

// A value never becomes a part of the statement, whatever it is.
func TestScalarsComeBackAsTheyWentIn(t *testing.T) {
	b := newBench(t)
	rapid.Check(t, func(t *rapid.T) {
		inputs := literals{
			"i": ofInt(rapid.Int64().Draw(t, "i")),
			"f": ofFloat(rapid.Float64().Draw(t, "f")),
			"s": ofString(rapid.String().Draw(t, "s")),
			"l": ofList(),
		}
		for _, s := range rapid.SliceOf(rapid.String()).Draw(t, "l") {
			inputs["l"].GetCollection().Literals = append(inputs["l"].GetCollection().Literals, ofString(s))
		}
		declared := types{"i": whole, "f": real, "s": str, "l": listOf(str)}
		result, err := b.run(engine.Query{Statement: "select $i as i, $f as f, $s as s, $l as l", Inputs: inputs, InputTypes: declared, Outputs: declared})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(inputs, result.Outputs.GetLiterals(), protocmp.Transform(), protocmp.FilterField(&core.Primitive{}, "float_value", cmp.Comparer(sameFloat))); diff != "" {
			t.Fatal(strings.TrimSpace(diff))
		}
	})
}

func sameFloat(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }
