package taskrun

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// preview is the first rows of a dataset.
type preview struct {
	Columns []string
	Rows    [][]any
	// Total is the number of rows in all files; -1 where only reading them all would tell.
	Total int64
}

// newPreview reads the first rows of a dataset whose files are on this machine.
func newPreview(dataset literal.StructuredDataset, rows int) (*preview, error) {
	if rows <= 0 {
		return nil, errors.New("not asked for")
	}
	path, local := localPath(dataset.URI)
	if !local {
		return nil, errors.New("it is not on this machine")
	}
	files, err := dataFiles(path)
	if err != nil {
		return nil, err
	}
	switch dataset.Format {
	case "parquet", "":
		return previewParquet(files, rows)
	case "csv":
		return previewCSV(files[0], rows)
	}
	return nil, fmt.Errorf("only parquet and csv can be read here, not %s", dataset.Format)
}

// dataFiles gives the files of a dataset: one, or those of a folder, in the order of their names. Names that start with a
// dot or an underscore are not data.
func dataFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "_") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the folder %s has no files", path)
	}
	return files, nil
}

// previewParquet reads the rows of the first file that has any, and counts those of all.
func previewParquet(paths []string, rows int) (p *preview, err error) {
	defer func() { // a file that is not what it claims to be must not take the result of a task down with it
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("cannot be read as parquet: %v", r)
		}
	}()
	p = &preview{}
	for _, path := range paths {
		if err := p.addParquet(path, rows); err != nil {
			return nil, fmt.Errorf("%s cannot be read as parquet: %w", path, err)
		}
	}
	return p, nil
}

func (p *preview) addParquet(path string, rows int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return err
	}
	p.Total += file.NumRows()
	if p.Columns == nil {
		for _, field := range file.Schema().Fields() {
			p.Columns = append(p.Columns, field.Name())
		}
	}
	values, stored := parquet.NewGenericReader[any](file), parquet.NewReader(file)
	defer func() { _, _ = values.Close(), stored.Close() }() // of readers: nothing can be lost
	for len(p.Rows) < rows {
		batch, raw := make([]any, 1), make([]parquet.Row, 1)
		n, err := values.Read(batch)
		if n == 1 {
			if _, err := stored.ReadRows(raw); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			cells, _ := batch[0].(map[string]any)
			p.Rows = append(p.Rows, parquetRow(file.Schema(), cells, raw[0]))
		}
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parquetRow puts the cells of a row into the order of its columns.
func parquetRow(schema *parquet.Schema, cells map[string]any, stored parquet.Row) []any {
	var row []any
	for _, field := range schema.Fields() {
		cell := parquetValue(cells[field.Name()], field)
		if kind := decimalOf(field); kind != nil {
			leaf, _ := schema.Lookup(field.Name())
			for _, value := range stored {
				if value.Column() == leaf.ColumnIndex {
					cell = exactDecimal(value, kind)
				}
			}
		}
		row = append(row, cell)
	}
	return row
}

// previewCSV reads the first rows of a file with a header.
func previewCSV(path string, rows int) (*preview, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	reader := csv.NewReader(f)
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read as csv: %w", path, err)
	}
	p := &preview{Columns: slices.Clone(header), Total: -1}
	for len(p.Rows) < rows {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			p.Total = int64(len(p.Rows))
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s cannot be read as csv: %w", path, err)
		}
		row := make([]any, len(record))
		for i := range record {
			row[i] = record[i]
		}
		p.Rows = append(p.Rows, row)
	}
	return p, nil
}

// objects gives the rows as JSON objects.
func (p *preview) objects() []map[string]any {
	out := make([]map[string]any, len(p.Rows))
	for i, row := range p.Rows {
		out[i] = make(map[string]any, len(row))
		for j, column := range p.Columns {
			if j < len(row) {
				out[i][column] = row[j]
			}
		}
	}
	return out
}
