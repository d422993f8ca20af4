package types

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/test/types/table"
)

// pythonType is one of flytekit's, with values to try.
type pythonType struct {
	// name is the type as flytekit's users write it, engine what a parameter of it is in the engine.
	name, engine string
	// values are Python's expressions, each with the engine's text; "" where that is not compared.
	values [][2]string
}

func pythonTypes() []pythonType {
	return []pythonType{
		{"bool", "BOOLEAN", [][2]string{{"True", "true"}, {"False", "false"}}},
		{"int", "BIGINT", [][2]string{{"0", "0"}, {"2**53 + 1", "9007199254740993"}, {"-(2**53) - 1", "-9007199254740993"}, {"2**63 - 1", "9223372036854775807"},
			{"-(2**63)", "-9223372036854775808"}}},
		{"float", "DOUBLE", [][2]string{{"0.1", "0.1"}, {"-0.0", "-0.0"}, {"nan", "nan"}, {"inf", "inf"}, {"-inf", "-inf"}, {"5e-324", "5e-324"},
			{"1.7976931348623157e308", "1.7976931348623157e+308"}, {"1.0", "1.0"}}},
		{"str", "VARCHAR", [][2]string{{"''", ""}, {"'it\\'s \"q\"; --'", "it's \"q\"; --"}, {"'Zoë 😀\\n'", "Zoë 😀\n"}, {"'a\\0b'", ""}, {"'null'", "null"}, {"'1234'", "1234"}}},
		{"Colour", "VARCHAR", [][2]string{{"'red'", "red"}, {"\"it's blue\"", "it's blue"}}},
		{"datetime", "TIMESTAMP WITH TIME ZONE", [][2]string{
			{"datetime(1, 1, 1, tzinfo=utc)", "0001-01-01 00:00:00+00"}, {"datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=utc)", "9999-12-31 23:59:59.999999+00"},
			{"datetime(2016, 12, 31, 23, 59, 59, 999999, tzinfo=utc)", "2016-12-31 23:59:59.999999+00"},
			{"datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=utc)", "1969-12-31 23:59:59.000001+00"},
			{"datetime(2024, 2, 29, 1, tzinfo=timezone(timedelta(hours=2)))", "2024-02-28 23:00:00+00"},
		}},
		{"date", "TIMESTAMP WITH TIME ZONE", [][2]string{{"date(2024, 2, 29)", "2024-02-29 00:00:00+00"}, {"date(1, 1, 1)", ""}}},
		{"timedelta", "INTERVAL", [][2]string{
			{"timedelta(0)", "00:00:00"}, {"timedelta(microseconds=-1)", "-00:00:00.000001"}, {"timedelta(days=182625)", ""}, {"timedelta(days=-182625, microseconds=1)", ""},
			{"timedelta(hours=1)", "01:00:00"}, {"timedelta(days=3650000)", ""},
		}},
		{"dict", "JSON", [][2]string{
			{"{}", "{}"}, {"{'i': 2**53 + 1, 'u': 2**64 - 1, 'n': None}", ""}, {"{'f': 1.0, 'g': 1e300, 'h': -0.0, 't': 5e-324}", ""}, {"{'b': True, 's': '<&>', '': ''}", ""},
			{"{'deep': {'l': [[1, 2.5, 'x', None], []], 'm': {}}}", ""},
			{"{'nan': nan}", ""}, {"{'inf': inf}", ""},
		}},
		{"Point", "JSON", [][2]string{{"Point(2**53 + 1, 1.0, 'x', None, [])", ""}, {"Point(-1, 0.1, '', 7, [1, 2**63 - 1])", ""}}},
		{"Optional[int]", "BIGINT", [][2]string{{"7", "7"}, {"None", ""}}},
		{"Optional[str]", "VARCHAR", [][2]string{{"''", ""}, {"None", ""}}},
		{"Optional[dict]", "JSON", [][2]string{{"{'a': 1}", ""}, {"None", ""}}},
	}
}

// mixed are types whose values go over as JSON, since their parts are of several types.
func mixedTypes() []pythonType {
	return []pythonType{
		{"list[Union[int, float, str, bool, None]]", "JSON", [][2]string{{"[1, 2.5, 'x', True, None]", `[1,2.5,"x",true,null]`}, {"[2**53 + 1, 1.0]", "[9007199254740993,1.0]"}}},
		{"list[Union[int, float]]", "JSON", [][2]string{{"[1, 2.5]", "[1,2.5]"}, {"[1, 2.0]", "[1,2.0]"}}},
		{"dict[str, Union[int, str]]", "JSON", [][2]string{{"{'a': 1, 'b': '1'}", `{"a":1,"b":"1"}`}}},
		{"list[list[int]]", "BIGINT[][]", [][2]string{{"[[1], [], [2**63 - 1]]", "[[1], [], [9223372036854775807]]"}, {"[]", "[]"}}},
		{"list[dict[str, float]]", "MAP(VARCHAR, DOUBLE)[]", [][2]string{{"[{'a': 0.1}, {}]", "[{a=0.1}, {}]"}}},
		{"dict[str, list[datetime]]", "MAP(VARCHAR, TIMESTAMP WITH TIME ZONE[])", [][2]string{{"{'a': [datetime(1, 1, 1, tzinfo=utc)], 'b': []}", ""}}},
		{"list[Optional[float]]", "DOUBLE[]", [][2]string{{"[None, 0.1]", "[NULL, 0.1]"}, {"[None]", "[NULL]"}}},
		{"list[dict]", "JSON[]", [][2]string{{"[{'a': 2**53 + 1}, {}]", ""}}},
		{"Union[int, str, dict]", "BIGINT", [][2]string{{"2**53 + 1", "9007199254740993"}}},
		{"Union[int, str]", "VARCHAR", [][2]string{{"'x'", "x"}}},
	}
}

func duckdbTakesParameters(b *bench) {
	var probes []probe
	parameter := func(of pythonType, flyte, position, typed, python, sql string, values []string, texts []string) {
		inputs, want := b.given(python, values)
		for i := range inputs {
			reads := []reading{{"out", python, want[i]}, {"kind", "str", text(typed)}}
			if typed == "JSON" && want[i].items != nil {
				reads[0] = reading{"out", "str", value{text: &texts[i]}} // a list as an output is a column of JSON
			}
			query := "SELECT $x AS out, typeof($x) AS kind"
			if texts[i] != "" {
				query += ", (" + sql + ")::VARCHAR AS text"
				reads = append(reads, reading{"text", "str", text(texts[i])})
			}
			probes = append(probes, probe{
				cell: table.Cell{Direction: "in", Flyte: flyte, Engine: of.engine, Position: position},
				sql:  query, inputs: map[string]input{"x": inputs[i]}, reads: reads, names: [][]string{{`input "x"`}, {of.engine}},
			})
		}
	}
	for _, of := range pythonTypes() {
		var values, texts, lists, maps []string
		for _, v := range of.values {
			values, texts = append(values, v[0]), append(texts, v[1])
			lists, maps = append(lists, "["+v[0]+"]"), append(maps, "{'k': "+v[0]+"}")
		}
		parameter(of, of.name, "named parameter", of.engine, of.name, "$x", values, texts)
		parameter(of, "list["+of.name+"]", "list item", of.engine+"[]", "list["+of.name+"]", "$x[1]", append(lists, "[]"), append(texts, ""))
		parameter(of, "dict[str, "+of.name+"]", "dict value", "MAP(VARCHAR, "+of.engine+")", "dict[str, "+of.name+"]", "$x['k']", append(maps, "{}"), append(texts, ""))
	}
	for _, of := range mixedTypes() {
		var values, texts []string
		for _, v := range of.values {
			values, texts = append(values, v[0]), append(texts, v[1])
		}
		parameter(of, of.name, "named parameter", of.engine, of.name, "$x", values, texts)
	}
	b.run(probes)
}

// arrowType is a type of columns in parquet files, with values to try.
type arrowType struct {
	// arrow is an expression of pyarrow's, engine what the engine reads it as.
	arrow, engine string
	values        []string
}

// arrowEdge is a type with values that the engine does not have. int96 writes instants as older writers of parquet do.
type arrowEdge struct {
	arrowType
	int96 bool
}

func arrowEdges() []arrowEdge {
	return []arrowEdge{
		{arrowType: arrowType{"pa.time64('us')", "TIME", []string{"86400000000"}}},
		{arrowType: arrowType{"pa.time64('ns')", "TIME", []string{"1"}}},
		{arrowType: arrowType{"pa.timestamp('ns')", "TIMESTAMP_NS", []string{"2**63 - 1"}}},
		{arrowType: arrowType{"pa.timestamp('ns', 'UTC')", "TIMESTAMP WITH TIME ZONE", []string{"1000", "1"}}},
		{arrowType: arrowType{"pa.list_(pa.timestamp('ns', 'UTC'))", "TIMESTAMP WITH TIME ZONE[]", []string{"[1000, None, 1]"}}},
		{arrowType: arrowType{"pa.list_(pa.timestamp('ns', 'UTC'))", "TIMESTAMP WITH TIME ZONE[]", []string{"[1000, None]", "[]", "None"}}},
		{arrowType: arrowType{"pa.timestamp('ns')", "TIMESTAMP", []string{"1000", "datetime(2024, 2, 29)"}}, int96: true},
		{arrowType: arrowType{"pa.timestamp('ns')", "TIMESTAMP", []string{"1000", "1001"}}, int96: true},
		{arrowType: arrowType{"pa.decimal256(50, 10)", "DECIMAL", []string{"D('1.1')"}}},
	}
}

func arrowTypes() []arrowType {
	numbers := func(bits uint) []string {
		return []string{"0", fmt.Sprintf("-(2**%d)", bits-1), fmt.Sprintf("2**%d - 1", bits-1), "None"}
	}
	unsigned := func(bits uint) []string { return []string{"0", fmt.Sprintf("2**%d - 1", bits), "None"} }
	floats := []string{"0.5", "-0.0", "nan", "inf", "-inf", "1.0", "None"}
	moments := func(unit string, more ...string) arrowType {
		return arrowType{"pa.timestamp('" + unit + "')", "TIMESTAMP", append([]string{"datetime(2024, 2, 29)", "datetime(1969, 12, 31, 23, 59, 59)", "None"}, more...)}
	}
	zoned := func(unit string) arrowType {
		of := moments(unit)
		return arrowType{"pa.timestamp('" + unit + "', 'Europe/Berlin')", "TIMESTAMP WITH TIME ZONE", of.values}
	}
	years := []string{"datetime(1, 1, 1)", "datetime(9999, 12, 31, 23, 59, 59)"}
	ns := moments("ns", "1", "2**63 - 2")
	ns.engine = "TIMESTAMP_NS"
	return []arrowType{
		{"pa.null()", `"NULL"`, []string{"None"}},
		{"pa.bool_()", "BOOLEAN", []string{"True", "False", "None"}},
		{"pa.int8()", "TINYINT", numbers(8)}, {"pa.int16()", "SMALLINT", numbers(16)}, {"pa.int32()", "INTEGER", numbers(32)}, {"pa.int64()", "BIGINT", numbers(64)},
		{"pa.uint8()", "UTINYINT", unsigned(8)}, {"pa.uint16()", "USMALLINT", unsigned(16)}, {"pa.uint32()", "UINTEGER", unsigned(32)}, {"pa.uint64()", "UBIGINT", unsigned(64)},
		{"pa.float16()", "FLOAT", floats}, {"pa.float32()", "FLOAT", floats}, {"pa.float64()", "DOUBLE", append(floats, "0.1", "5e-324")},
		{"pa.string()", "VARCHAR", []string{"''", "'x'", "'a\\0b'", "None"}}, {"pa.large_string()", "VARCHAR", []string{"'x'", "None"}},
		{"pa.string_view()", "VARCHAR", []string{"'a text of more than 12 bytes'", "None"}},
		{"pa.binary()", "BLOB", []string{"b''", "b'\\0\\xff'", "None"}}, {"pa.large_binary()", "BLOB", []string{"b'x'"}}, {"pa.binary(3)", "BLOB", []string{"b'abc'"}},
		{"pa.date32()", "DATE", []string{"date(1, 1, 1)", "date(9999, 12, 31)", "None"}}, {"pa.date64()", "DATE", []string{"date(2024, 2, 29)", "None"}},
		{"pa.time32('s')", "TIME", []string{"time(23, 59, 59)", "None"}}, {"pa.time32('ms')", "TIME", []string{"time(23, 59, 59, 999000)"}},
		{"pa.time64('us')", "TIME", []string{"time(23, 59, 59, 999999)", "None"}}, {"pa.time64('ns')", "TIME", []string{"1000", "86399999999000", "None"}},
		moments("s", years...), moments("ms", years...), moments("us", append(years, "datetime(9999, 12, 31, 23, 59, 59, 999999)")...), ns,
		zoned("s"), zoned("ms"), zoned("us"), {"pa.timestamp('ns', 'UTC')", "TIMESTAMP WITH TIME ZONE", []string{"datetime(2024, 2, 29)", "1000"}},
		{"pa.duration('us')", "BIGINT", []string{"timedelta(days=-1)", "timedelta(microseconds=1)", "None"}}, {"pa.duration('ns')", "BIGINT", []string{"timedelta(days=1)", "1"}},
		{"pa.decimal32(9, 2)", "DECIMAL(9,2)", []string{"D('1.10')", "D('-9999999.99')"}}, {"pa.decimal64(18, 3)", "DECIMAL(18,3)", []string{"D('1.100')"}},
		{"pa.decimal128(38, 10)", "DECIMAL(38,10)", []string{"D('1234567890123456789012345678.0123456789')", "D('-1.1')", "None"}},
		{"pa.decimal256(38, 10)", "DECIMAL(38,10)", []string{"D('1.1')"}},
		{"pa.dictionary(pa.int8(), pa.string())", "VARCHAR", []string{"'x'", "None"}}, {"pa.dictionary(pa.int8(), pa.int64())", "BIGINT", []string{"2**53 + 1", "None"}},
		{"pa.list_(pa.int64())", "BIGINT[]", []string{"[]", "[1, None]", "None"}}, {"pa.large_list(pa.int64())", "BIGINT[]", []string{"[2**53 + 1]"}},
		{"pa.list_(pa.int64(), 2)", "BIGINT[]", []string{"[1, 2]"}}, {"pa.list_(pa.list_(pa.string()))", "VARCHAR[][]", []string{"[['a'], []]"}},
		{"pa.struct([('a', pa.int64()), ('b', pa.list_(pa.date32()))])", "STRUCT(a BIGINT, b DATE[])", []string{"{'a': 2**53 + 1, 'b': [date(1, 1, 1)]}", "{'a': None, 'b': None}", "None"}},
		{"pa.map_(pa.string(), pa.int64())", "MAP(VARCHAR, BIGINT)", []string{"[('a', 1), ('', None)]", "[]", "None"}},
		{"pa.map_(pa.date32(), pa.float64())", "MAP(DATE, DOUBLE)", []string{"[(date(1, 1, 1), 0.1)]"}},
		{"pa.uuid()", "UUID", []string{"UUID('8d4b5a9c-1f7e-4c3a-9b2d-0e6f5a4b3c2d')", "None"}}, {"pa.json_()", "JSON", []string{"'{\"a\": 9007199254740993}'"}},
	}
}

// arrowName is a type's name as it stands in the table.
func arrowName(of arrowEdge) string {
	name := "dataset of " + strings.ReplaceAll(of.arrow, "pa.", "")
	if of.int96 {
		name += " as INT96"
	}
	return name
}

// datasetAt is a literal of the files at a path.
func datasetAt(path, format string) input {
	declared := &core.StructuredDatasetType{Format: format}
	return input{
		&core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_StructuredDataset{StructuredDataset: &core.StructuredDataset{
			Uri: path, Metadata: &core.StructuredDatasetMetadata{StructuredDatasetType: declared},
		}}}}},
		&core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: declared}},
	}
}

// arrowFiles writes a file for each type and gives what pyarrow reads of it.
func (b *bench) arrowFiles(dir string, all []arrowEdge) (files []string, told []value) {
	b.t.Helper()
	var writes, opens []request
	for i, of := range all {
		files = append(files, filepath.Join(dir, fmt.Sprintf("%02d.parquet", i)))
		options := map[string]any{"use_deprecated_int96_timestamps": of.int96}
		writes = append(writes, request{"do": "write", "path": files[i], "columns": [][]any{{"c", of.arrow, of.values}}, "options": options})
		opens = append(opens, request{"do": "open", "path": files[i]})
	}
	for i, made := range b.python.ask(b.t, writes...) {
		if made.Error != "" {
			b.t.Fatalf("%s: %s", all[i].arrow, made.Error)
		}
	}
	for i, opened := range b.python.ask(b.t, opens...) {
		got, problem := opened.as(dataset)
		if problem != "" {
			b.t.Fatalf("%s: %s", all[i].arrow, problem)
		}
		told = append(told, valueOf(got))
	}
	return files, told
}

// readsParquet reads a file of each type. typeOf is a SQL function that says what the engine has read.
func (b *bench) readsParquet(engine func(arrowType) string, typeOf string) {
	all := arrowEdges()
	for _, of := range arrowTypes() {
		all = append(all, arrowEdge{arrowType: of})
	}
	files, told := b.arrowFiles(b.t.TempDir(), all)
	var probes []probe
	for i, of := range all {
		p := probe{
			cell: table.Cell{Direction: "in", Flyte: arrowName(of), Engine: engine(of.arrowType), Position: "dataset"}, sql: "SELECT c FROM t",
			inputs: map[string]input{"t": datasetAt(files[i], "parquet")}, reads: []reading{{"out", dataset, told[i]}},
			names: [][]string{{`"c"`}, {strings.TrimSuffix(engine(of.arrowType), "[]"), "INT96"}},
		}
		probes = append(probes, p)
		if typeOf != "" && i >= len(arrowEdges()) {
			p.sql, p.reads = "SELECT "+typeOf+" AS out FROM t", []reading{{"out", "str", text(of.engine)}}
			probes = append(probes, p)
		}
	}
	b.run(probes)
}

// unitesFiles reads folders of two files, of each type beside each other. more are types that a refusal may name in place of these.
func (b *bench) unitesFiles(engine func(arrowType) string, more ...string) {
	var all []arrowEdge
	for _, of := range arrowTypes() {
		if !slices.ContainsFunc(all, func(other arrowEdge) bool { return other.engine == of.engine }) {
			all = append(all, arrowEdge{arrowType: of})
		}
	}
	files, told := b.arrowFiles(b.t.TempDir(), all)
	dir := b.t.TempDir()
	var probes []probe
	for i, first := range all {
		for j, second := range all {
			if i == j {
				continue
			}
			at := link(b.t, filepath.Join(dir, fmt.Sprintf("%d-%d", i, j)), files[i], files[j])
			probes = append(probes, probe{
				cell: pair("dataset", engine(first.arrowType), engine(second.arrowType)), sql: "SELECT c FROM t",
				inputs: map[string]input{"t": datasetAt(at, "parquet")},
				reads:  []reading{{"out", dataset, both(told[i].items, told[j].items)}},
				names:  [][]string{{`"c"`}, append([]string{engine(first.arrowType), engine(second.arrowType)}, more...)},
			})
		}
	}
	b.run(probes)
}

// pair is the cell of a folder in which one file has a column as one type, and the other as another, in either order.
func pair(flyte, first, second string) table.Cell {
	return table.Cell{Direction: "in", Flyte: flyte, Engine: min(first, second) + " + " + max(first, second), Position: folder}
}

// writtenType is one of values in a file of text.
type writtenType struct {
	name, engine string
	values       []value
}

// csvTypes are columns of CSV files. Each value may be read as text or as what it is.
func csvTypes() []writtenType {
	return []writtenType{
		{"whole numbers", "BIGINT", numbers("1", "-9223372036854775808", "9223372036854775807")},
		{"whole numbers beyond 64 bits", "VARCHAR", numbers("9223372036854775808", "18446744073709551615", "1")},
		{"numbers", "DOUBLE", []value{number("2.5"), number("1e3"), number("0.1"), number("7")}},
		{"codes", "VARCHAR", texts("01234", "7")},
		{"text", "VARCHAR", texts("x", "null", "it's; \u2028 Zoë")},
		{"truths", "BOOLEAN", []value{truth(true), truth(false)}},
		{"days", "DATE", instants("", "2024-02-29", "0001-01-01", "9999-12-31")},
		{"instants", "TIMESTAMP", instants("", "2024-02-29 12:30:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")},
		{"times of day", "TIME", clocks("12:34:56", "23:59:59.999999")},
	}
}

// jsonTypes are keys of JSON's lines.
func jsonTypes() []writtenType {
	written := func(s string, v value) value { return v.of("%s", s) }
	return []writtenType{
		{"whole numbers", "BIGINT", []value{written("1", number("1")), written("-9007199254740993", number("-9007199254740993")), written("null", value{null: true})}},
		{"whole numbers of 64 bits", "HUGEINT", []value{written("18446744073709551615", number("18446744073709551615")), written("1", number("1"))}},
		{"numbers", "DOUBLE", []value{written("2.5", number("2.5")), written("1", number("1")), written("1e300", float("1e+300", 1e300))}},
		{"text", "VARCHAR", []value{written(`"x"`, text("x")), written(`"01234"`, text("01234")), written(`""`, text("")), written(`"\u2028\""`, text("\u2028\""))}},
		{"truths", "BOOLEAN", []value{written("true", truth(true)), written("false", truth(false))}},
		{"days", "DATE", []value{written(`"2024-02-29"`, instant("2024-02-29"))}},
		{"instants", "TIMESTAMP", []value{written(`"2024-02-29 12:30:00"`, instant("2024-02-29 12:30:00"))}},
		{"lists", "BIGINT[]", []value{written("[1, null]", list(number("1"), value{null: true})), written("[]", list())}},
		{"lists of numbers", "DOUBLE[]", []value{written("[1, 2.5]", list(number("1"), number("2.5")))}},
		{"objects", "STRUCT(a BIGINT)", []value{written(`{"a": 9007199254740993}`, dict(entryOf("a", number("9007199254740993"))))}},
	}
}

// readsText reads CSV and JSON, a type alone and beside every other in a folder.
func (b *bench) readsText(engine func(writtenType) string) {
	var probes []probe
	read := func(format string, all []writtenType, write func([]value) string) {
		dir := b.t.TempDir()
		var files []string
		for i, of := range all {
			files = append(files, filepath.Join(dir, fmt.Sprintf("%d.%s", i, format)))
			if err := os.WriteFile(files[i], []byte(write(of.values)), 0o600); err != nil {
				b.t.Fatal(err)
			}
			probes = append(probes, probe{
				cell: table.Cell{Direction: "in", Flyte: format + " with " + of.name, Engine: engine(of), Position: "file"}, sql: "SELECT c FROM t",
				inputs: map[string]input{"t": fileAt(files[i], format)}, reads: []reading{{"out", dataset, list(of.values...)}}, names: [][]string{{`"c"`}},
			})
		}
		for i, first := range all {
			for j, second := range all {
				if i == j {
					continue
				}
				at := link(b.t, filepath.Join(dir, fmt.Sprintf("%d-%d", i, j)), files[i], files[j])
				probes = append(probes, probe{
					cell: pair(format+" files", engine(first), engine(second)), sql: "SELECT c FROM t", inputs: map[string]input{"t": fileAt(at, format)},
					reads: []reading{{"out", dataset, both(first.values, second.values)}}, names: [][]string{{`"c"`}},
				})
			}
		}
	}
	read("csv", csvTypes(), func(values []value) string {
		written := "c,n\n"
		for _, v := range values {
			written += `"` + *v.text + "\",1\n"
		}
		return written
	})
	read("jsonl", jsonTypes(), func(values []value) string {
		var written string
		for _, v := range values {
			written += `{"c": ` + v.sql + "}\n"
		}
		return written
	})
	b.run(probes)
}

// fileAt is a literal of a file, or of the files in a folder.
func fileAt(path, format string) input {
	kind := &core.BlobType{Format: format}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		kind.Dimensionality = core.BlobType_MULTIPART
	}
	return input{
		&core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Blob{Blob: &core.Blob{Uri: path, Metadata: &core.BlobMetadata{Type: kind}}}}}},
		&core.LiteralType{Type: &core.LiteralType_Blob{Blob: kind}},
	}
}

// link makes a folder of files that are there already.
func link(t *testing.T, dir string, files ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		if err := os.Link(file, filepath.Join(dir, fmt.Sprintf("%d%s", i, filepath.Ext(file)))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
