package engine_test

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
)

func TestFilesAndDatasetsAreTablesOfTheirInputsNames(t *testing.T) {
	b := newBench(t)
	parquet := func(name string) string {
		b.t.Helper()
		result, err := b.run(engine.Query{Statement: "select 1 as a, 'x' as b union all select 2, 'y'", Outputs: types{"d": dataset}, OutputPrefix: filepath.Join(b.dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		return result.Outputs.GetLiterals()["d"].GetScalar().GetStructuredDataset().GetUri()
	}
	dir := parquet("flat")
	hive := filepath.Join(b.dir, "hive")
	for _, part := range []string{"b=x", "b=y"} {
		if err := os.CopyFS(filepath.Join(hive, part), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	b.file("hive/_SUCCESS", "")
	b.file("hive/_temporary/0/part", "broken")
	b.file("hive/.part.crc", "broken")
	odd := filepath.Join(b.dir, "odd [1]*?")
	if err := os.CopyFS(odd, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(b.dir, "linked.csv")
	if err := os.Symlink(b.file("real.csv", "a,b\n1,x\n2,y\n"), linked); err != nil {
		t.Fatal(err)
	}
	gzipped := filepath.Join(b.dir, "zipped.csv.gz")
	writeGzip(t, gzipped, "a,b\n1,x\n2,y\n")

	for name, input := range map[string]*core.Literal{
		"a dataset of no format":        ofDataset(dir, ""),
		"a dataset by file uri":         ofDataset("file://"+dir, "parquet"),
		"a dataset that is one file":    ofDataset(dir+"/00000", "parquet"),
		"a column that is a partition":  ofDataset(hive, "parquet"),
		"a name with wildcards":         ofDataset(odd, "parquet"),
		"flytekit's csv dataset":        ofDataset(filepath.Dir(b.file("sd/.csv", "a,b\n1,x\n2,y\n")), "csv"),
		"a dataset with an extension":   ofDataset(b.file("sd2/x.csv", "a,b\n1,x\n2,y\n"), ""),
		"csv file by format":            ofFile(b.file("x1", "a,b\n1,x\n2,y\n"), "csv"),
		"csv file by extension":         ofFile(b.file("x2.CSV", "a,b\n1,x\n2,y\n"), ""),
		"gzipped csv":                   ofFile(gzipped, ""),
		"tsv":                           ofFile(b.file("x.tsv", "a\tb\n1\tx\n2\ty\n"), "tsv"),
		"json array":                    ofFile(b.file("x.json", `[{"a":1,"b":"x"},{"a":2,"b":"y"}]`), "json"),
		"ndjson":                        ofFile(b.file("x.ndjson", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n"), ""),
		"jsonl":                         ofFile(b.file("x3", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n"), "jsonl"),
		"parquet file without any hint": ofFile(dir+"/00000", ""),
		"a directory as a blob":         ofFile(dir, ""),
		"a link":                        ofFile(linked, "csv"),
		"an optional dataset":           ofUnion(ofDataset(dir, ""), dataset),
		"a list of files is one table":  ofList(ofFile(b.file("p1.csv", "a,b\n1,x\n"), "csv"), ofFile(b.file("p2.csv", "a,b\n2,y\n"), "csv")),
		"an old schema":                 scalar(&core.Scalar{Value: &core.Scalar_Schema{Schema: &core.Schema{Uri: dir}}}),
	} {
		t.Run(name, func(t *testing.T) {
			got := b.text("select string_agg(distinct a || b::varchar, ' ' order by a || b::varchar) as out from Flights", literals{"flights": input})
			if got != "1x 2y" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestFilesCanBeReadByTheirPaths(t *testing.T) {
	b := newBench(t)
	notes := ofFile(b.file("notes.txt", "hello"), "txt")
	if got := b.text("select content from read_text($notes)", literals{"notes": notes}); got != "hello" {
		t.Errorf("got %q", got)
	}
	parts := ofFile(filepath.Dir(filepath.Dir(b.file("d/a/x.txt", "1"))), "")
	b.file("d/b/y.txt", "2")
	if got := b.text("select string_agg(content, '' order by filename) from read_text($parts)", literals{"parts": parts}); got != "12" {
		t.Errorf("got %q", got)
	}
	b.fails(engine.Query{Statement: "from notes", Inputs: literals{"notes": notes}}, `input "notes" is no table`, "txt")
}

func TestInputsThatCannotBeReadNameThemselvesAndTheirPlace(t *testing.T) {
	b := newBench(t, func(l *engine.Limits) { l.DenyInputs = []string{"/etc"} })
	empty := filepath.Join(b.dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(b.dir, "link")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"/nowhere/x.csv":                     "no such file",
		empty:                                "no such file",
		"relative.csv":                       "absolute",
		"":                                   "absolute",
		"ftp://host/x.csv":                   "ftp://",
		"s3://":                              "no bucket",
		"/dev/zero":                          "not for tasks",
		"/proc/self/environ":                 "not for tasks",
		"file:///etc/passwd":                 "not for tasks",
		"/":                                  "not for tasks",
		link:                                 "not for tasks",
		b.file("bad.parquet", "not parquet"): "parquet",
	} {
		format := strings.TrimPrefix(filepath.Ext(uri), ".")
		b.fails(engine.Query{Statement: "from data", Inputs: literals{"data": ofFile(uri, format)}}, `input "data"`, want)
	}
	b = newBench(t, func(l *engine.Limits) { l.LocalInputs = false })
	b.fails(engine.Query{Statement: "from data", Inputs: literals{"data": ofFile(b.file("x.csv", "a\n1\n"), "csv")}}, `input "data"`, "local_inputs")
}

func writeGzip(t *testing.T, path, content string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zipped := gzip.NewWriter(file)
	if _, err := zipped.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
}
