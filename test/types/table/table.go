// Package table reads and writes what plugins/NAME/types.tsv says: cell by cell, what becomes of a value on its way into a plugin's
// engine and out of it. The tests of each plugin hold its cells; docs/types.md is made of all of them.
package table

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Outcomes of cells.
const (
	Exact   = "exact"
	Widened = "widened"
	Refused = "refused"
)

// Cell is a line of the table.
type Cell struct {
	// Direction is "in", from Flyte to the engine, or "out".
	Direction string
	// Flyte is the type as authors of tasks write it, Engine the engine's.
	Flyte, Engine string
	// Position is where the value stands, such as "scalar" or "list item".
	Position string
	// Outcome of the values that were tried: Exact where they come back equal, but for those that the note tells; Widened where they
	// come back in another form that tells the same; Refused where the task fails for good.
	Outcome string
	// Note says how a value is widened, and how one is refused.
	Note string
}

const header = "direction\tflyte\tengine\tposition\toutcome\tnote"

func (c Cell) fields() []string {
	return []string{c.Direction, c.Flyte, c.Engine, c.Position, c.Outcome, c.Note}
}

// Text is the table as its file has it.
func Text(cells []Cell) string {
	lines := make([]string, len(cells))
	for i, cell := range cells {
		lines[i] = strings.Join(cell.fields(), "\t")
	}
	slices.Sort(lines)
	return header + "\n" + strings.Join(lines, "\n") + "\n"
}

// Read reads a file, and says all that is wrong with it.
func Read(path string) ([]Cell, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cells, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cells, nil
}

func parse(text string) ([]Cell, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != header {
		return nil, fmt.Errorf("the first line is %q, not %q", lines[0], header)
	}
	lines = lines[1:]
	if !slices.IsSorted(lines) {
		return nil, fmt.Errorf("its lines are not sorted")
	}
	var cells []Cell
	for i, line := range lines {
		f := strings.Split(line, "\t")
		if len(f) != strings.Count(header, "\t")+1 {
			return nil, fmt.Errorf("line %d has %d fields", i+2, len(f))
		}
		cell := Cell{f[0], f[1], f[2], f[3], f[4], f[5]}
		if problem := cell.problem(); problem != "" {
			return nil, fmt.Errorf("line %d %s", i+2, problem)
		}
		if i > 0 && cell.place() == cells[i-1].place() {
			return nil, fmt.Errorf("line %d is about the cell of the line before", i+2)
		}
		cells = append(cells, cell)
	}
	return cells, nil
}

func (c Cell) place() [4]string { return [4]string{c.Direction, c.Flyte, c.Engine, c.Position} }

func (c Cell) problem() string {
	for i, field := range c.fields()[:5] {
		if field != strings.TrimSpace(field) || field == "" {
			return fmt.Sprintf("has the %s %q", strings.Split(header, "\t")[i], field)
		}
	}
	switch {
	case c.Direction != "in" && c.Direction != "out":
		return fmt.Sprintf("has the direction %q", c.Direction)
	case c.Outcome != Exact && c.Outcome != Widened && c.Outcome != Refused:
		return fmt.Sprintf("has the outcome %q", c.Outcome)
	case c.Outcome != Exact && c.Note == "":
		return "says no how"
	}
	return ""
}
