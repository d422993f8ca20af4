package table

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const intro = `# Types

Made from the plugins' ` + "`types.tsv` and `types.md` by `go test ./test/types/table -update`" + `; do not edit. Each cell is held by a test that sends values through the
plugin and compares what comes back with what was put in.

| | |
|---|---|
| exact | what was put in is read back equal; a note tells the values that are refused all the same |
| widened | it comes back in another form, which tells the same; the note says how |
| refused | the task is FAILED, and is not tried again; the note has the message. … stands for what is another for other values |
| | an empty cell is a combination that there is not |

`

// Page is docs/types.md for the plugins in a folder.
func Page(plugins string) (string, error) {
	files, err := filepath.Glob(filepath.Join(plugins, "*", "types.tsv"))
	if err != nil {
		return "", err
	}
	var page strings.Builder
	page.WriteString(intro)
	for _, file := range files {
		cells, err := Read(file)
		if err != nil {
			return "", err
		}
		folder := filepath.Dir(file)
		text, err := os.ReadFile(filepath.Join(folder, "types.md"))
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		section(&page, filepath.Base(folder), strings.TrimSpace(string(text)), cells)
	}
	return strings.TrimSuffix(page.String(), "\n"), nil
}

func section(page *strings.Builder, plugin, text string, cells []Cell) {
	fmt.Fprintf(page, "## %s\n\nThe plugin's [README](../plugins/%[1]s/README.md).\n\n", plugin)
	if text != "" {
		page.WriteString(text + "\n\n")
	}
	var notes []string
	for _, direction := range [][2]string{{"in", "From Flyte to the engine"}, {"out", "From the engine to Flyte"}} {
		var rows []Cell
		for _, cell := range cells {
			if cell.Direction == direction[0] {
				rows = append(rows, cell)
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(page, "### %s, %s\n\n", direction[1], plugin)
			notes = grid(page, rows, notes)
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(page, "### Notes, %s\n\n", plugin)
		for i, note := range notes {
			fmt.Fprintf(page, "%d. %s\n", i+1, note)
		}
		page.WriteString("\n")
	}
}

// positions are the columns of a grid, from left to right; others come after them.
var positions = []string{"scalar", "named parameter", "list item", "dict value", "map key", "nested two deep", "dataset column", "dataset", "file"}

// grid writes a row for each type of Flyte's and of the engine's; types of the engine with which all is the same share one. It
// returns the notes with those that are new.
func grid(page *strings.Builder, cells []Cell, notes []string) []string {
	var columns []string
	for _, cell := range cells {
		if !slices.Contains(columns, cell.Position) {
			columns = append(columns, cell.Position)
		}
	}
	slices.SortFunc(columns, func(a, b string) int {
		if rank := rankOf(a) - rankOf(b); rank != 0 {
			return rank
		}
		return strings.Compare(a, b)
	})
	type row struct {
		flyte   string
		engines []string
		cells   string
	}
	var rows []row
	for len(cells) > 0 {
		same := slices.IndexFunc(cells, func(c Cell) bool { return c.Flyte != cells[0].Flyte || c.Engine != cells[0].Engine })
		if same < 0 {
			same = len(cells)
		}
		found := make([]string, len(columns))
		for _, cell := range cells[:same] {
			text := cell.Outcome
			if cell.Note != "" {
				at := slices.Index(notes, cell.Note)
				if at < 0 {
					notes = append(notes, cell.Note)
					at = len(notes) - 1
				}
				text += fmt.Sprintf(" [%d]", at+1)
			}
			found[slices.Index(columns, cell.Position)] = text
		}
		next := row{cells[0].Flyte, []string{cells[0].Engine}, strings.Join(found, " | ")}
		at := slices.IndexFunc(rows, func(r row) bool { return r.flyte == next.flyte && r.cells == next.cells })
		if at < 0 {
			rows = append(rows, next)
		} else {
			rows[at].engines = append(rows[at].engines, next.engines...)
		}
		cells = cells[same:]
	}
	fmt.Fprintf(page, "| Flyte | engine | %s |\n|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(page, "| `%s` | `%s` | %s |\n", r.flyte, strings.Join(r.engines, "`, `"), r.cells)
	}
	page.WriteString("\n")
	return notes
}

func rankOf(position string) int {
	if at := slices.Index(positions, position); at >= 0 {
		return at
	}
	return len(positions)
}
