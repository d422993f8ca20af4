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
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
)

func ofSeconds(seconds int64) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: &durationpb.Duration{Seconds: seconds}}})
}

// unpacked is what a struct in msgpack holds.
func unpacked(t *testing.T, literal *core.Literal) map[string]any {
	t.Helper()
	if tag := literal.GetScalar().GetBinary().GetTag(); tag != "msgpack" {
		t.Fatalf("got %v, want msgpack", literal)
	}
	var got map[string]any
	if err := msgpack.Unmarshal(literal.GetScalar().GetBinary().GetValue(), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestJSONIsTheTextThatItIs(t *testing.T) {
	b := newBench(t)
	for _, text := range []string{`{"z":1.0,"id":9007199254740993,"a":"<&>"}`, `[1, 2.50,  1e5]`, `18446744073709551616`, `"x"`, `{}`} {
		for _, sql := range []string{"select '" + text + "'::json as out", "select $t::json as out"} {
			if got := b.text(sql, literals{"t": ofString(text)}); got != text {
				t.Errorf("%s: got %s, want %s", sql, got, text)
			}
		}
	}
	if got := b.value("select [j] as out from (select '{\"b\": 1,\"a\": 2}'::json as j)", listOf(str), nil); got.GetCollection().GetLiterals()[0].GetScalar().GetPrimitive().GetStringValue() != `{"b": 1,"a": 2}` {
		t.Errorf("in a list: got %v", got)
	}
	for sql, declared := range map[string]*core.LiteralType{
		"select null::json": unionOf(object, nothing), "select 'null'::json": unionOf(object, nothing),
	} {
		if diff := cmp.Diff(ofUnion(ofNone(), nothing), b.value(sql, declared, nil), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
}

func TestStructsHoldNumbersExactlyOrAreRefused(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		sql  string
		want map[string]any
	}{
		{`select '{"id":9007199254740993,"deep":[{"x":1.0}]}'::json`, map[string]any{"id": uint64(9007199254740993), "deep": []any{map[string]any{"x": 1.0}}}},
		{"select to_json({'id': 9007199254740993})", map[string]any{"id": uint64(9007199254740993)}},
		{"select {'a': 18446744073709551615::ubigint, 'b': -9223372036854775808}", map[string]any{"a": uint64(math.MaxUint64), "b": int64(math.MinInt64)}},
		{"select {'a': 9007199254740993::hugeint}", map[string]any{"a": uint64(9007199254740993)}},
		{"select map {'a': [9007199254740993]}", map[string]any{"a": []any{uint64(9007199254740993)}}},
		{"select {'a': '{\"n\":9007199254740993}'::json}", map[string]any{"a": map[string]any{"n": uint64(9007199254740993)}}},
		{"select {'a': 'inf'::double, 'b': '-inf'::float}", map[string]any{"a": math.Inf(1), "b": math.Inf(-1)}},
	} {
		if diff := cmp.Diff(c.want, unpacked(t, b.value(c.sql, object, nil))); diff != "" {
			t.Errorf("%s: %s", c.sql, diff)
		}
	}
	if got := unpacked(t, b.value("select {'a': 'nan'::double}", object, nil)); !math.IsNaN(got["a"].(float64)) {
		t.Errorf("got %v", got)
	}
	for sql, want := range map[string]map[string]any{
		"select {'d': 12345678901234567890.0123456789::decimal(38,10)}":                                   {"d": "12345678901234567890.0123456789"},
		"select map {'d': 1.10::decimal(38,10)}":                                                          {"d": "1.1000000000"},
		"select {'a': 5::hugeint, 'b': 5::ubigint, 'c': 0.5::double, 'd': '1'::bit}":                      {"a": 5, "b": 5, "c": 0.5, "d": "1"},
		"select {'t': '10:00:00+02:30'::timetz, 'u': time '24:00:00', 'v': time_ns '10:00:00.123456789'}": {"t": "10:00:00+02:30", "u": "24:00:00", "v": "10:00:00.123456789"},
		"select map {date '2020-01-02': 1, date '0044-03-15 (BC)': 2}":                                    {"2020-01-02": 1, "0044-03-15 (BC)": 2},
		"select {'a': to_microseconds(-9223372036854775808), 'b': interval '1 year 14 months -3 days 0.5 seconds', 'c': interval 0 day, 'd': interval (-1) day}": {
			"a": "-2562047788:00:54.775808", "b": "2 years 2 months -3 days 00:00:00.5", "c": "00:00:00", "d": "-1 day"},
		"select map {1.5::double: 1}":                                                  {"1.5": 1},
		"select map {interval 1 day: 1}":                                               {"1 day": 1},
		"select map {time '24:00:00': 1}":                                              {"24:00:00": 1},
		"select map {'8d4b5a9c-1f7e-4c3a-9b2d-0e6f5a4b3c2d'::uuid: {'k': map {1: 2}}}": {"8d4b5a9c-1f7e-4c3a-9b2d-0e6f5a4b3c2d": map[string]any{"k": map[string]any{"1": 2}}},
		`select {'a b': [1]::int[1], 'c"d': 'x, y'::enum('x, y'), 'timestamp': 1}`:     {"a b": []any{1}, `c"d`: "x, y", "timestamp": 1},
		"select union_value(a := '{\"x\":1}'::json) as u, 1 as v":                      {"u": map[string]any{"x": 1}, "v": 1},
	} {
		if diff := cmp.Diff(ofStruct(t, want), b.value(sql, object, nil), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
	for sql, want := range map[string]string{
		"select {'a': 18446744073709551616::hugeint} as c":        "18446744073709551616",
		"select '{\"a\":18446744073709551616}'::json as c":        "18446744073709551616",
		"select {'a': 'infinity'::date} as c":                     "infinite",
		"select {'a': 'infinity'::timestamp_ns} as c":             "TIMESTAMP_NS",
		"select {'a': timestamp '0044-03-15 (BC) 00:00:00'} as c": "years 1 to 9999",
	} {
		b.fails(engine.Query{Statement: sql, Outputs: types{"out": object}}, `"c"`, want)
	}
}

func TestTimesOfDayAreWholeTexts(t *testing.T) {
	b := newBench(t)
	for sql, want := range map[string]string{
		"select '10:00:00.5+02:30'::timetz": "10:00:00.5+02:30", "select time '24:00:00'": "24:00:00", "select time_ns '10:00:00.123456789'": "10:00:00.123456789",
	} {
		if got := b.text(sql, nil); got != want {
			t.Errorf("%s: got %q, want %q", sql, got, want)
		}
	}
	b.fails(engine.Query{Statement: "select 'infinity'::timestamp_ns as c", Outputs: types{"out": instant}}, `"c"`, "TIMESTAMP_NS")
}

func TestDurationsAndInstantsAreNotCut(t *testing.T) {
	b := newBench(t)
	const days = 182625
	if got := b.text("select (timestamp '2024-01-01' + $d)::varchar as out", literals{"d": ofSeconds(days * 86400)}); got != "2524-01-05 00:00:00" {
		t.Errorf("got %q", got)
	}
	for _, seconds := range []int64{days * 86400, -days * 86400, 315576000000, -315576000000} {
		if diff := cmp.Diff(ofSeconds(seconds), b.value("select $d", duration, literals{"d": ofSeconds(seconds)}), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	if got := b.text("select $d::varchar as out", literals{"d": ofList(ofSeconds(days*86400), ofInt(1), ofFloat(2))}); got != "[15778800000.000000,1,2.0]" {
		t.Errorf("got %q", got)
	}
	b.fails(engine.Query{Statement: "select interval 2000000000 day as c", Outputs: types{"out": duration}}, `"c"`, "INTERVAL", "2000000000 days")
	b.fails(engine.Query{Statement: "select $d", Inputs: literals{"d": ofDuration(time.Nanosecond)}}, `input "d"`, "INTERVAL")
	b.fails(engine.Query{Statement: "select $d", Inputs: literals{"d": ofTime(time.Unix(0, 1))}}, `input "d"`, "TIMESTAMPTZ")
	b.fails(engine.Query{Statement: "select $d", Inputs: literals{"d": ofSeconds(math.MaxInt64)}}, `input "d"`, "timedelta")
}

func TestMsgpackNumbersStayWhatTheyAre(t *testing.T) {
	b := newBench(t)
	packed, err := msgpack.Marshal(map[string]any{"i": 9007199254740993, "f": 1.0, "g": 1e300})
	if err != nil {
		t.Fatal(err)
	}
	input := literals{"x": ofBytes("msgpack", packed)}
	if got := b.text("select $x::varchar as out", input); got != `{"f":1.0,"g":1e+300,"i":9007199254740993}` {
		t.Errorf("got %s", got)
	}
	if got := unpacked(t, b.value("select $x as out", object, input)); got["i"] != uint64(9007199254740993) || got["f"] != 1.0 {
		t.Errorf("given back: %v", got)
	}
	packed, err = msgpack.Marshal(map[string]any{"f": math.NaN()})
	if err != nil {
		t.Fatal(err)
	}
	b.fails(engine.Query{Statement: "select $x", Inputs: literals{"x": ofBytes("msgpack", packed)}}, `input "x"`, "NaN")
}

func TestTypesThatCannotBeGivenAreRefusedForGoodAndOnlyWhereAskedFor(t *testing.T) {
	b := newBench(t)
	for sql, want := range map[string]string{
		"select 1::variant as c": "VARIANT", "select row(1, 2) as c": "row without names", "select map {[1]: 2} as c": "INTEGER[]",
		"select map {'x'::blob: 1} as c": "BLOB", "select 'POINT(0 0)'::geometry as c": "GEOMETRY", "select [map { {'a': 1}: 2}] as c": "STRUCT",
	} {
		for _, declared := range []*core.LiteralType{object, str, listOf(object)} {
			b.fails(engine.Query{Statement: sql, Outputs: types{"out": declared}}, `"c"`, want)
		}
		if got := b.text(strings.TrimSuffix(sql, " as c")+" as c, 'fine' as out", nil); got != "fine" {
			t.Errorf("%s: got %q", sql, got)
		}
	}
}

func TestWideIntegersAreWrittenExactlyOrRefusedByName(t *testing.T) {
	b := newBench(t)
	result, err := b.run(engine.Query{Statement: "select sum(range) as s, null::hugeint as n, 1 as s from range(10)", Outputs: types{"d": dataset}})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.text("select s::varchar as out from d", result.Outputs.GetLiterals()); got != "45.0" {
		t.Errorf("got %q", got)
	}
	for _, sql := range []string{
		"select sum(9007199254740993) as c", "select 170141183460469231731687303715884105727::hugeint as c",
		"select 340282366920938463463374607431768211455::uhugeint as c", "select [1::hugeint] as c",
	} {
		b.fails(engine.Query{Statement: sql, Outputs: types{"d": dataset}}, `column "c"`, "HUGEINT")
	}
}

func TestEdgesOfValuesAreKept(t *testing.T) {
	b := newBench(t)
	zero := ofFloat(math.Copysign(0, -1))
	for sql, want := range map[string]string{
		"select $l::varchar as out": "[-0.0, 1.0, inf]", "select $m::varchar as out": `{'it\'s'=-0.0}`, "select $n::varchar as out": "[[-0.0], NULL]",
		"select 1.50::decimal(5,2) as out": "1.50", "select [0::decimal(38,10)]::varchar as out": "[0.0000000000]",
	} {
		input := literals{"l": ofList(zero, ofFloat(1), ofFloat(math.Inf(1))), "m": ofMap(literals{"it's": zero}), "n": ofList(ofList(zero), ofNone())}
		if got := b.text(sql, input); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
	}
	if got := unpacked(t, b.value("select {'b': 'a'::blob, 'z': -0.0::double}", object, nil)); string(got["b"].([]byte)) != "a" || !math.Signbit(got["z"].(float64)) {
		t.Errorf("in a struct: got %v", got)
	}
	mixed := unionOf(whole, real, str, nothing)
	for sql, want := range map[string]*core.Literal{
		"select '\"x\"'::json": ofUnion(ofString("x"), str), "select '1'::json": ofUnion(ofInt(1), whole), "select 'null'::json": ofUnion(ofNone(), nothing),
	} {
		if diff := cmp.Diff(want, b.value(sql, mixed, nil), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
	b.fails(engine.Query{Statement: "select '[1]'::json as c", Outputs: types{"out": mixed}}, `column "c" (JSON)`)
	b.fails(engine.Query{Statement: "select '{\"a\":1,\"a\":2}'::json as c", Outputs: types{"out": object}}, `column "c" (JSON)`, `"a" twice`)
	b.fails(engine.Query{Statement: "select 1 as a, 2 as a", Outputs: types{"out": object}}, `two columns "a"`)
	b.fails(engine.Query{Statement: "select timestamp_ns '2020-01-01 00:00:00.000000001' as c", Outputs: types{"out": instant}}, `column "c" (TIMESTAMP_NS)`, "nanoseconds")
	b.fails(engine.Query{Statement: "select '-infinity'::timestamp_ns as c", Outputs: types{"out": str}}, `column "c" (TIMESTAMP_NS)`)
	b.fails(engine.Query{Statement: "select 12345678901234567890.0123456789::decimal(38,10) as c", Outputs: types{"out": real}}, `column "c" (DECIMAL(38,10))`)
}

func TestWhatParquetDoesNotHoldIsRefusedByName(t *testing.T) {
	b := newBench(t)
	for _, sql := range []string{
		"date 'infinity'", "timestamp '-infinity'", "timestamptz 'infinity'", "timestamp_ns 'infinity'", "time '24:00:00'", "interval 1 microsecond", "interval (-1) day",
		"interval (-1) month", "interval 2000 hour", "[date 'infinity']", "[null, date 'infinity']::date[2]", "{'a b': [{'c': interval 1 microsecond}]}",
		"map {'k': time '24:00:00'}", "map {date 'infinity': 1}", "union_value(d := date 'infinity')", "1::variant", "'INTEGER'::type",
	} {
		b.fails(engine.Query{Statement: "select " + sql + " as c", Outputs: types{"d": dataset}}, `column "c" (`, "parquet")
	}
}

func TestWhatParquetHoldsIsReadAgain(t *testing.T) {
	b := newBench(t)
	for sql, want := range map[string]string{
		"interval '14 months 3 days 04:05:06.789'": "1 year 2 months 3 days 04:05:06.789", "'10:00:00+02:30'::timetz": "10:00:00+02:30", "null::int[2]": "",
		"[1, 2]::int[2]": "[1, 2]", "date '10000-01-01'": "10000-01-01", "[time_ns '10:00:00.123456789']": "['10:00:00.123456789']", "12345678901234567890123::bignum": "12345678901234567890123",
	} {
		result, err := b.run(engine.Query{Statement: "select " + sql + " as c", Outputs: types{"d": dataset}})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.text("select coalesce(c::varchar, '') as out from d", result.Outputs.GetLiterals()); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
	}
}

func TestDictsWithoutATextInJSONAreRefusedByName(t *testing.T) {
	b := newBench(t)
	for packed, want := range map[string]string{
		"\x81\xc0\x01":                      "None",      // {None: 1}
		"\x81\xa1k\x81\xc0\x01":             "None",      // {"k": {None: 1}}
		"\x81\xc4\x01x\x01":                 "bytes",     // {b"x": 1}
		"\x81\x92\x01\x02\x03":              "[1 2]",     // {(1, 2): 3}
		"\x82\x01\x01\xa11\x02":             "two keys",  // {1: 1, "1": 2}
		"\x81\xa1k\xc4\x01x":                "bytes",     // {"k": b"x"}
		"\x81\xa1k\xd6\xff\x00\x00\x00\x01": "timestamp", // {"k": a timestamp}
	} {
		b.fails(engine.Query{Statement: "select $x", Inputs: literals{"x": ofBytes("msgpack", []byte(packed))}}, `input "x"`, want)
	}
	for packed, want := range map[string]string{
		"\x81\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01": `{"1.0":1}`, "\x81\xc3\x01": `{"true":1}`, "\x81\xff\x01": `{"-1":1}`,
	} {
		if got := b.text("select $x::varchar", literals{"x": ofBytes("msgpack", []byte(packed))}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	b.fails(engine.Query{Statement: "select $x", Inputs: literals{"x": ofList(ofInt(1), ofBytes("", []byte("x")))}}, `input "x"`, "bytes")
}

func dataclassOf(required []string, fields map[string]*core.LiteralType) *core.LiteralType {
	var names []any
	for _, name := range required {
		names = append(names, name)
	}
	metadata, err := structpb.NewStruct(map[string]any{"required": names})
	if err != nil {
		panic(err)
	}
	return &core.LiteralType{
		Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRUCT}, Metadata: metadata, Structure: &core.TypeStructure{DataclassType: fields},
	}
}

// flytekit makes 1 of 1.5 for an int of a dataclass, "5.0" of 5 for a str, True of 2 for a bool, and cannot read NULL.
func TestFieldsOfADataclassAreOfTheirTypes(t *testing.T) {
	b := newBench(t)
	inner := dataclassOf([]string{"n"}, map[string]*core.LiteralType{"n": whole, "s": str})
	declared := dataclassOf([]string{"i"}, map[string]*core.LiteralType{
		"i": whole, "f": real, "s": str, "o": unionOf(whole, nothing), "d": duration, "l": listOf(whole), "p": inner,
		"m": mapOf(real), "b": truth, "x": object, "t": instant,
	})
	for sql, want := range map[string]map[string]any{
		"select 1 as i, 1.5 as f, 1.10 as s, null as o, interval (-1) day as d, [1::hugeint] as l, {'n': 2.0} as p, map {'k': 2.5} as m, true as b, {'k': 1.5} as x, date '2024-01-01' as t": {
			"i": 1, "f": 1.5, "s": "1.10", "o": nil, "d": -86400, "l": []any{1}, "p": map[string]any{"n": 2}, "m": map[string]any{"k": 2.5}, "b": true,
			"x": map[string]any{"k": "1.5"}, "t": "2024-01-01T00:00:00Z"},
		`select '{"i": 1, "f": 2, "d": 1.5, "t": "2024-01-01", "p": {"n": 1}, "o": null, "unknown": 1}'::json`: {
			"i": 1, "f": 2, "d": 1.5, "t": "2024-01-01", "p": map[string]any{"n": 1}, "o": nil, "unknown": 1},
		"select {'i': 1, 's': 'x'}": {"i": 1, "s": "x"},
		"select 1 as i, 2 as other": {"i": 1, "other": 2},
	} {
		if diff := cmp.Diff(ofStruct(t, want), b.value(sql, declared, nil), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
		optional := unionOf(declared, nothing)
		if diff := cmp.Diff(ofUnion(ofStruct(t, want), declared), b.value(sql, optional, nil), protocmp.Transform()); diff != "" {
			t.Errorf("optional: %s: %s", sql, diff)
		}
	}
	for sql, want := range map[string][]string{
		"select 1.5 as i, 1 as f":                                          {`"i"`, "DECIMAL"},
		"select null::int as i, 1 as f":                                    {`"i"`, "NULL"},
		"select '1' as i, 1 as f":                                          {`"i"`, "VARCHAR"},
		"select true as i, 1 as f":                                         {`"i"`, "BOOLEAN"},
		"select 1 as i, 5 as s":                                            {`"s"`, "INTEGER"},
		"select 1 as i, 2 as b":                                            {`"b"`, "INTEGER"},
		"select 1 as i, [1.5] as l":                                        {`"l"`, "element 0"},
		"select 1 as i, [null::int] as l":                                  {`"l"`, "element 0", "NULL"},
		"select 1 as i, {'n': 1.5} as p":                                   {`"p"`, `"n"`},
		"select 1 as i, {'s': 'x'} as p":                                   {`"p"`, `has no "n"`},
		"select 1 as i, map {'k': null::int} as m":                         {`"m"`, `"k"`, "NULL"},
		"select 1 as i, interval 150000 day + interval 1 microsecond as d": {`"d"`, "INTERVAL"},
		"select 1 as f, 'x' as s":                                          {`has no "i"`},
		`select '{"i": 1.5}'::json as c`:                                   {`"c"`, `"i"`},
		"select {'i': 9007199254740993::double + 0.0, 'l': 1} as c":        {`"c"`, `"l"`},
		"select 1 as i, timestamp_ns '2024-01-01 00:00:00.1234567' as t":   {`"t"`, "nanoseconds"},
	} {
		b.fails(engine.Query{Statement: sql, Outputs: types{"out": declared}}, want...)
	}
}

func TestOneOfTwoColumnsWithANameIsNotTaken(t *testing.T) {
	b := newBench(t)
	for _, sql := range []string{"select 1 as out, 2 as out", "select 1 as OUT, 2 as Out"} {
		b.fails(engine.Query{Statement: sql, Outputs: types{"out": whole}}, "two columns", "different names")
	}
	if got := b.value("select 1 as OUT, 2 as out", whole, nil); got.GetScalar().GetPrimitive().GetInteger() != 2 {
		t.Errorf("got %v", got)
	}
}
