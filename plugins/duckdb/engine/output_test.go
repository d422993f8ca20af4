package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

func TestAResultIsADatasetThatCanBeReadAgain(t *testing.T) {
	b := newBench(t)
	for _, prefix := range []string{b.prefix + "/plain", "file://" + b.prefix + "/uri/"} {
		result, err := b.run(engine.Query{
			Statement: "select range as n, 'x' || range as s, range % 2 = 0 as even from range(1000) order by n desc",
			Outputs:   types{"results": dataset}, OutputPrefix: prefix,
		})
		if err != nil {
			t.Fatal(err)
		}
		got := result.Outputs.GetLiterals()["results"]
		want := ofDataset(strings.TrimSuffix(prefix, "/")+"/results", "parquet")
		want.GetScalar().GetStructuredDataset().GetMetadata().GetStructuredDatasetType().Columns = []*core.StructuredDatasetType_DatasetColumn{
			{Name: "n", LiteralType: whole}, {Name: "s", LiteralType: str}, {Name: "even", LiteralType: truth},
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		file := strings.TrimPrefix(got.GetScalar().GetStructuredDataset().GetUri(), "file://") + "/00000"
		info, err := os.Stat(file)
		if err != nil || info.Size() != result.Bytes || result.Rows != 1000 {
			t.Errorf("wrote %v (%v), reported %+v", info, err, result)
		}
		again := b.text("select (count(*) || ' ' || first(s)) as out from results", literals{"results": got})
		if again != "1000 x999" {
			t.Errorf("read back %q", again)
		}
		if files, _ := filepath.Glob(filepath.Dir(file) + "/*"); len(files) != 1 {
			t.Errorf("the dataset's directory holds %v", files)
		}
	}
}

func TestEveryStatementThatGivesRowsCanBeTheResult(t *testing.T) {
	b := newBench(t)
	csv := b.file("in.csv", "k,v\na,1\nb,2\n")
	for sql, rows := range map[string]int64{
		"select 1":                                    1,
		"select 1 -- the end":                         1,
		"(select 1 union all select 2)":               2,
		"with a as (select 1) from a":                 1,
		"from t":                                      2,
		"values (1), (2), (3)":                        3,
		"table t":                                     2,
		"describe t":                                  2,
		"show tables":                                 0, // which names no input
		"summarize t":                                 2,
		"pivot t on k using sum(v)":                   1,
		"unpivot t on v into name n value x":          2,
		"select * from t where false":                 0,
		"select 1 as a, 2 as a":                       1,
		"create table x as from t; from x; ;":         2,
		"begin; select 1 as x; commit; select 2":      1,
		"set variable z = 3; select getvariable('z')": 1,
	} {
		result, err := b.run(engine.Query{Statement: sql, Inputs: literals{"t": ofFile(csv, "csv")}, Outputs: types{"results": dataset}})
		if err != nil || result.Rows != rows {
			t.Errorf("%s: got %d rows, %v, want %d", sql, result.Rows, err, rows)
		}
	}
	if got := b.value("pivot t on k using sum(v)", object, literals{"t": ofFile(csv, "csv")}); len(got.GetScalar().GetGeneric().GetFields()) != 2 {
		t.Errorf("a pivot as values gave %v", got)
	}
	for _, sql := range []string{"create table x (a int)", "select 1; drop table if exists y", "explain select 1", "pragma table_info('t')", "call range(3)"} {
		b.fails(engine.Query{Statement: sql, Inputs: literals{"t": ofFile(csv, "csv")}, Outputs: types{"results": dataset}}, "end with a SELECT")
	}
}

func TestEveryTypeOfColumnIsWrittenWithAFlyteType(t *testing.T) {
	b := newBench(t)
	columns := []struct {
		sql  string
		want *core.LiteralType
	}{
		{"true", truth}, {"1::tinyint", whole}, {"1::smallint", whole}, {"1::int", whole}, {"1::bigint", whole}, {"1::utinyint", whole},
		{"1::usmallint", whole}, {"1::uinteger", whole}, {"1::ubigint", whole},
		// Parquet has no integers of 128 bits: DuckDB writes them as doubles.
		{"1::hugeint", real}, {"1::uhugeint", real},
		{"1.5::float", real}, {"1.5::double", real}, {"1.5::decimal(30,3)", real},
		{"'x'", str}, {"'a'::enum('a','b')", str}, {"uuid()", str}, {"'{}'::json", str}, {"time '10:00'", str}, {"'101'::bit", str}, {"null", whole},
		{"date '2020-01-01'", instant}, {"timestamp '2020-01-01'", instant}, {"timestamptz '2020-01-01'", instant}, {"'2020-01-01'::timestamp_s", instant},
		{"'2020-01-01'::timestamp_ns", instant},
		{"interval 1 month", duration}, {"'x'::blob", raw},
		{"[1]", listOf(whole)}, {"[[1.5::double]]", listOf(listOf(real))}, {"[1, 2]::int[2]", listOf(whole)},
		{"{'a': 1}", object}, {"map {'a': 1}", mapOf(whole)}, {"map {1: 'a'}", object},
		{"union_value(a := 1)", object},
	}
	var selected []string
	for i, c := range columns {
		selected = append(selected, fmt.Sprintf("%s as c%d", c.sql, i))
	}
	result, err := b.run(engine.Query{Statement: "select " + strings.Join(selected, ", "), Outputs: types{"results": dataset}})
	if err != nil {
		t.Fatal(err)
	}
	got := result.Outputs.GetLiterals()["results"].GetScalar().GetStructuredDataset().GetMetadata().GetStructuredDatasetType().GetColumns()
	for i, c := range columns {
		if diff := cmp.Diff(c.want, got[i].GetLiteralType(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", c.sql, diff)
		}
	}
}

func TestValuesTakeTheDeclaredTypeOrSayWhyNot(t *testing.T) {
	b := newBench(t)
	optional := unionOf(whole, nothing)
	enum := &core.LiteralType{Type: &core.LiteralType_EnumType{EnumType: &core.EnumType{Values: []string{"a", "b"}}}}
	at := time.Date(2020, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, c := range []struct {
		sql      string
		declared *core.LiteralType
		want     *core.Literal
	}{
		{"select 1::tinyint", whole, ofInt(1)},
		{"select 18446744073709551615::ubigint % 7", whole, ofInt(1)},
		{"select sum(range) from range(5)", whole, ofInt(10)},
		{"select 3.00::decimal(5,2)", whole, ofInt(3)},
		{"select -3.00::decimal(38,2)", whole, ofInt(-3)},
		{"select round(2.6)", whole, ofInt(3)},
		{"select 1::int", real, ofFloat(1)},
		{"select 0.1", real, ofFloat(0.1)},
		{"select 1.5::float", real, ofFloat(1.5)},
		{"select 170141183460469231731687303715884105728::uhugeint", real, ofFloat(1 << 127)},
		{"select 'text'", str, ofString("text")},
		{"select 12345678901234567890.12::decimal(38,2)", str, ofString("12345678901234567890.12")},
		{"select 170141183460469231731687303715884105727::hugeint", str, ofString("170141183460469231731687303715884105727")},
		{"select '8d4b5a9c-1f7e-4c3a-9b2d-0e6f5a4b3c2d'::uuid", str, ofString("8d4b5a9c-1f7e-4c3a-9b2d-0e6f5a4b3c2d")},
		{"select 'b'::enum('a','b')", str, ofString("b")},
		{"select time '10:11:12.5'", str, ofString("10:11:12.5")},
		{"select '101'::bit", str, ofString("101")},
		{`select '{"a":[1]}'::json`, str, ofString(`{"a":[1]}`)},
		{"select 'a'", enum, ofString("a")},
		{"select 1 = 1", truth, ofBool(true)},
		{"select timestamp '2020-01-02 03:04:05.000006'", instant, ofTime(at)},
		{"select timestamptz '2020-01-02 05:04:05.000006+02'", instant, ofTime(at)},
		{"select '2020-01-02 03:04:05.000006'::timestamp_ns", instant, ofTime(at)},
		{"select date '2020-01-02'", instant, ofTime(time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC))},
		{"select interval 1 day - interval 1 second", duration, ofDuration(24*time.Hour - time.Second)},
		{"select timestamp '2020-01-02' - timestamp '2020-01-01 23:59:59.5'", duration, ofDuration(500 * time.Millisecond)},
		{"select '\\x00\\xFF'::blob", raw, ofBytes("", []byte{0, 255})},
		{"select null::int", optional, ofUnion(ofNone(), nothing)},
		{"select 5", optional, ofUnion(ofInt(5), whole)},
		{"select 'x'", unionOf(whole, str), ofUnion(ofString("x"), str)},
		{"select null", nothing, ofNone()},
		{"select range as out from range(3)", listOf(whole), ofList(ofInt(0), ofInt(1), ofInt(2))},
		{"select 1 where false", listOf(whole), ofList()},
		{"select [1, 2]", listOf(whole), ofList(ofInt(1), ofInt(2))},
		{"select [1, 2]::int[2]", listOf(whole), ofList(ofInt(1), ofInt(2))},
		{"select unnest([[1], [2, 3]])", listOf(listOf(whole)), ofList(ofList(ofInt(1)), ofList(ofInt(2), ofInt(3)))},
		{"select unnest([1, null])", listOf(optional), ofList(ofUnion(ofInt(1), whole), ofUnion(ofNone(), nothing))},
		{"select unnest([1, 2])", unionOf(listOf(whole), nothing), ofUnion(ofList(ofInt(1), ofInt(2)), listOf(whole))},
		{"select map {'a': 1}", mapOf(whole), ofMap(literals{"a": ofInt(1)})},
		{"select {'a': 1, 'b': 2}", mapOf(whole), ofMap(literals{"a": ofInt(1), "b": ofInt(2)})},
		{"select {'a': [1, null], 'b': {'c': date '2020-01-02'}, 't': time '10:00', 'd': 1.50::decimal(5,2)}", object, ofStruct(t, map[string]any{
			"a": []any{1, nil}, "b": map[string]any{"c": "2020-01-02T00:00:00Z"}, "t": "10:00:00", "d": "1.50",
		})},
		{"select 1 as a, 'x' as b", object, ofStruct(t, map[string]any{"a": 1, "b": "x"})},
		{"select 1 as a", object, ofStruct(t, map[string]any{"a": 1})},
		{`select '{"a": {"b": [1, "x"]}}'::json`, object, ofStruct(t, map[string]any{"a": map[string]any{"b": []any{1, "x"}}})},
		{"select map {1: 'x'}", object, ofStruct(t, map[string]any{"1": "x"})},
		{"select union_value(a := {'x': 1}) as u", object, ofStruct(t, map[string]any{"u": map[string]any{"x": 1}})},
	} {
		t.Run(c.sql, func(t *testing.T) {
			if diff := cmp.Diff(c.want, b.value(c.sql, c.declared, nil), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, c := range []struct {
		sql      string
		declared *core.LiteralType
		want     string
	}{
		{"select null::int", whole, "NULL"},
		{"select 1.5", whole, "no 64-bit integer"},
		{"select 18446744073709551615::ubigint", whole, "no 64-bit integer"},
		{"select 170141183460469231731687303715884105727::hugeint", whole, "no 64-bit integer"},
		{"select 'x'", whole, "VARCHAR"},
		{"select true", real, "BOOLEAN"},
		{"select 1", str, "cast it"},
		{"select date '2020-01-01'", str, "cast it"},
		{"select 1", truth, "a bool"},
		{"select 'x'", instant, "a datetime"},
		{"select interval 1 month", duration, "months"},
		{"select 'c'", enum, "[a b]"},
		{"select 9007199254740993", real, "no float"},
		{"select 170141183460469231731687303715884105727::hugeint", real, "no float"},
		{"select [1, null]", listOf(whole), "element 1 is NULL"},
		{"select map {'a': 'x'}", mapOf(whole), `entry "a"`},
		{"select 1 from range(2)", whole, "several rows"},
		{"select 1 where false", whole, "no rows"},
		{"select 1 as a, 2 as b", whole, "a, b"},
		{"select 'infinity'::timestamp", instant, "years"},
	} {
		t.Run(c.sql, func(*testing.T) {
			b.fails(engine.Query{Statement: c.sql, Outputs: types{"out": c.declared}}, `"out"`, c.want)
		})
	}
}

func TestSeveralOutputsTakeTheColumnsOfTheirNames(t *testing.T) {
	b := newBench(t)
	result, err := b.run(engine.Query{
		Statement: "select max(range) as most, list(range order by range) as ALL_of, 'extra' as extra from range(3)",
		Outputs:   types{"most": whole, "all_of": listOf(whole)},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := literals{"most": ofInt(2), "all_of": ofList(ofInt(0), ofInt(1), ofInt(2))}
	if diff := cmp.Diff(want, result.Outputs.GetLiterals(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	b.fails(engine.Query{Statement: "select 1 as a", Outputs: types{"a": whole, "b": whole}}, `"b"`, "has: a")
	b.fails(engine.Query{Statement: "select 1 as a", Outputs: types{"a": whole, "b": dataset}}, `"b"`, "whole result")
}

func TestWithoutDeclaredOutputsTheSQLRunsAndNothingIsWritten(t *testing.T) {
	b := newBench(t)
	result, err := b.run(engine.Query{Statement: "create table t as from range(5); delete from t where range > 2"})
	if err != nil || result.Outputs != nil || result.Rows != 2 {
		t.Errorf("got %+v, %v", result, err)
	}
	if written, _ := os.ReadDir(b.prefix); len(written) > 0 {
		t.Errorf("wrote %v", written)
	}
}

func TestOutputsThatCannotBeGivenAreRefusedBeforeAnythingRuns(t *testing.T) {
	b := newBench(t)
	csv := &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{Format: "csv"}}}
	wants := &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{
		Columns: []*core.StructuredDatasetType_DatasetColumn{{Name: "absent"}},
	}}}
	file := &core.LiteralType{Type: &core.LiteralType_Blob{Blob: &core.BlobType{}}}
	b.fails(engine.Query{Statement: "select 1", Outputs: types{"r": csv}}, `"r"`, "csv")
	b.fails(engine.Query{Statement: "select 1 as present", Outputs: types{"r": wants}}, "absent", "present")
	b.fails(engine.Query{Statement: "select 1", Outputs: types{"r": file}}, `"r"`, "StructuredDataset")
	b.fails(engine.Query{Statement: "select 1", Outputs: types{"r": dataset}, OutputPrefix: "relative/path"}, "relative/path")
	b.fails(engine.Query{Statement: "select 1", Outputs: types{"r": dataset}, OutputPrefix: "ftp://host/x"}, "ftp://")
	result, err := b.engine.Run(t.Context(), engine.Query{ID: "q", Statement: "select 1", Outputs: types{"r": dataset}}, b.report)
	if err == nil || !strings.Contains(err.Error(), "output prefix") {
		t.Errorf("without an output prefix: %+v, %v", result, err)
	}
}

func TestBadSQLFailsWithTheEnginesMessage(t *testing.T) {
	b := newBench(t)
	for sql, want := range map[string]string{
		"selec 1":                      "Parser Error",
		"select nope from range(1)":    "nope",
		"select * from nowhere":        "nowhere",
		"select error('my own words')": "my own words",
		"select 1/0 + 'x'::int":        "Conversion Error",
		"":                             "no statement",
		"-- only this":                 "only a comment",
		"create table t (a int); insert into t values ('x'); select 1": "Conversion Error",
	} {
		for _, outputs := range []types{nil, {"r": dataset}, {"r": whole}} {
			b.fails(engine.Query{Statement: sql, Outputs: outputs}, want)
		}
	}
	b.fails(engine.Query{Statement: "select $n + [1]", Inputs: literals{"n": ofInt(1)}}, "$n")
}

func TestValuesTooLargeForALiteralSaySo(t *testing.T) {
	b := newBench(t, func(l *engine.Limits) { l.Inline = 1000 })
	b.fails(engine.Query{Statement: "select range from range(100000000)", Outputs: types{"out": listOf(whole)}}, "1000 bytes", "inline_limit", "StructuredDataset")
}

func TestAQueryKeepsToItsMemory(t *testing.T) {
	b := newBench(t, func(l *engine.Limits) { l.Memory, l.Threads = 32<<20, 1 })
	b.fails(engine.Query{Statement: "select count(distinct l) from (select list(range) as l from range(100000000))"}, "Out of Memory", "32 MiB", "memory_limit")
	b = newBench(t, func(l *engine.Limits) { l.Memory, l.Spill, l.Threads = 32<<20, 1<<20, 1 })
	b.fails(engine.Query{Statement: "create table t as select hash(range) as h, range as r from range(20000000)"}, "spill_limit")
}

func TestAQueryLargerThanItsMemorySpills(t *testing.T) {
	b := newBench(t, func(l *engine.Limits) { l.Memory, l.Threads = 64<<20, 1 })
	got := b.value("create table t as select hash(range) as h, range as r from range(10000000); select count(distinct r) from t", whole, nil)
	if got.GetScalar().GetPrimitive().GetInteger() != 10000000 {
		t.Errorf("got %v", got)
	}
}

// forever is a query that nobody waits for.
const forever = "select count(*) from range(10000000) a, range(10000000) b where hash(a.range, b.range) % 7 = 3"

func TestCancellingStopsARunningStatement(t *testing.T) {
	for name, outputs := range map[string]types{"for its effect": nil, "as values": {"out": whole}, "as a dataset": {"out": dataset}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			why := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			started := make(chan struct{})
			done := make(chan error, 1)
			go func() {
				_, err := b.engine.Run(ctx, engine.Query{ID: "q", Statement: forever, Outputs: outputs, OutputPrefix: b.prefix}, &signal{recorder: b.report, on: "running statement", started: started})
				done <- err
			}()
			<-started
			cancelled := time.Now()
			cancel(why)
			if err := <-done; !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(cancelled); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

type signal struct {
	*recorder
	on      string
	started chan struct{}
}

func (s *signal) Stage(format string, args ...any) {
	s.recorder.Stage(format, args...)
	if strings.HasPrefix(format, s.on) {
		close(s.started)
	}
}

func TestATimeoutFailsTheQueryForGood(t *testing.T) {
	b := newBench(t, func(l *engine.Limits) { l.Timeout = 100 * time.Millisecond })
	b.fails(engine.Query{Statement: forever}, "100ms", "query_timeout")
}

func TestProgressIsReportedWhileAStatementRuns(t *testing.T) {
	b := newBench(t, func(l *engine.Limits) { l.Threads = 1 })
	// Long enough for several looks: made longer until the progress was seen.
	for rows := 5_000_000; rows <= 80_000_000 && (b.report.percent == 0 || b.report.rows == 0); rows *= 2 {
		b.text(fmt.Sprintf("create table t as select range as n from range(%d); select max(md5(n::varchar)) as out from t", rows), nil)
	}
	if b.report.percent <= 0 || b.report.percent > 100 || b.report.rows == 0 {
		t.Errorf("reported %v %% and %d rows", b.report.percent, b.report.rows)
	}
	if !slices.Contains(b.report.lines, "running statement 2 of 2") {
		t.Errorf("reported %q", b.report.lines)
	}
}

func TestTwoQueriesNeverSeeEachOther(t *testing.T) {
	b := newBench(t)
	if _, err := b.run(engine.Query{Statement: "create table secret as select 1; set variable x = 1"}); err != nil {
		t.Fatal(err)
	}
	b.fails(engine.Query{Statement: "from secret"}, "secret does not exist")
}

func TestAnUnwritableResultSaysWhere(t *testing.T) {
	b := newBench(t)
	blocker := b.file("file", "")
	_, err := b.run(engine.Query{Statement: "select 1", Outputs: types{"r": dataset}, OutputPrefix: blocker})
	var failure *fault.Error
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), blocker) {
		t.Errorf("got %v", err)
	}
}
