package types

import (
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/types/table"
)

func startRetrieval(t *testing.T, inputs string) *bench {
	t.Helper()
	plugin := agenttest.Command(t, hosttest.Rust(t, "retrieval"))
	config := map[string]any{"allowed": []string{inputs}, "threads": 1, "max_concurrent": workers}
	if problems := plugin.Configure(config); len(problems) > 0 {
		t.Fatal(problems)
	}
	b := newBench(t, "data_retrieval", plugin)
	b.sync = true
	record := func(keys, values []string) string {
		var all []string
		for i := range keys {
			all = append(all, keys[i], values[i])
		}
		return "named_struct(" + strings.Join(all, ", ") + ")"
	}
	b.dialect = dialect{
		list: func(items []string) string { return "make_array(" + strings.Join(items, ", ") + ")" },
		dict: func(keys, values []string) string {
			return "map(make_array(" + strings.Join(keys, ", ") + "), make_array(" + strings.Join(values, ", ") + "))"
		},
		record: record,
		row:    true,
	}
	return b
}

// arrowCast makes expressions of texts that DataFusion casts to a type of Arrow's.
func arrowCast(to string, values ...value) []value {
	var made []value
	for _, v := range values {
		made = append(made, v.of("arrow_cast(%s, '%s')", quoted(*v.text), to))
	}
	return made
}

// arrowFrom makes expressions that are cast by way of another type.
func arrowFrom(by, to string, values ...value) []value {
	var made []value
	for _, v := range values {
		made = append(made, v.of("arrow_cast(arrow_cast(%s, '%s'), '%s')", quoted(*v.text), by, to))
	}
	return made
}

func retrievalTypes() []engineType {
	signed := func(bits uint) []value {
		return numbers("0", fmt.Sprint(int64(-1)<<(bits-1)), fmt.Sprint(int64(uint64(1)<<(bits-1)-1)))
	}
	micros := instants("", "2024-02-29 12:30:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "1969-12-31 23:59:59", "2016-12-31 23:59:59")
	nanoseconds := append(instants("", "2024-02-29 12:30:00", "1969-12-31 23:59:59"), instant("2024-01-01 00:00:00.123456789"), instant("2262-04-11 23:47:16.854775806"))
	fraction := []value{instant("2024-01-01 00:00:00.001"), instant("9999-12-31 23:59:59.999")}
	var all []engineType
	add := func(name string, values ...value) { all = append(all, engineType{name: name, values: values}) }
	add("Boolean", arrowCast("Boolean", truth(true), truth(false))...)
	for _, bits := range []uint{8, 16, 32} {
		add(fmt.Sprintf("Int%d", bits), arrowCast(fmt.Sprintf("Int%d", bits), signed(bits)...)...)
		add(fmt.Sprintf("UInt%d", bits), arrowCast(fmt.Sprintf("UInt%d", bits), numbers("0", fmt.Sprint(uint64(1)<<bits-1))...)...)
	}
	add("Int64", arrowCast("Int64", append(signed(64), numbers("9007199254740993", "-9007199254740993")...)...)...)
	add("UInt64", arrowCast("UInt64", numbers("0", "9007199254740993", "9223372036854775808", "18446744073709551615")...)...)
	add("Float16", arrowFrom("Float32", "Float16", float("0.5", 0.5), floats[1], floats[2], floats[3], floats[5], float("65504.0", 65504), float("0.000000059604645", 1.0/(1<<24)))...)
	add("Float32", arrowCast("Float32", append(slices.Clone(floats), float("1e-45", 1.401298464324817e-45))...)...)
	add("Float64", arrowCast("Float64", append(slices.Clone(floats), float("0.1", 0.1), float("5e-324", 5e-324), float("1.7976931348623157e308", 1.7976931348623157e308))...)...)
	for _, name := range []string{"Utf8", "LargeUtf8", "Utf8View"} {
		add(name, arrowCast(name, texts("", "x", "it's \"quoted\"", "Zoë 😀\n\t", "null", "a text of more than 12 bytes")...)...)
	}
	bytes := []value{{sql: "x''", raw: []byte{}}, {sql: "x'00ff61'", raw: []byte{0, 0xff, 'a'}}}
	for _, name := range []string{"Binary", "LargeBinary", "BinaryView"} {
		var values []value
		for _, v := range bytes {
			values = append(values, v.of("arrow_cast(%s, '%s')", v.sql, name))
		}
		add(name, values...)
	}
	add("FixedSizeBinary(3)", bytes[1].of("arrow_cast(x'00ff61', 'FixedSizeBinary(3)')"))
	days := instants("", "2024-02-29", "0001-01-01", "9999-12-31", "1969-12-31")
	add("Date32", append(arrowCast("Date32", days...), value{at: nanos(2932897, 86400), day: true}.of("arrow_cast(2932897, 'Date32')"))...)
	add("Date64", arrowFrom("Date32", "Date64", days...)...)
	add("Time32(Second)", arrowCast("Time32(Second)", clocks("00:00:00", "23:59:59")...)...)
	add("Time32(Millisecond)", arrowCast("Time32(Millisecond)", clocks("12:34:56.789")...)...)
	add("Time64(Microsecond)", arrowCast("Time64(Microsecond)", clocks("23:59:59.999999", "00:00:00")...)...)
	add("Time64(Nanosecond)", arrowCast("Time64(Nanosecond)", clocks("10:00:00.123456789", "00:00:00")...)...)
	for _, zone := range []string{"None", `Some("+00:00")`, `Some("Europe/Berlin")`} {
		stamps := func(unit string, values []value) {
			name := "Timestamp(" + unit + ", " + zone + ")"
			var made []value
			for _, v := range values {
				made = append(made, v.of("arrow_cast(%s, '%s')", new(big.Int).Div(v.at, unitOf(unit)), name))
			}
			add(name, made...)
		}
		stamps("Second", micros)
		stamps("Millisecond", append(slices.Clone(micros), fraction...))
		stamps("Microsecond", append(slices.Clone(micros), instant("9999-12-31 23:59:59.999999"), instant("10000-01-01 00:00:00"), instant("-0043-03-15 00:00:00")))
		stamps("Nanosecond", nanoseconds)
	}
	for _, unit := range []string{"Second", "Millisecond", "Microsecond", "Nanosecond"} {
		var values []value
		for _, count := range []int64{0, 1, -1, 3_000_000_000} {
			values = append(values, value{span: new(big.Int).Mul(big.NewInt(count), unitOf(unit))}.of("arrow_cast(%d, 'Duration(%s)')", count, unit))
		}
		add("Duration("+unit+")", values...)
	}
	add("Interval(YearMonth)", interval("1 years 2 mons", 14, 0, 0).of("arrow_cast('14 months', 'Interval(YearMonth)')"))
	add("Interval(DayTime)", interval("3 days 0.001 secs", 0, 3, 1000).of("arrow_cast('3 days 1 millisecond', 'Interval(DayTime)')"), interval("-1 days -0.001 secs", 0, -1, -1000).of("arrow_cast('-1 day -1 millisecond', 'Interval(DayTime)')"))
	add("Interval(MonthDayNano)", interval("3 days 0.000001000 secs", 0, 3, 1).of("INTERVAL '3 days 1 microsecond'"), interval("1 mons", 1, 0, 0).of("INTERVAL '1 month'"), interval("-0.000001000 secs", 0, 0, -1).of("INTERVAL '-1 microsecond'"))
	for name, values := range map[string][]string{
		"Decimal32(9, 2)": {"1.10", "-9999999.99", "3.00"}, "Decimal64(18, 3)": {"123456789012345.678", "0.001"},
		"Decimal128(38, 10)": {"1234567890123456789012345678.0123456789", "1.5000000000", "-0.0000000001"}, "Decimal128(38, 0)": {"99999999999999999999999999999999999999", "7"},
		"Decimal256(76, 10)": {"123456789012345678901234567890123456789012345678901234567890.0123456789", "2.0000000000"},
	} {
		add(name, arrowCast(name, numbers(values...)...)...)
	}
	add("Dictionary(Int8, Utf8)", arrowCast("Dictionary(Int8, Utf8)", texts("x", "")...)...)
	add("Dictionary(Int32, Int64)", arrowFrom("Int64", "Dictionary(Int32, Int64)", numbers("9007199254740993")...)...)
	add("Null", value{null: true}.of("NULL"))
	one, nothing := number("9007199254740993").of("9007199254740993"), value{null: true}.of("NULL")
	for name, sql := range map[string]string{"List(Int64)": "make_array(9007199254740993, NULL)", "LargeList(Int64)": "arrow_cast(make_array(9007199254740993, NULL), 'LargeList(Int64)')",
		"FixedSizeList(2 x Int64)": "arrow_cast(make_array(9007199254740993, NULL), 'FixedSizeList(2 x Int64)')"} {
		all = append(all, engineType{name: name, parts: []string{"list[Optional[int]]"}, values: []value{list(one, nothing).of("%s", sql)}})
	}
	all = append(all,
		engineType{name: "Struct", parts: []string{"dict"}, values: []value{
			dict(entryOf("a", one), entryOf("b c", text("x"))).of("named_struct('a', 9007199254740993, 'b c', 'x')"), dict(entryOf("a", nothing), entryOf("b c", nothing)).of("named_struct('a', NULL::bigint, 'b c', NULL::varchar)"),
		}},
		engineType{name: "Map", parts: []string{"dict", "dict[str, int]"}, values: []value{dict(entryOf("k", one), entryOf("", one)).of("MAP {'k': 9007199254740993, '': 9007199254740993}")}},
	)
	slices.SortFunc(all, func(a, b engineType) int { return strings.Compare(a.name, b.name) })
	for i := range all {
		of := &all[i]
		if sql := of.values[0].sql; of.name != "Null" && !strings.HasPrefix(sql, "INTERVAL") {
			of.values = append(of.values, value{null: true}.of("nullif(%s, %s)", sql, sql))
		}
	}
	return all
}

// zeros are what a number of nanoseconds has more than one of the unit.
var zeros = map[string]string{"Second": "000000000", "Millisecond": "000000", "Microsecond": "000", "Nanosecond": ""}

// unitOf is a unit in nanoseconds.
func unitOf(unit string) *big.Int {
	n, ok := new(big.Int).SetString("1"+zeros[unit], 10)
	if !ok {
		panic(unit)
	}
	return n
}

func TestRetrievalKeepsValuesAsTheyAreOrRefusesThemByName(t *testing.T) {
	t.Parallel()
	b := startRetrieval(t, os.TempDir())
	engine := func(of arrowType) string { return strings.ReplaceAll(of.arrow, "pa.", "") }
	b.part("parameters", retrievalTakesParameters)
	b.part("parquet", func(b *bench) { b.readsParquet(engine, "") })
	b.part("folders", func(b *bench) {
		b.unitesFiles(engine, "Int", "Float64", "Boolean", "Utf8", "Binary", "Date32", "Time", "Decimal", "List", "Struct", "Map")
	})
	b.part("text", func(b *bench) { b.readsText(func(of writtenType) string { return of.name }) })
	b.part("outputs", retrievalGivesOutputs)
	b.hold("retrieval")
}

func retrievalGivesOutputs(b *bench) {
	known := retrievalTypes()
	found := b.scalars(known)
	b.positions(known, found)
}

// retrievalTakesParameters gives parameters back. Arrow's type of each is the one of the engine.
func retrievalTakesParameters(b *bench) {
	engines := map[string]string{
		"bool": "Boolean", "int": "Int64", "float": "Float64", "datetime": "Timestamp(µs, \"UTC\")", "date": "Timestamp(µs, \"UTC\")", "timedelta": "Duration(µs)",
		"Optional[int]": "Int64",
	}
	var probes []probe
	parameter := func(flyte, engine, position, python string, values []string) {
		inputs, want := b.given(python, values)
		for i := range inputs {
			probes = append(probes, probe{
				cell: table.Cell{Direction: "in", Flyte: flyte, Engine: engine, Position: position}, sql: "SELECT $x AS out",
				inputs: map[string]input{"x": inputs[i]}, reads: []reading{{"out", python, want[i]}}, names: [][]string{{`"x"`, "$x", `column "out"`}},
			})
		}
	}
	for _, of := range pythonTypes() {
		engine, ok := engines[of.name]
		if !ok {
			engine = "Utf8"
		}
		var values, lists, dicts []string
		for _, v := range of.values {
			values, lists, dicts = append(values, v[0]), append(lists, "["+v[0]+"]"), append(dicts, "{'k': "+v[0]+"}")
		}
		parameter(of.name, engine, "named parameter", of.name, values)
		parameter("list["+of.name+"]", engine, "list item", "list["+of.name+"]", append(lists, "[]"))
		parameter("dict[str, "+of.name+"]", "Utf8", "dict value", "dict[str, "+of.name+"]", append(dicts, "{}"))
	}
	for _, of := range mixedTypes() {
		var values []string
		for _, v := range of.values {
			values = append(values, v[0])
		}
		parameter(of.name, "by its items", "named parameter", of.name, values)
	}
	b.run(probes)
}
