// Command page writes docs/benchmarks.md and its plots from the result of a run: page [DIR], where DIR, docs/benchmarks if none is
// given, has result.json and, where somebody has found out why a figure is as it is, notes.md: a paragraph below each heading
// that is a row's name.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/agenthost/agenthost/test/bench/report"
)

func main() {
	log.SetFlags(0)
	dir := filepath.Join("docs", "benchmarks")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(dir); err != nil {
		log.Fatal("page: ", err)
	}
	fmt.Printf("page ok: %s.md\n", dir)
}

func run(dir string) error {
	result, why, err := read(dir)
	if err != nil {
		return err
	}
	drawn, err := plots(result)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	for _, one := range drawn {
		if err := os.WriteFile(filepath.Join(dir, one.file), one.svg, 0o644); err != nil {
			return err
		}
	}
	text, err := page(result, drawn, why, filepath.Base(dir))
	if err != nil {
		return err
	}
	return os.WriteFile(dir+".md", []byte(text), 0o644)
}

// read reads a run's result, and what is known of its rows beyond it.
func read(dir string) (result report.Result, why notes, err error) {
	file, err := os.Open(filepath.Join(dir, "result.json"))
	if err != nil {
		return result, nil, fmt.Errorf("%w: `make bench-docs` measures and writes it", err)
	}
	defer file.Close()
	if result, err = report.Read(file); err != nil {
		return result, nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "notes.md"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return result, nil, err
	}
	why, err = parseNotes(text, result)
	return result, why, err
}

// notes are paragraphs, by the names of the rows that they are about.
type notes map[string]string

// parseNotes reads them: below each heading of the second level, which is a row's name, its paragraphs.
func parseNotes(text []byte, of report.Result) (notes, error) {
	found := notes{}
	known := map[string]bool{}
	for _, row := range of.Rows {
		known[row.Name] = true
	}
	for _, section := range bytes.Split(append([]byte("\n"), text...), []byte("\n## "))[1:] {
		name, paragraphs, _ := bytes.Cut(section, []byte("\n"))
		row := string(bytes.TrimSpace(name))
		if !known[row] {
			return nil, fmt.Errorf("notes.md is about %q, and there is no such row", row)
		}
		found[row] = string(bytes.TrimSpace(paragraphs))
	}
	return found, nil
}
