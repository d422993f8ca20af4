package engine

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// dropsNanos is a condition on parquet_schema's rows: DuckDB 1.5.3 reads TIME and instants in UTC, which parquet may have in
// nanoseconds, as microseconds, and those of INT96, which older writers make.
const dropsNanos = `(type = 'INT96' OR logical_type LIKE 'TimeType(%NANOS=Nano%' OR logical_type LIKE 'TimestampType(isAdjustedToUTC=1%NANOS=Nano%')`

// wantWholeMicros looks at each value of such columns of a file, and refuses one that would be read as another.
func wantWholeMicros(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	opened, err := parquet.OpenFile(file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("%s cannot be looked at for nanoseconds: %w", path, err)
	}
	for _, columnPath := range opened.Schema().Columns() {
		leaf, ok := opened.Schema().Lookup(columnPath...)
		if !ok {
			continue
		}
		kind := nanosKind(leaf.Node)
		if kind == "" {
			continue
		}
		for _, group := range opened.RowGroups() {
			found, err := hasNanos(group.ColumnChunks()[leaf.ColumnIndex])
			if err != nil {
				return fmt.Errorf("%s cannot be looked at for nanoseconds in column %q: %w", path, columnPath[0], err)
			}
			if found {
				return fmt.Errorf("%s has nanoseconds in the column %q, a %s, of which DuckDB 1.5.3 reads microseconds: write it with those, or as text", path, columnPath[0], kind)
			}
		}
	}
	return nil
}

// nanosKind is what DuckDB reads a column with nanoseconds as; "" for others.
func nanosKind(leaf parquet.Node) string {
	if leaf.Type().Kind() == parquet.Int96 {
		return "TIMESTAMP of INT96"
	}
	logical := leaf.Type().LogicalType()
	if logical == nil {
		return ""
	}
	switch kind := logical.Value.(type) {
	case *format.TimeType:
		if inNanos(kind.Unit) {
			return "TIME of nanoseconds"
		}
	case *format.TimestampType:
		if kind.IsAdjustedToUTC && inNanos(kind.Unit) {
			return "TIMESTAMP WITH TIME ZONE of nanoseconds"
		}
	}
	return ""
}

func inNanos(unit format.TimeUnit) bool {
	_, ok := unit.Value.(*format.NanoSeconds)
	return ok
}

func hasNanos(chunk parquet.ColumnChunk) (bool, error) {
	pages := chunk.Pages()
	defer pages.Close()
	values := make([]parquet.Value, 1024)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		found, err := pageHasNanos(page, values)
		parquet.Release(page)
		if found || err != nil {
			return found, err
		}
	}
}

func pageHasNanos(page parquet.Page, values []parquet.Value) (bool, error) {
	reader := page.Values()
	for {
		count, err := reader.ReadValues(values)
		for _, v := range values[:count] {
			if v.IsNull() {
				continue
			}
			nanos := v.Int64()
			if v.Kind() == parquet.Int96 {
				parts := v.Int96() // nanoseconds of the day, and the day
				nanos = int64(parts[1])<<32 | int64(parts[0])
			}
			if nanos%1000 != 0 {
				return true, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}
