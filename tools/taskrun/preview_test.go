package taskrun

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// What is in testdata, DuckDB wrote: as the duckdb plugin writes its results, with COPY (SELECT …) TO '<name>.parquet'.

func TestAPreviewShowsEveryColumnTypeReadably(t *testing.T) {
	// SELECT 42 AS i, -7::TINYINT AS small, 0.5::DOUBLE AS f, 'héllo' AS s, true AS b, NULL::INTEGER AS nothing,
	//   DATE '2024-01-31' AS day, TIMESTAMP '2024-01-31 12:00:00.25' AS at, DATE '1969-12-31' AS before,
	//   12.50::DECIMAL(9,2) AS d32, -1234567890123456.78::DECIMAL(18,2) AS d64, -1.5::DECIMAL(38,1) AS d128,
	//   [1, 2] AS list, {'a': 1, 'b': 'x'} AS struct
	path, err := filepath.Abs("testdata/all.parquet")
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPreview(literal.StructuredDataset{URI: "file://" + path, Format: "parquet"}, 5)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(p.objects())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"at":"2024-01-31T12:00:00.25Z","b":true,"before":"1969-12-31","d128":"-1.5","d32":"12.50","d64":"-1234567890123456.78","day":"2024-01-31",` +
		`"f":0.5,"i":42,"list":[1,2],"nothing":null,"s":"héllo","small":-7,"struct":{"a":1,"b":"x"}}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAPreviewOfAFolderCountsAllFilesAndShowsTheFirstRows(t *testing.T) {
	// SELECT range AS n FROM range(3), and SELECT range + 3 AS n FROM range(3); beside them is a file that is no data.
	p, err := newPreview(literal.StructuredDataset{URI: "testdata/parts"}, 4)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]any{{int64(0)}, {int64(1)}, {int64(2)}, {int64(3)}}, p.Rows); diff != "" || p.Total != 6 {
		t.Errorf("%d rows, %s", p.Total, diff)
	}
}

func TestACSVPreviewKnowsTheTotalOnlyAtTheEnd(t *testing.T) {
	path := writeFile(t, "a.csv", []byte("a,b\n1,x\n2,\"y\nz\"\n3,w\n"))
	for rows, total := range map[int]int64{2: -1, 3: -1, 9: 3} {
		p, err := newPreview(literal.StructuredDataset{URI: path, Format: "csv"}, rows)
		if err != nil || len(p.Rows) != min(rows, 3) || p.Total != total || p.Rows[1][1] != "y\nz" {
			t.Errorf("%d rows: got %+v, %v", rows, p, err)
		}
	}
}

func TestWhatCannotBePreviewedSaysWhy(t *testing.T) {
	whole, err := os.ReadFile("testdata/thousand.parquet") // SELECT range AS n FROM range(1000)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(whole)
	for i := 8; i < len(broken)/2; i++ {
		broken[i] ^= 0xff
	}
	for name, test := range map[string]struct {
		dataset literal.StructuredDataset
		want    string
	}{
		"remote":     {literal.StructuredDataset{URI: "s3://bucket/a", Format: "parquet"}, "not on this machine"},
		"missing":    {literal.StructuredDataset{URI: "/nowhere", Format: "parquet"}, "no such file"},
		"empty":      {literal.StructuredDataset{URI: t.TempDir()}, "has no files"},
		"no parquet": {literal.StructuredDataset{URI: writeFile(t, "a.parquet", []byte("hello"))}, "cannot be read as parquet"},
		"truncated":  {literal.StructuredDataset{URI: writeFile(t, "a.parquet", whole[:len(whole)/2])}, "cannot be read as parquet"},
		"broken":     {literal.StructuredDataset{URI: writeFile(t, "a.parquet", broken)}, "cannot be read as parquet"},
		"other":      {literal.StructuredDataset{URI: writeFile(t, "a.orc", []byte("ORC")), Format: "orc"}, "not orc"},
		"bad csv":    {literal.StructuredDataset{URI: writeFile(t, "a.csv", []byte("a,b\n\"")), Format: "csv"}, "cannot be read as csv"},
	} {
		if _, err := newPreview(test.dataset, 5); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}
