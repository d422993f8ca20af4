package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
)

// parquet writes the result of SQL to a file below the bench's directory and returns its path.
func (b *bench) parquet(name, sql string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	open := newBench(b.t, func(l *engine.Limits) { l.AllowPaths = []string{b.dir} })
	if _, err := open.run(engine.Query{Statement: "copy (" + sql + ") to '" + path + "' (format parquet)"}); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func TestFilesOfOneInputAreUnitedByName(t *testing.T) {
	for _, c := range []struct {
		name string
		// files are SQL for parquet files, the contents of other files.
		format      string
		files       []string
		sql, expect string
	}{
		{"a later double", "parquet", []string{"select unnest([5, 10]) as discount", "select unnest([2.5::double, null]) as discount"}, "select sum(discount)::varchar as out from t", "17.5"},
		{"an earlier double", "parquet", []string{"select unnest([2.5::double, null]) as discount", "select unnest([5::bigint, 10]) as discount"}, "select sum(discount)::varchar as out from t", "17.5"},
		{"a float and 32 bits", "parquet", []string{"select 0.5::float as a", "select 16777217::int as a"}, "select sum(a)::varchar as out from t", "16777217.5"},
		{"a later column", "parquet", []string{"select 1 as a", "select 2 as a, 'x' as b"}, "select string_agg(coalesce(b, '-'), '' order by a) as out from t", "-x"},
		{"other order", "parquet", []string{"select 'Ada' as first, 'Lovelace' as last", "select 'Hopper' as last, 'Grace' as FIRST"}, "select string_agg(first, ' ' order by first) as out from t", "Ada Grace"},
		{"integers of both signs", "parquet", []string{"select -1::tinyint as a", "select 255::utinyint as a"}, "select sum(a) || typeof(any_value(a)) as out from t", "254SMALLINT"},
		{"uint64", "parquet", []string{"select -1::bigint as a", "select 18446744073709551615::ubigint as a"}, "select sum(a)::varchar as out from t", "18446744073709551614"},
		{"decimals", "parquet", []string{"select 1.25::decimal(5,2) as a", "select 10::int as a", "select 0.0001::decimal(10,4) as a"}, "select sum(a)::varchar as out from t", "11.2501"},
		{"integers and text", "parquet", []string{"select 1234 as a", "select '01234' as a"}, "select string_agg(a, ' ' order by a) as out from t", "01234 1234"},
		{"days and instants", "parquet", []string{"select date '2020-01-01' as a", "select timestamp '2020-01-01 10:00' as a"}, "select max(a)::varchar as out from t", "2020-01-01 10:00:00"},
		{"lists", "parquet", []string{"select [1::int] as a", "select [3000000000] as a"}, "select max(a[1])::varchar as out from t", "3000000000"},
		{"csv in other order", "csv", []string{"first,last\nAda,Lovelace\n", "last,first\nHopper,Grace\n"}, "select string_agg(first, ' ' order by first) as out from t", "Ada Grace"},
		{"csv with a later column", "csv", []string{"a\n1\n", "a,b\n2,x\n"}, "select string_agg(coalesce(b, '-'), '' order by a) as out from t", "-x"},
		{"csv with other separators", "csv", []string{"a,b\n1,x\n", "a;b\n2;y\n", "a\tb\n3\tz\n"}, "select string_agg(a || b, '' order by a) as out from t", "1x2y3z"},
		{"csv with a later code", "csv", []string{"code,n\n1234,1\n", "code,n\n01234,2.50\n"}, "select string_agg(code, ' ' order by n) || sum(n) as out from t", "1234 012343.5"},
		{"csv with text as it was", "csv", []string{"a\n1.50\n", "a\nx\n"}, "select string_agg(a, ' ' order by a) as out from t", "1.50 x"},
		{"csv with quotes and odd names", "csv", []string{"\"it's, a\",b\n\"x \"\"y\"\"\nz\",1\n"}, `select "it's, a" as out from t`, "x \"y\"\nz"},
		{"csv with days", "csv", []string{"a\n31/12/2020\n"}, "select a::varchar || typeof(a) as out from t", "2020-12-31DATE"},
		{"a code behind the sample", "csv", []string{"code\n" + strings.Repeat("1\n", 30000) + "01234\n"}, "select min(code) as out from t", "01234"},
		{"csv with numbers of many digits", "csv", []string{"a,b,c,d\n12345678901234567891, 9007199254740993,9007199254740994,1.5\n5,2.5,0.5,12345678901234567891.5\n"}, "select string_agg(a, ' ') || string_agg(b, ' ') || sum(c) || string_agg(d, ' ') as out from t", "12345678901234567891 5 9007199254740993 2.59007199254740994.01.5 12345678901234567891.5"},
		{"csv with numbers that a double gives again", "csv", []string{"a\n0.30000000000000004\n1e-300\n5e-324\n1.7976931348623157e+308\n0.10000000000000001\n0.1000000000000000055511151231257827\n-0.0\n0.00000000000000000\n0e10\n"}, "select typeof(any_value(a)) || min(a) || count(*) as out from t", "DOUBLE-0.09"},
		{"csv with amounts of many digits", "csv", []string{"a,b,c\n90071992547409.93,0.12345678901234567890,1e400\n1.5,1.5,1.5\n"}, "select min(a) || ' ' || min(b) || ' ' || min(c) as out from t", "1.5 0.12345678901234567890 1.5"},
		{"csv with days that read in two ways", "csv", []string{"a\n01/02/2024\n", "a\n13/02/2024\n"}, "select string_agg(a, ' ' order by a) as out from t", "01/02/2024 13/02/2024"},
		{"csv with short years", "csv", []string{"a\n01.02.24\n"}, "select a || typeof(a) as out from t", "01.02.24VARCHAR"},
		{"csv with instants that read in two ways", "csv", []string{"a\n01/02/2024 10:00:00\n"}, "select a || typeof(a) as out from t", "01/02/2024 10:00:00VARCHAR"},
		{"csv with days that read in one way", "csv", []string{"a\n03/03/2024\n", "a\n12/31/2024\n", "a\n31/12/2024\n"}, "select min(a) || typeof(any_value(a)) || count(distinct a) as out from t", "2024-03-03DATE2"},
		{"csv with nanoseconds", "csv", []string{"a,b,c,d\n2024-01-01 00:00:00.123456789,00:00:00.1234567,2024-01-01 00:00:00.1234567Z,2024-01-01 00:00:00.123456000\n"}, "select a || b || c || typeof(d) as out from t", "2024-01-01 00:00:00.12345678900:00:00.12345672024-01-01 00:00:00.1234567ZTIMESTAMP"},
		{"an empty csv", "csv", []string{"", "a\n1\n"}, "select count(columns(*)) || ' ' || sum(a) as out from t", "1 1"},
		{"csv with a #", "csv", []string{"tag,n\n#x,1\ny,2\n"}, "select string_agg(tag, ' ' order by n) as out from t", "#x y"},
		{"csv with blank lines first", "csv", []string{"\n\na,b\n1,2\n"}, "select (a + b)::varchar as out from t", "3"},
		{"json with numbers beyond doubles", "json", []string{`{"a":1e400}`, `{"a":2.5}`}, "select min(a::varchar) as out from t", "1e400"},
		{"json whose names end as if renamed", "json", []string{`{"a_1":9007199254740993,"b_1":-1}`, `{"a_1":2.5,"b_1":1}`}, "select min(a_1::varchar) || min(b_1) || typeof(any_value(b_1)) as out from t", "2.5-1BIGINT"},
		{"csv with days that no format reads", "csv", []string{"a\ninfinity\nepoch\n10000-01-02\n0044-03-15 (BC)\n2020-01-01\n"}, "select string_agg(a, ' ' order by a) as out from t", "0044-03-15 (BC) 1970-01-01 2020-01-01 10000-01-02 infinity"},
		{"json with instants of zones", "json", []string{`{"a":"2020-01-01T00:00:00+02:00","b":{"c":["2020-01-01T00:00:00+02:00"]}}`, `{"a":"2020-01-01T00:00:00Z"}`}, "select string_agg(a, ' ' order by a) || any_value(b.c[1]) as out from t", "2019-12-31 22:00:00 2020-01-01 00:00:002019-12-31 22:00:00"},
		{"json with days of another order", "json", []string{`{"a":"31-12-20"}`, `{"a":"01-02-21"}`}, "select string_agg(a, ' ' order by a) as out from t", "01-02-21 31-12-20"},
		{"json with keys that differ in case", "json", []string{`{"a":1,"A":2}`, `{"A":3}`}, `select sum(a) || ' ' || sum("A_1") as out from t`, "1 5"},
		{"json with a later column", "json", []string{`{"a":1}`, `{"a":2.5,"b":"x"}`}, "select sum(a) || max(b) as out from t", "3.5x"},
		{"a number behind the sample", "json", []string{strings.Repeat("{\"a\":1}\n", 30000) + "{\"a\":2.5}\n"}, "select sum(a)::varchar as out from t", "30002.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			for i, content := range c.files {
				name := fmt.Sprintf("d/%d.%s", i, c.format)
				if c.format == "parquet" {
					b.parquet(name, content)
				} else {
					b.file(name, content)
				}
			}
			if got := b.text(c.sql, literals{"t": ofFile(filepath.Join(b.dir, "d"), c.format)}); got != c.expect {
				t.Errorf("got %q, want %q", got, c.expect)
			}
		})
	}
	b := newBench(t)
	typed := b.parquet("typed.parquet", "select 2.5::double as discount, 'y' as s")
	for _, files := range [][]*core.Literal{
		{ofFile(untyped(t), "parquet"), ofFile(typed, "parquet")}, {ofFile(typed, "parquet"), ofFile(untyped(t), "parquet")},
	} {
		if got := b.text("select sum(discount) || string_agg(s, '' order by s) as out from t", literals{"t": ofList(files...)}); got != "2.5xy" {
			t.Errorf("with a column without a type: got %q", got)
		}
	}
}

func untyped(t *testing.T) string { return testdata(t, "untyped.parquet") }

func testdata(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilesThatCannotBeUnitedAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		first, second string
		want          []string
	}{
		{"select 1.5::double as a", "select 'x' as a", []string{"DOUBLE", "VARCHAR"}},
		{"select 1.1::decimal(5,2) as a", "select 1.1::double as a", []string{"DECIMAL(5,2)", "DOUBLE"}},
		{"select 1.1::decimal(38,30) as a", "select 1.1::decimal(38,2) as a", []string{"DECIMAL(38,30)", "DECIMAL(38,2)"}},
		{"select {'x': 1} as a", "select {'y': 1} as a", []string{"STRUCT"}},
		{"select true as a", "select 1 as a", []string{"BOOLEAN", "INTEGER"}},
		{"select timestamp '2020-01-01' as a", "select timestamptz '2020-01-01' as a", []string{"TIMESTAMP WITH TIME ZONE"}},
		{"select [9007199254740993] as a", "select [0.5::double] as a", []string{"BIGINT[]", "DOUBLE[]"}},
		{"select [timestamp '0001-01-01'] as a", "select ['2020-01-01'::timestamp_ns] as a", []string{"TIMESTAMP[]", "TIMESTAMP_NS[]"}},
		{"select 9007199254740993 as a", "select 0.5::double as a", []string{"BIGINT", "DOUBLE", "9007199254740993"}},
	} {
		t.Run(strings.Join(c.want, " "), func(t *testing.T) {
			b := newBench(t)
			b.parquet("d/0.parquet", c.first)
			b.parquet("d/1.parquet", c.second)
			b.fails(engine.Query{Statement: "select max(a) as out from t", Inputs: literals{"t": ofFile(filepath.Join(b.dir, "d"), "")}, Outputs: types{"d": dataset}},
				append(c.want, `"a"`, ".parquet")...)
		})
	}
}

func TestCSVFilesOfWhichLinesWouldBeLeftOutAreRefused(t *testing.T) {
	b := newBench(t)
	for content, want := range map[string]string{
		"a,b\n1,2\n3\n4,5,6\n":        "3 lines",
		"name\nAda\nBob,Jr\n":         "2 lines",
		"Report\n\na,b\n1,2\n":        "2 lines",
		"# made today\na,b\n1,2\n3,4": "read_csv",
	} {
		at := b.file("in.csv", content)
		b.fails(engine.Query{Statement: "select * from t", Inputs: literals{"t": ofFile(at, "csv")}, Outputs: types{"d": dataset}}, "in.csv", "read_csv", want)
	}
	at := b.file("in.csv", "# made today\na,b\n1,2\n")
	if got := b.text("select sum(a + b)::varchar as out from read_csv($t, comment = '#')", literals{"t": ofFile(at, "csv")}); got != "3" {
		t.Errorf("by its path: got %q", got)
	}
}

func TestOnlyDirectoriesBelowAnInputArePartitions(t *testing.T) {
	b := newBench(t)
	b.parquet("env=prod/run=5/own/00000", "select 7 as run")
	b.parquet("env=prod/parts/k=01/00000", "select 1 as a")
	b.parquet("env=prod/parts/k=__HIVE_DEFAULT_PARTITION__/00000", "select 2 as a")
	b.parquet("env=prod/parts/k=2/00000", "select 3 as a")
	b.parquet("both/k=1/00000", "select 10 as k")
	b.parquet("both/k=2/00000", "select 20 as k")
	b.file("env=prod/csv/n=7/x.csv", "a\n1\n")
	b.file("env=prod/csv/n=8/x.csv", "a\n2\n")
	for input, c := range map[string][2]string{
		"env=prod/run=5/own": {"select string_agg(c, ',') as out from (select column_name as c from (describe t))", "run"},
		"env=prod/parts":     {"select string_agg(a || coalesce(k, '-'), ' ' order by a) as out from t", "101 2- 32"},
		"both":               {"select string_agg(k::varchar, ' ' order by k) as out from t", "10 20"},
		"env=prod/csv":       {"select sum(n * a)::varchar as out from t", "23"},
	} {
		at := filepath.Join(b.dir, input)
		if got := b.text(c[0], literals{"t": ofDataset(at, formatOf(input))}); got != c[1] {
			t.Errorf("%s: got %q, want %q", input, got, c[1])
		}
	}
	if got := b.text("select run::varchar as out from t", literals{"t": ofDataset(filepath.Join(b.dir, "env=prod/run=5/own"), "")}); got != "7" {
		t.Errorf("a directory's name replaced the file's column: %q", got)
	}
	b.parquet("run=5/in/k=1/00000", "select 7 as run")
	b.fails(engine.Query{Statement: "from t", Inputs: literals{"t": ofDataset(filepath.Join(b.dir, "run=5/in"), "")}}, `"run"`, "directory")
	b.parquet("some/k=1/l=2/00000", "select 7 as l")
	b.fails(engine.Query{Statement: "from t", Inputs: literals{"t": ofDataset(filepath.Join(b.dir, "some"), "")}}, `"l"`, "directory")
}

func formatOf(input string) string {
	if strings.HasSuffix(input, "csv") {
		return "csv"
	}
	return ""
}

func TestDecimalsThatDuckDBReadsWronglyAreRefusedByName(t *testing.T) {
	b := newBench(t)
	for _, sql := range []string{"from t", "from read_parquet($t)"} {
		b.fails(engine.Query{Statement: sql, Inputs: literals{"t": ofFile(testdata(t, "decimal50.parquet"), "")}}, `input "t"`, `"d"`, "50 digits")
	}
}

func TestOnlyTheSQLDecidesWhetherAnInputIsRead(t *testing.T) {
	b := newBench(t)
	if got := b.text("select 'it' as out", literals{"t": ofFile("/nowhere/at/all", "csv")}); got != "it" {
		t.Errorf("got %q", got)
	}
	latin := ofFile(b.file("latin.csv", "name\nJos\xe9\n"), "csv")
	if got := b.text("select name as out from read_csv($t, encoding = 'latin-1')", literals{"t": latin}); got != "José" {
		t.Errorf("got %q", got)
	}
	b.fails(engine.Query{Statement: "from t", Inputs: literals{"t": latin}}, `input "t"`, "latin.csv", "read as a table")
	named := b.parquet("parquet.csv", "select 'p' as a")
	if got := b.text("select a as out from read_parquet($t)", literals{"t": ofFile(named, "csv")}); got != "p" {
		t.Errorf("got %q", got)
	}
}

func TestNanosecondsThatDuckDBDropsAreRefusedByName(t *testing.T) {
	b := newBench(t)
	for file, want := range map[string]string{
		"nanos-utc.parquet": "TIMESTAMP WITH TIME ZONE", "nanos-time.parquet": "TIME", "nanos-int96.parquet": "INT96", "nanos-list.parquet": "TIMESTAMP WITH TIME ZONE",
	} {
		b.fails(engine.Query{Statement: "from t", Inputs: literals{"t": ofFile(testdata(t, file), "")}}, `input "t"`, `"c"`, want, "nanoseconds")
	}
	if got := b.text("select max(c)::varchar as out from t", literals{"t": ofFile(testdata(t, "micros-utc.parquet"), "")}); got != "1970-01-01 00:00:00.000001+00" {
		t.Errorf("got %q", got)
	}
}

func TestColumnsThatDifferInCaseAloneAreNotMixed(t *testing.T) {
	b := newBench(t)
	cased, other := ofFile(testdata(t, "case.parquet"), ""), ofFile(b.parquet("other.parquet", "select 3 as c, 4 as d"), "")
	if got := b.text("select c || ' ' || \"C_1\" as out from t", literals{"t": cased}); got != "1 2" {
		t.Errorf("alone: got %q", got)
	}
	b.fails(engine.Query{Statement: "from t", Inputs: literals{"t": ofList(other, cased)}, Outputs: types{"d": dataset}}, "case.parquet", `"C"`, `"C_1"`)
}

func TestNumbersOfJSONAreNotRounded(t *testing.T) {
	b := newBench(t)
	unnamed := b.file("unnamed.jsonl", `{"a":1.5,"A":9007199254740993}`+"\n"+`{"a":2.5,"A":0.5}`+"\n")
	b.fails(engine.Query{Statement: "select * from t", Inputs: literals{"t": ofFile(unnamed, "jsonl")}, Outputs: types{"d": dataset}}, `"A_1"`, "DOUBLE")
	b.file("d/0.jsonl", `{"a":9007199254740993,"b":[{"x":1.5}],"c":-9007199254740993,"e":1}`)
	b.file("d/1.jsonl", `{"a":2.5,"b":[{"x":1},{"x":9007199254740993}],"c":1,"e":2.5}`)
	input := literals{"t": ofFile(filepath.Join(b.dir, "d"), "jsonl")}
	for sql, want := range map[string]string{
		"select string_agg(a, ' ' order by a::double) as out from t": "2.5 9007199254740993",
		"select string_agg(b::varchar, '' order by c) as out from t": `[{"x":1.5}][{"x":1},{"x":9007199254740993}]`,
		"select sum(c) || typeof(any_value(c)) as out from t":        "-9007199254740992BIGINT",
		"select sum(e) || typeof(any_value(e)) as out from t":        "3.5DOUBLE",
	} {
		if got := b.text(sql, input); got != want {
			t.Errorf("%s: got %q, want %q", sql, got, want)
		}
	}
	b.file("days/0.jsonl", `{"a":"2024-02-29","n":9007199254740993}`)
	b.file("days/1.jsonl", `{"a":"2024-02-29","n":0.5}`)
	b.fails(engine.Query{Statement: "select n from t", Inputs: literals{"t": ofFile(filepath.Join(b.dir, "days"), "jsonl")}}, `"n"`, "DOUBLE")
}

func TestDaysAndInstantsOfOneKeyStayText(t *testing.T) {
	b := newBench(t)
	b.file("d/0.jsonl", `{"a":"2024-02-29"}`)
	b.file("d/1.jsonl", `{"a":"2024-02-29 12:30:00"}`)
	if got := b.text("select string_agg(a, ' ' order by a) as out from t", literals{"t": ofFile(filepath.Join(b.dir, "d"), "jsonl")}); got != "2024-02-29 2024-02-29 12:30:00" {
		t.Errorf("got %q", got)
	}
}
