package taskrun

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"

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
	objects, err := p.objects()
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"at":"2024-01-31T12:00:00.25Z","b":true,"before":"1969-12-31","d128":"-1.5","d32":"12.50","d64":"-1234567890123456.78","day":"2024-01-31",` +
		`"f":0.5,"i":42,"list":[1,2],"nothing":null,"s":"héllo","small":-7,"struct":{"a":1,"b":"x"}}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAPreviewShowsWhatTheFileHoldsExactly(t *testing.T) {
	// SELECT 255::UTINYINT AS u8, 65535::USMALLINT AS u16, 4294967295::UINTEGER AS u32, 18446744073709551615::UBIGINT AS u64,
	//   (-9223372036854775808)::BIGINT AS i64, UUID '00112233-4455-6677-8899-aabbccddeeff' AS id,
	//   INTERVAL '14 months 3 days 4.005 seconds' AS span, TIME '24:00:00' AS midnight, TIME '12:34:56.5' AS noon,
	//   '\xAA\xFF'::BLOB AS bytes, 'nan'::DOUBLE AS nan, '-inf'::FLOAT AS inf, 0.1::FLOAT AS f32,
	//   [18446744073709551615::UBIGINT, NULL] AS us,
	//   {'id': UUID '00112233-4455-6677-8899-aabbccddeeff', 'd': 1.10::DECIMAL(38,2), 'days': [DATE '2024-01-31']} AS nested,
	//   MAP {DATE '2024-01-31': [[1::UTINYINT], [], NULL]} AS dates, []::INT[] AS nothing, MAP {'a': NULL::INT} AS m
	p, err := newPreview(literal.StructuredDataset{URI: "testdata/exact.parquet"}, 5)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := p.objects()
	if err != nil || len(objects) != 1 {
		t.Fatalf("%v, %v", objects, err)
	}
	for column, want := range map[string]string{
		"u8": "255", "u16": "65535", "u32": "4294967295", "u64": "18446744073709551615", "i64": "-9223372036854775808",
		"id": `"00112233-4455-6677-8899-aabbccddeeff"`, "span": `"P14M3DT4.005S"`, "midnight": `"24:00:00"`, "noon": `"12:34:56.5"`,
		"bytes": `"qv8="`, "nan": `"NaN"`, "inf": `"-Inf"`, "f32": "0.1", "us": "[18446744073709551615,null]",
		"nested": `{"d":"1.10","days":["2024-01-31"],"id":"00112233-4455-6677-8899-aabbccddeeff"}`,
		"dates":  `{"2024-01-31":[[1],[],null]}`, "nothing": "[]", "m": `{"a":null}`,
	} {
		got, err := json.Marshal(objects[0][column])
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s (%v), want %s", column, got, err, want)
		}
	}
}

func TestAPreviewReadsOtherTypesThatParquetHas(t *testing.T) {
	type row struct {
		Old   deprecated.Int96 `parquet:"old"`
		Bare  []int32          `parquet:"bare"`
		Least *uint64          `parquet:"least"`
	}
	path := filepath.Join(t.TempDir(), "a.parquet")
	day := deprecated.Int96{1_500_000_000, 0, 2440589} // 1970-01-02, and one second and a half
	if err := parquet.WriteFile(path, []row{{Old: day, Bare: []int32{1, -2}}, {Old: day}}); err != nil {
		t.Fatal(err)
	}
	p, err := newPreview(literal.StructuredDataset{URI: path}, 5)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]any{
		{"1970-01-02T00:00:01.5Z", []any{int64(1), int64(-2)}, nil},
		{"1970-01-02T00:00:01.5Z", []any{}, nil},
	}
	if diff := cmp.Diff(want, p.Rows); diff != "" {
		t.Error(diff)
	}
}

func TestFloatsOf16BitsAreRead(t *testing.T) {
	p, err := newPreview(literal.StructuredDataset{URI: "testdata/half.parquet"}, 3) // written by pyarrow: [0.333, None, -2]
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]any{{json.Number("0.3330078")}, {nil}, {json.Number("-2")}}, p.Rows); diff != "" {
		t.Error(diff)
	}
	for bits, want := range map[uint16]float32{
		0: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0001: 1.0 / (1 << 24), 0x3555: 0.333251953125, 0x7c00: float32(math.Inf(1)), 0xfc00: float32(math.Inf(-1)),
	} {
		if got := half(bits); got != want {
			t.Errorf("%#x: got %v, want %v", bits, got, want)
		}
	}
	if !math.IsNaN(float64(half(0x7e00))) {
		t.Error("0x7e00 is not NaN")
	}
}

func TestThePartsOfADatasetAreReadByName(t *testing.T) {
	type ab struct {
		A int64 `parquet:"a"`
		B int64 `parquet:"b"`
	}
	type ba struct {
		B int64 `parquet:"b"`
		A int64 `parquet:"a"`
	}
	type ac struct {
		A int64 `parquet:"a"`
		C int64 `parquet:"c"`
	}
	folder := t.TempDir()
	if err := parquet.WriteFile(filepath.Join(folder, "0.parquet"), []ab{{1, 2}}); err != nil {
		t.Fatal(err)
	}
	if err := parquet.WriteFile(filepath.Join(folder, "1.parquet"), []ba{{4, 3}}); err != nil {
		t.Fatal(err)
	}
	p, err := newPreview(literal.StructuredDataset{URI: folder}, 4)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]any{{int64(1), int64(2)}, {int64(3), int64(4)}}, p.Rows); diff != "" {
		t.Error(diff)
	}
	if err := parquet.WriteFile(filepath.Join(folder, "2.parquet"), []ac{{5, 6}}); err != nil {
		t.Fatal(err)
	}
	if _, err := newPreview(literal.StructuredDataset{URI: folder}, 4); err == nil || !strings.Contains(err.Error(), "2.parquet") || !strings.Contains(err.Error(), "no column b") {
		t.Errorf("got %v", err)
	}
}

func TestRowsWithTwoColumnsOfOneNameAreNoJSONObjects(t *testing.T) {
	p, err := newPreview(literal.StructuredDataset{URI: writeFile(t, "a.csv", []byte("a,a\n1,2\n")), Format: "csv"}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.objects(); err == nil || !strings.Contains(err.Error(), "named a") {
		t.Errorf("got %v", err)
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
