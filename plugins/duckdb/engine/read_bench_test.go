package engine_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// Reading 1,000 parquet files of 10,000 rows, beside DuckDB's own read_parquet(…, union_by_name = true): in turns, since a machine is
// not always as fast. "ratio" is ours by DuckDB's, of the medians.
//
//	go test -run '^$' -bench Reading ./engine
func BenchmarkReadingManyFilesBesideDuckDB(b *testing.B) {
	const files, query = 1000, "select count(*) || ' ' || sum(a) || ' ' || sum(d) || ' ' || max(s) || ' ' || count(late) from "
	for _, c := range []struct {
		name string
		// schemas are the SELECTs of which each file has one.
		schemas []string
	}{
		{"one schema", []string{"select range as a, range / 4 as d, 'x' || range as s, range as late from range(10000)"}},
		{"two schemas", []string{
			"select range::int as a, range / 4 as d, 'x' || range as s from range(10000)",
			"select range::bigint as a, range / 4 as d, 'x' || range as s, range as late from range(10000)",
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			own, err := sql.Open("duckdb", "")
			if err != nil {
				b.Fatal(err)
			}
			defer own.Close()
			dir := b.TempDir()
			var written []string
			for i, schema := range c.schemas {
				written = append(written, filepath.Join(dir, fmt.Sprintf("schema%d.parquet", i)))
				if _, err := own.Exec("copy (" + schema + ") to '" + written[i] + "' (format parquet)"); err != nil {
					b.Fatal(err)
				}
			}
			at := filepath.Join(dir, "files")
			if err := os.Mkdir(at, 0o700); err != nil {
				b.Fatal(err)
			}
			for i := range files {
				if err := os.Link(written[i%len(written)], filepath.Join(at, fmt.Sprintf("%04d.parquet", i))); err != nil {
					b.Fatal(err)
				}
			}
			store, err := storage.New(nil)
			if err != nil {
				b.Fatal(err)
			}
			ours, err := engine.New(engine.Limits{Scratch: filepath.Join(dir, "scratch"), LocalInputs: true}, store)
			if err != nil {
				b.Fatal(err)
			}
			q := engine.Query{ID: "q", Statement: query + "t", Inputs: literals{"t": ofDataset(at, "parquet")}, Outputs: types{"out": str}}
			var took [2][]time.Duration
			for b.Loop() {
				began := time.Now()
				result, err := ours.Run(b.Context(), q, &recorder{})
				if err != nil {
					b.Fatal(err)
				}
				took[0] = append(took[0], time.Since(began))
				began = time.Now()
				var text string
				if err := own.QueryRow(query + "read_parquet('" + at + "/*.parquet', union_by_name = true)").Scan(&text); err != nil {
					b.Fatal(err)
				}
				took[1] = append(took[1], time.Since(began))
				if got := result.Outputs.GetLiterals()["out"].GetScalar().GetPrimitive().GetStringValue(); got != text {
					b.Fatalf("ours gives %s, DuckDB %s", got, text)
				}
			}
			median := func(all []time.Duration) float64 {
				slices.Sort(all)
				return all[len(all)/2].Seconds()
			}
			b.ReportMetric(median(took[0]), "s/ours")
			b.ReportMetric(median(took[1]), "s/duckdb")
			b.ReportMetric(median(took[0])/median(took[1]), "ratio")
		})
	}
}
