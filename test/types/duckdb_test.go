package types

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/types/table"
)

// engineType is a type of an engine, as the engine writes it, with values to try.
type engineType struct {
	name   string
	values []value
	// parts are for types with parts: the types of Flyte's that their values may be, as Python writes them.
	parts []string
}

var familyOf = regexp.MustCompile(`[A-Za-z0-9_]+(?: [A-Z]+)*`)

// family is the type without what it is of.
func (t engineType) family() string { return familyOf.FindString(t.name) }

func startDuckDB(t *testing.T) *bench {
	t.Helper()
	plugin := agenttest.Command(t, hosttest.Program("duckdb"))
	config := map[string]any{"state_dir": filepath.Join(t.TempDir(), "state"), "threads": 1, "max_concurrent": workers}
	if problems := plugin.Configure(config); len(problems) > 0 {
		t.Fatal(problems)
	}
	b := newBench(t, "duckdb_query", plugin)
	pairs := func(keys, values []string) string {
		all := make([]string, len(keys))
		for i := range keys {
			all[i] = keys[i] + ": " + values[i]
		}
		return "{ " + strings.Join(all, ", ") + "}" // {{ would be a template
	}
	b.dialect = dialect{
		list:   func(items []string) string { return "[" + strings.Join(items, ", ") + "]" },
		dict:   func(keys, values []string) string { return "MAP " + pairs(keys, values) },
		record: pairs,
	}
	return b
}

// quoted is a text as a literal of SQL.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// cast makes expressions of texts that the engine casts to a type.
func cast(to string, values ...value) []value {
	var made []value
	for _, v := range values {
		made = append(made, v.of("CAST(%s AS %s)", quoted(*v.text), to))
	}
	return made
}

func numbers(texts ...string) []value {
	var made []value
	for _, s := range texts {
		made = append(made, number(s))
	}
	return made
}

func texts(all ...string) []value {
	var made []value
	for _, s := range all {
		made = append(made, text(s))
	}
	return made
}

// opaque are values whose only form is their text in the engine.
func opaque(all ...string) []value {
	var made []value
	for _, s := range all {
		made = append(made, value{text: &s})
	}
	return made
}

func clocks(all ...string) []value {
	var made []value
	for _, s := range all {
		made = append(made, value{text: &s, clock: clockOf(s)})
	}
	return made
}

// instants are texts of instants, with what the engine writes behind them.
func instants(behind string, all ...string) []value {
	var made []value
	for _, s := range all {
		v := instant(s)
		if negative, rest, ok := strings.Cut(s, "-"); ok && negative == "" {
			day, _, _ := strings.Cut(rest, " ")
			number, monthAndDay, _ := strings.Cut(day, "-")
			year, err := strconv.Atoi(number)
			if err != nil {
				panic(err)
			}
			// The year before the first is 0, which is 1 BC.
			s = fmt.Sprintf("%04d-%s (BC)%s", year+1, monthAndDay, rest[len(day):])
		}
		s += behind
		v.text = &s
		made = append(made, v)
	}
	return made
}

// endless are infinite values of a type with days.
func endless() []value { return opaque("infinity", "-infinity") }

var floats = []value{
	float("0.5", 0.5), float("-0.0", math.Copysign(0, -1)), float("nan", math.NaN()), float("inf", math.Inf(1)), float("-inf", math.Inf(-1)),
	float("1.0", 1), float("16777216.0", 1<<24),
}

// moments are the edges of instants: of Flyte's years, of time before 1970, before a leap second.
var moments = []string{
	"2024-02-29 12:30:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "1969-12-31 23:59:59", "2016-12-31 23:59:59", "10000-01-01 00:00:00",
	"-0043-03-15 00:00:00",
}

func duckdbTypes() []engineType {
	signed := func(bits int) []string {
		return []string{"0", fmt.Sprint(int64(math.MinInt64) >> (64 - bits)), fmt.Sprint(int64(math.MaxInt64) >> (64 - bits))}
	}
	unsigned := func(bits int) []string { return []string{"0", fmt.Sprint(uint64(math.MaxUint64) >> (64 - bits))} }
	micros := func(all ...string) []string { return append(slices.Clone(moments), all...) }
	uuids := opaque("00000000-0000-0000-0000-000000000000", "8d4b5a9c-1f7e-4c3a-9b2d-0e6f5a4b3c2d", "ffffffff-ffff-ffff-ffff-ffffffffffff")
	blobs := []value{
		{sql: `''::BLOB`, raw: []byte{}},
		{sql: `'\x00\xFFa'::BLOB`, raw: []byte{0, 0xff, 'a'}},
		{sql: `'text'::BLOB`, raw: []byte("text")},
	}
	ints := []value{number("1").of("1"), {null: true, sql: "NULL"}, number("9007199254740993").of("9007199254740993")}
	all := []engineType{
		{name: "BOOLEAN", values: cast("BOOLEAN", truth(true), truth(false))},
		{name: "TINYINT", values: cast("TINYINT", numbers(signed(8)...)...)},
		{name: "SMALLINT", values: cast("SMALLINT", numbers(signed(16)...)...)},
		{name: "INTEGER", values: cast("INTEGER", numbers(signed(32)...)...)},
		{name: "BIGINT", values: cast("BIGINT", numbers(append(signed(64), "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993")...)...)},
		{name: "HUGEINT", values: cast("HUGEINT", numbers("0", "9007199254740993", "9223372036854775808", "18446744073709551615", "18446744073709551616",
			"170141183460469231731687303715884105727", "-170141183460469231731687303715884105728", "147573952589676412928")...)},
		{name: "UTINYINT", values: cast("UTINYINT", numbers(unsigned(8)...)...)},
		{name: "USMALLINT", values: cast("USMALLINT", numbers(unsigned(16)...)...)},
		{name: "UINTEGER", values: cast("UINTEGER", numbers(unsigned(32)...)...)},
		{name: "UBIGINT", values: cast("UBIGINT", numbers(append(unsigned(64), "9223372036854775807", "9223372036854775808", "9007199254740993")...)...)},
		{name: "UHUGEINT", values: cast("UHUGEINT", numbers("0", "9007199254740993", "18446744073709551616", "340282366920938463463374607431768211455")...)},
		{name: "BIGNUM", values: cast("BIGNUM", numbers("0", "-7", "9007199254740993", "123456789012345678901234567890123456789012345678901234567890")...)},
		{name: "FLOAT", values: cast("FLOAT", append(slices.Clone(floats), float("1e-45", float64(math.SmallestNonzeroFloat32)), float("3.4028235e+38", math.MaxFloat32))...)},
		{name: "DOUBLE", values: cast("DOUBLE", append(slices.Clone(floats), float("0.1", 0.1), float("5e-324", math.SmallestNonzeroFloat64),
			float("1.7976931348623157e+308", math.MaxFloat64), float("9007199254740992.0", 1<<53), float("1e+300", 1e300))...)},
		{name: "DECIMAL(5,2)", values: cast("DECIMAL(5,2)", numbers("1.10", "-999.99", "3.00", "0.00")...)},
		{name: "DECIMAL(18,3)", values: cast("DECIMAL(18,3)", numbers("123456789012345.678", "0.001")...)},
		{name: "DECIMAL(38,10)", values: cast("DECIMAL(38,10)", numbers("12345678901234567890.0123456789", "1.5000000000", "-0.0000000001")...)},
		{name: "DECIMAL(38,0)", values: cast("DECIMAL(38,0)", numbers("99999999999999999999999999999999999999", "9007199254740993", "7")...)},
		{name: "VARCHAR", values: append(cast("VARCHAR", texts("", "x", "null", "it's \"quoted\"", "Zoë 😀\n\t", "1234", "<&>", "\u2028")...), text("a\x00b").of("'a' || chr(0) || 'b'"))},
		{name: "BLOB", values: blobs},
		{name: "BIT", values: cast("BIT", opaque("0", "1", "0101", strings.Repeat("10", 70))...)},
		{name: "DATE", values: cast("DATE", append(instants("", "2024-02-29", "0001-01-01", "9999-12-31", "10000-01-01", "-0043-03-15"), endless()...)...)},
		{name: "TIME", values: cast("TIME", clocks("00:00:00", "12:34:56.789012", "23:59:59.999999", "24:00:00")...)},
		{name: "TIME_NS", values: cast("TIME_NS", clocks("00:00:00", "10:00:00.123456789", "23:59:59.999999999")...)},
		{name: "TIME WITH TIME ZONE", values: cast("TIME WITH TIME ZONE", opaque("10:00:00+02:30", "00:00:00+00", "23:59:59.999999-15:59:59", "24:00:00+00")...)},
		{name: "TIMESTAMP_S", values: cast("TIMESTAMP_S", append(instants("", moments...), endless()...)...)},
		{name: "TIMESTAMP_MS", values: cast("TIMESTAMP_MS", append(instants("", micros("2024-01-01 00:00:00.001")...), endless()...)...)},
		{name: "TIMESTAMP", values: cast("TIMESTAMP", append(instants("", micros("9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999")...), endless()...)...)},
		{name: "TIMESTAMP_NS", values: cast("TIMESTAMP_NS", append(instants("", "2024-01-01 00:00:00.123456789", "2262-04-11 23:47:16.854775806",
			"1677-09-22 00:00:00", "1969-12-31 23:59:59.999999999", "2024-01-01 00:00:00"), endless()...)...)},
		{name: "TIMESTAMP WITH TIME ZONE", values: cast("TIMESTAMP WITH TIME ZONE", append(instants("+00", micros("9999-12-31 23:59:59.999999")...), endless()...)...)},
		{name: "INTERVAL", values: intervals()},
		{name: "UUID", values: cast("UUID", uuids...)},
		{name: `ENUM('a', 'it''s')`, values: cast(`ENUM('a', 'it''s')`, texts("a", "it's")...)},
		{name: "JSON", values: jsons(), parts: []string{"dict", "dict[str, int]"}},
		{name: `"NULL"`, values: nil},
		{name: "INTEGER[]", parts: []string{"list[int]", "list[Optional[int]]"}, values: []value{list(ints[:2]...).of("[1, NULL]::INTEGER[]"), list().of("[]::INTEGER[]")}},
		{name: "INTEGER[2]", parts: []string{"list[int]", "list[Optional[int]]"}, values: []value{list(ints[:2]...).of("[1, NULL]::INTEGER[2]"), list(ints[0], ints[0]).of("[1, 1]::INTEGER[2]")}},
		{name: "STRUCT(a BIGINT, \"b c\" VARCHAR)", parts: []string{"dict"}, values: []value{
			dict(entryOf("a", ints[2]), entryOf("b c", text("x"))).of(`{'a': 9007199254740993, 'b c': 'x'}`),
			dict(entryOf("a", ints[1]), entryOf("b c", ints[1])).of(`{'a': NULL::BIGINT, 'b c': NULL::VARCHAR}`),
		}},
		{name: "STRUCT(INTEGER, INTEGER)", parts: []string{"dict"}, values: []value{dict().of("row(1::INTEGER, 2::INTEGER)")}},
		{name: "MAP(VARCHAR, BIGINT)", parts: []string{"dict", "dict[str, int]", "dict[str, Optional[int]]"}, values: []value{
			dict(entryOf("", ints[2]), entryOf("b", ints[0])).of(`MAP {'': 9007199254740993, 'b': 1}`), dict().of("MAP {}::MAP(VARCHAR, BIGINT)"),
			dict(entryOf("n", ints[1])).of(`MAP {'n': NULL::BIGINT}`),
		}},
		{name: "UNION(i INTEGER, s VARCHAR)", parts: []string{"int", "str", "Union[int, str]"}, values: []value{
			union(number("1"), 0, number("1"), value{null: true}).of("union_value(i := 1)::UNION(i INTEGER, s VARCHAR)"),
			union(text("x"), 1, value{null: true}, text("x")).of("union_value(s := 'x')::UNION(i INTEGER, s VARCHAR)"),
		}},
		{name: "TYPE", values: []value{value{}.of("'INTEGER'::TYPE")}},
		{name: "VARIANT", values: []value{number("1").of("1::VARIANT"), text("x").of("'x'::VARIANT")}},
		{name: "GEOMETRY", values: []value{{sql: "'POINT(0 0)'::GEOMETRY", raw: append([]byte{1, 1}, make([]byte, 19)...)}}},
	}
	for i := range all {
		if of := &all[i]; of.name != "STRUCT(INTEGER, INTEGER)" { // which has no cast
			of.values = append(of.values, value{null: true}.of("CAST(NULL AS %s)", of.name))
		}
	}
	return all
}

// union is a value of a UNION, which in parquet is a struct of the tag's number and all members.
func union(v value, tag int, members ...value) value {
	stored := dict(entryOf("", number(fmt.Sprint(tag))), entryOf("i", members[0]), entryOf("s", members[1]))
	v.stored = &stored
	return v
}

func intervals() []value {
	return []value{
		interval("01:00:00", 0, 0, 3600e6).of("INTERVAL 1 HOUR"),
		interval("00:00:00", 0, 0, 0).of("INTERVAL 0 SECOND"),
		interval("00:00:00.000001", 0, 0, 1).of("to_microseconds(1)"),
		interval("-00:00:00.000001", 0, 0, -1).of("to_microseconds(-1)"),
		interval("-1 day", 0, -1, 0).of("INTERVAL (-1) DAY"),
		interval("109573 days", 0, 109573, 0).of("INTERVAL 109573 DAY"),
		interval("-109573 days", 0, -109573, 0).of("INTERVAL (-109573) DAY"),
		interval("1 day -00:00:01", 0, 1, -1e6).of("INTERVAL 1 DAY - INTERVAL 1 SECOND"),
		interval("1 month", 1, 0, 0).of("INTERVAL 1 MONTH"),
		interval("1 year 2 months 3 days 04:05:06.789", 14, 3, 14706789000).of("INTERVAL '1 year 2 months 3 days 04:05:06.789'"),
		interval("-25 years", -300, 0, 0).of("INTERVAL (-25) YEAR"),
		interval("2000000000 days", 0, 2000000000, 0).of("INTERVAL 2000000000 DAY"),
		interval("2562047788:00:54.775807", 0, 0, math.MaxInt64).of("to_microseconds(9223372036854775807)"),
	}
}

func jsons() []value {
	all := map[string]value{
		`{"z":1.0,"id":9007199254740993,"a":"<&>"}`: dict(entryOf("z", float("1.0", 1)), entryOf("id", number("9007199254740993")), entryOf("a", text("<&>"))),
		`{"b": {"n": null, "l": [true, 0.5]}}`: dict(entryOf("b", dict(entryOf("n", value{null: true}),
			entryOf("l", list(truth(true), float("0.5", 0.5)))))),
		`{}`:                            dict(),
		`{"u": 18446744073709551615}`:   dict(entryOf("u", number("18446744073709551615"))),
		`{"big": 18446744073709551616}`: dict(entryOf("big", number("18446744073709551616"))),
		`{"a":1,"a":2}`:                 {},
		`[1, 2]`:                        list(number("1"), number("2")),
		`12`:                            number("12"),
		`"x"`:                           text("x"),
	}
	var made []value
	for _, s := range slices.Sorted(maps.Keys(all)) {
		parsed := all[s]
		v := value{text: &s, parsed: &parsed}
		made = append(made, v.of("%s::JSON", quoted(s)))
	}
	return made
}

// flytes are the types that a scalar output may declare, as flytekit's users write them.
var flytes = []string{"int", "float", "str", "bool", "datetime", "timedelta", untagged}

func TestDuckDBKeepsValuesAsTheyAreOrRefusesThemByName(t *testing.T) {
	t.Parallel()
	b := startDuckDB(t)
	b.part("parameters", duckdbTakesParameters)
	engine := func(of arrowType) string { return of.engine }
	b.part("parquet", func(b *bench) { b.readsParquet(engine, "any_value(typeof(c))") })
	b.part("folders", func(b *bench) { b.unitesFiles(engine, "HUGEINT", "DOUBLE") })
	b.part("text", func(b *bench) { b.readsText(func(of writtenType) string { return of.engine }) })
	b.part("outputs", duckdbGivesOutputs)
	b.part("made-up outputs", duckdbMakesUpOutputs)
	b.part("made-up parameters", duckdbMakesUpParameters)
	b.hold("duckdb")
}

func duckdbGivesOutputs(b *bench) {
	known := duckdbTypes()
	b.wantAllTypes(known)
	found := b.scalars(known)
	b.positions(known, found)
}

// positions tries values in all positions but that of a scalar.
func (b *bench) positions(known []engineType, found map[string][]taken) {
	b.t.Helper()
	var probes []probe
	for _, of := range known {
		for _, t := range found[of.name] {
			// flytekit has no type for untagged bytes; a dict that is a row is no value.
			if t.flyte != untagged && (!b.dialect.row || t.flyte != "dict") {
				probes = append(probes, b.typed(of, t)...)
			}
		}
		probes = append(probes, b.untyped(of)...)
	}
	b.run(probes)
}

// typed are the probes of lists and dicts whose parts have a type: the values that are taken all at once, and the first of those that
// are not.
func (b *bench) typed(of engineType, t taken) []probe {
	var probes []probe
	optional := t.flyte
	if !strings.HasPrefix(optional, "Optional") {
		optional = "Optional[" + optional + "]"
	}
	nothing := value{null: true}.of("NULL")
	add := func(flyte, position, sql string, want value) {
		probes = append(probes, output(of, want, flyte, position, sql, flyte, want))
	}
	all := func(values []value) {
		var sqls, keys []string
		var fields []field
		for i, v := range values {
			sqls, keys = append(sqls, v.sql), append(keys, fmt.Sprintf("'k%d'", i))
			fields = append(fields, entryOf(fmt.Sprintf("k%d", i), v))
		}
		if len(values) == 0 {
			return
		}
		items := b.dialect.list(sqls)
		add("list["+optional+"]", "list item", b.dialect.list(append(slices.Clone(sqls), "NULL")), list(append(slices.Clone(values), nothing)...))
		add("list[list["+t.flyte+"]]", "nested two deep", b.dialect.list([]string{items}), list(list(values...)))
		add("dict[str, "+optional+"]", "dict value", b.dialect.dict(keys, sqls), dict(fields...))
	}
	var fine []value
	refused := false
	for i, v := range of.values {
		switch {
		case v.null:
			add(optional, "scalar", v.sql, nothing)
		case t.outcomes[i] != table.Refused:
			fine = append(fine, v)
		case !refused:
			refused = true
			all([]value{v})
		}
	}
	all(fine)
	return probes
}

// untyped are the probes of structs and of columns of datasets.
func (b *bench) untyped(of engineType) []probe {
	var probes []probe
	one := []string{"1"}
	for _, v := range of.values {
		in := func(flyte, position, sql string, want value) {
			if b.dialect.row && flyte == "dict" {
				want = dict(entryOf("c", want))
			}
			probes = append(probes, output(of, v, flyte, position, sql, flyte, want))
		}
		column := func(position, sql string, want value) {
			probes = append(probes, output(of, v, "dataset", position, sql, dataset, list(want)))
		}
		nested := b.dialect.record([]string{"'b'"}, []string{v.sql})
		in("dict", "dict value", b.dialect.record([]string{"'k'"}, []string{v.sql}), dict(entryOf("k", v)))
		in("dict", "nested two deep", b.dialect.record([]string{"'a'"}, []string{b.dialect.list([]string{nested})}), dict(entryOf("a", list(dict(entryOf("b", v))))))
		column("dataset column", v.sql, v)
		column("nested two deep", b.dialect.record([]string{"'a'"}, []string{b.dialect.list([]string{v.sql})}), dict(entryOf("a", list(v))))
		if v.null {
			continue
		}
		keyed := b.dialect.dict([]string{v.sql}, one)
		in("dict", "map key", keyed, dict(field{typed: &v, value: number("1")}))
		in("dict[str, int]", "map key", keyed, dict(field{typed: &v, value: number("1")}))
		column("map key", keyed, dict(field{typed: &v, value: number("1")}))
	}
	return probes
}

func (b *bench) scalar(of engineType, v value, flyte string) probe {
	want := v
	if b.dialect.row && flyte == "dict" {
		want = dict(entryOf("c", v))
	}
	return output(of, v, flyte, "scalar", v.sql, flyte, want)
}

// output is the probe of a value in one position of a column "c".
func output(of engineType, v value, flyte, position, sql, python string, want value) probe {
	return probe{
		cell:  table.Cell{Direction: "out", Flyte: flyte, Engine: of.name, Position: position},
		sql:   "SELECT " + sql + " AS c",
		reads: []reading{{"out", python, want}},
		names: [][]string{{`column "c"`}, {of.family()}},
	}
}

// wantAllTypes asks the engine which types it has, and wants values for each.
func (b *bench) wantAllTypes(known []engineType) {
	b.t.Helper()
	var have []string
	for _, of := range known {
		name := of.family()
		if strings.HasSuffix(of.name, "[]") {
			name = "LIST"
		} else if strings.HasSuffix(of.name, "]") {
			name = "ARRAY"
		}
		have = append(have, name)
	}
	all := b.answerOf("SELECT DISTINCT logical_type AS out FROM duckdb_types()", "list[str]")
	for _, name := range all.list {
		if !slices.Contains(have, name.text) {
			b.t.Errorf("DuckDB has the type %s, for which this test has no values", name.text)
		}
	}
	if len(all.list) < 30 {
		b.t.Errorf("DuckDB says that it has the types %v", all)
	}
}

// answerOf is the only output of a task that must succeed.
func (b *bench) answerOf(sql, python string) told {
	b.t.Helper()
	declared := b.typeOf(python)
	result := b.plugin.RunTask(b.t.Context(), agenttest.Task{Type: b.taskType, SQL: sql, OutputTypes: map[string]*core.LiteralType{"out": declared}})
	made := result.Resource.GetOutputs().GetLiterals()["out"]
	if made == nil {
		b.t.Fatalf("%s: %s %s", sql, result.Phase, result.Message)
	}
	return *b.python.ask(b.t, reads(b.t, reading{output: "out", python: python}, made)...)[0].Told
}

// taken are the types of Flyte's that a type of the engine's can be, each with the outcomes of its values.
type taken struct {
	flyte    string
	outcomes []string
}

// scalars tries values as every type of Flyte's: all of them where not every one of the first few is refused.
func (b *bench) scalars(known []engineType) map[string][]taken {
	b.t.Helper()
	const few = 3
	found := map[string][]taken{}
	var first, rest []probe
	var firstOf []engineType
	for _, of := range known {
		for _, flyte := range append(slices.Clone(flytes), of.parts...) {
			for _, v := range of.values[:min(few, len(of.values))] {
				first, firstOf = append(first, b.scalar(of, v, flyte)), append(firstOf, of)
			}
		}
	}
	outcomes := b.run(first)
	for i := 0; i < len(first); {
		of, flyte := firstOf[i], first[i].cell.Flyte
		t := taken{flyte: flyte}
		for ; i < len(first) && firstOf[i].name == of.name && first[i].cell.Flyte == flyte; i++ {
			t.outcomes = append(t.outcomes, outcomes[i])
		}
		if !slices.ContainsFunc(t.outcomes, func(o string) bool { return o != table.Refused }) {
			continue
		}
		found[of.name] = append(found[of.name], t)
		for _, v := range of.values[len(t.outcomes):] {
			rest = append(rest, b.scalar(of, v, flyte))
		}
	}
	outcomes = b.run(rest)
	for _, of := range known {
		for i := range found[of.name] {
			t := &found[of.name][i]
			more := len(of.values) - len(t.outcomes)
			t.outcomes, outcomes = append(t.outcomes, outcomes[:more]...), outcomes[more:]
		}
	}
	return found
}
