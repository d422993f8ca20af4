package engine_test

import (
	"os"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
)

func TestSQLReachesItsInputsAndNothingElse(t *testing.T) {
	b := newBench(t)
	own := b.file("own.csv", "a\n1\n")
	other := b.file("other.csv", "a\n2\n")
	elsewhere := t.TempDir()
	inputs := literals{"own": ofFile(own, "csv")}
	for _, sql := range []string{
		"from read_text('/etc/passwd')",
		"from read_blob('/proc/self/environ')",
		"from '" + other + "'",
		"from read_csv('" + b.dir + "/*.csv')",
		"from glob('/etc/*')",
		"from glob('" + b.dir + "/*')",
		"copy (select 1) to '" + elsewhere + "/x.csv'",
		"copy own to '" + own + "' (use_tmp_file false)",
		"explain analyze copy own to '" + own + "' (use_tmp_file false)",
		"explain (analyze) copy own to '" + own + "' (use_tmp_file false)",
		"prepare p as copy (select 1) to '" + own + "' (use_tmp_file false); execute p",
		"create table t (a int); copy t from '" + other + "'",
		"attach '" + elsewhere + "/x.db'",
		"attach '" + own + "' as y",
		"export database '" + elsewhere + "'",
		"import database '" + elsewhere + "'",
		"install httpfs",
		"load httpfs",
		"load '" + elsewhere + "/x.duckdb_extension'",
		"from read_csv('http://127.0.0.1:1/x.csv')",
		"create persistent secret s (type http)",
		"set enable_external_access = true",
		"reset enable_external_access",
		"set allowed_paths = ['/etc/passwd']",
		"set lock_configuration = false",
		"set memory_limit = '100GB'",
		"set threads = 64",
		"set temp_directory = '" + elsewhere + "'",
		"pragma memory_limit = '100GB'",
		"pragma enable_profiling = 'json'",
		"set profiling_output = '" + elsewhere + "/x.json'",
		"pragma profiling_output = '" + elsewhere + "/x.json'",
		"call enable_logging(storage = 'file', storage_config = {'path': '" + elsewhere + "/log'}); select 1; select 2",
		`from "enable_logging"(storage = 'file', storage_config = {'path': '` + elsewhere + "/log'})",
		"from query('from enable_logging(storage = ''file'', storage_config = {''path'': ''" + elsewhere + "/log''})')",
		"from query('from enable_' || 'logging(storage = ''file'', storage_config = {''path'': ''" + elsewhere + "/log''})')",
		`from "QUERY" /* x */ ('select 1')`,
		"pivot (from enable_logging(storage = 'file', storage_config = {'path': '" + elsewhere + "/log'})) on 1",
		"select getenv('HOME')",
		"from own) to '" + elsewhere + "/x.csv' --",
		"select 1) to '" + own + "' (use_tmp_file false); select (1",
	} {
		for _, outputs := range []types{nil, {"out": dataset}} {
			if result, err := b.run(engine.Query{Statement: sql + " /* own */", Inputs: inputs, Outputs: outputs}); err == nil {
				t.Errorf("%s: was run: %+v", sql, result)
			}
		}
	}
	if left, _ := os.ReadDir(elsewhere); len(left) > 0 {
		t.Errorf("SQL wrote %v", left)
	}
	if content, err := os.ReadFile(own); err != nil || string(content) != "a\n1\n" {
		t.Errorf("SQL changed its input: %q, %v", content, err)
	}
}

func TestAllowedPathsAndExternalAccessOpenTheWay(t *testing.T) {
	open := t.TempDir()
	closed := t.TempDir()
	b := newBench(t, func(l *engine.Limits) { l.AllowPaths = []string{open} })
	b.text("copy (select 'hi' as a) to '"+open+"/x.csv'; select a as out from '"+open+"/x.csv'", nil)
	b.fails(engine.Query{Statement: "copy (select 1) to '" + closed + "/x.csv'"}, "external_access", "allow_paths")
	b.fails(engine.Query{Statement: "set memory_limit = '100GB'"}, "locked")

	b = newBench(t, func(l *engine.Limits) { l.ExternalAccess = true })
	b.text("copy (select 'hi' as a) to '"+closed+"/y.csv'; select a as out from '"+closed+"/y.csv'", nil)
	b.fails(engine.Query{Statement: "set memory_limit = '100GB'"}, "locked")
}

func TestTheErrorOfAForbiddenReadSaysWhatOpensIt(t *testing.T) {
	b := newBench(t)
	_, err := b.run(engine.Query{Statement: "from read_text('/etc/passwd')"})
	if err == nil || !strings.Contains(err.Error(), "external_access") || !strings.Contains(err.Error(), "/etc/passwd") {
		t.Errorf("got %v", err)
	}
}
