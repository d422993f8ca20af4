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
		p, err := previewCSV(files[0], rows)
		if err == nil && len(files) > 1 {
			p.Total = -1
		}
		return p, err
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
	order, err := p.order(file.Schema())
	if err != nil {
		return err
	}
	halves := halvesOf(file)
	reader := parquet.NewReader(file)
	defer func() { _ = reader.Close() }() // of a reader: nothing can be lost
	for len(p.Rows) < rows {
		stored := make([]parquet.Row, 1)
		n, err := reader.ReadRows(stored)
		if n == 1 {
			cells := parquetRow(file.Schema(), halves, stored[0])
			row := make([]any, len(order))
			for i, from := range order {
				row[i] = cells[from]
			}
			p.Rows = append(p.Rows, row)
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

// order says which of a file's columns are the preview's, by name: a later file may have them in another order.
func (p *preview) order(schema *parquet.Schema) ([]int, error) {
	names := make([]string, len(schema.Fields()))
	order := make([]int, len(names))
	for i, field := range schema.Fields() {
		names[i], order[i] = field.Name(), i
	}
	if p.Columns == nil {
		p.Columns = names
	}
	if slices.Equal(p.Columns, names) {
		return order, nil
	}
	if len(names) != len(p.Columns) {
		return nil, fmt.Errorf("it has the columns %s, and files before it have %s", strings.Join(names, ", "), strings.Join(p.Columns, ", "))
	}
	for i, column := range p.Columns {
		if order[i] = slices.Index(names, column); order[i] < 0 {
			return nil, fmt.Errorf("it has no column %s, which files before it have", column)
		}
	}
	return order, nil
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

// objects gives the rows as JSON objects, which cannot hold two columns of one name.
func (p *preview) objects() ([]map[string]any, error) {
	for i, column := range p.Columns {
		if slices.Contains(p.Columns[:i], column) {
			return nil, fmt.Errorf("two columns are named %s", column)
		}
	}
	out := make([]map[string]any, len(p.Rows))
	for i, row := range p.Rows {
		out[i] = make(map[string]any, len(row))
		for j, column := range p.Columns {
			if j < len(row) {
				out[i][column] = row[j]
			}
		}
	}
	return out, nil
}
