package table

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/test/published"
)

func TestTheTypesOfPluginsArePublished(t *testing.T) {
	page, err := Page(filepath.Join("..", "..", "..", "plugins"))
	if err != nil {
		t.Fatal(err)
	}
	published.Check(t, "docs/types.md", page)
}

func TestEachPluginWithAnEngineHasATable(t *testing.T) {
	plugins, err := filepath.Glob(filepath.Join("..", "..", "..", "plugins", "*", "verify.yaml"))
	if err != nil || len(plugins) < 8 {
		t.Fatalf("found the plugins %q: %v", plugins, err)
	}
	for _, spec := range plugins {
		folder := filepath.Dir(spec)
		if filepath.Base(folder) == "hello" { // it greets
			continue
		}
		if _, err := Read(filepath.Join(folder, "types.tsv")); err != nil {
			t.Error(err)
		}
	}
}

func TestATableIsReadAsItIsWritten(t *testing.T) {
	cells := []Cell{
		{"in", "int", "BIGINT", "list item", Exact, ""},
		{"out", "float", "DECIMAL", "scalar", Widened, "the float that prints as it does"},
		{"out", "int", "UBIGINT", "scalar", Refused, "is too large"},
	}
	file := filepath.Join(t.TempDir(), "types.tsv")
	if err := os.WriteFile(file, []byte(Text([]Cell{cells[2], cells[0], cells[1]})), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cells, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsWrongWithATableIsSaid(t *testing.T) {
	const good = "in\tint\tBIGINT\tscalar\texact\t"
	for lines, want := range map[string]string{
		"":                   "first line",
		"direction":          "first line",
		header + "\nin\tint": "line 2 has 2 fields",
		header + "\n" + strings.Repeat(good+"\n", 2):                     "line 3 is about the cell of the line before",
		header + "\nout" + good[2:] + "\n" + good:                        "sorted",
		header + "\nup" + good[2:]:                                       "direction",
		header + "\n" + strings.Replace(good, "exact", "bent", 1):        "outcome",
		header + "\n" + strings.Replace(good, "exact\t", "refused\t", 1): "says no how",
		header + "\n" + strings.Replace(good, "BIGINT", "BIGINT ", 1):    "engine",
		header + "\n" + strings.Replace(good, "\tscalar\t", "\t\t", 1):   "position",
	} {
		if _, err := parse(lines); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", lines, err, want)
		}
	}
}

func TestTypesOfTheEngineWithWhichAllIsTheSameShareARow(t *testing.T) {
	var page strings.Builder
	section(&page, "some", "What is to know.", []Cell{
		{"out", "int", "BIGINT", "list item", Exact, ""},
		{"out", "int", "BIGINT", "scalar", Exact, ""},
		{"out", "int", "DOUBLE", "list item", Refused, "is no integer"},
		{"out", "int", "DOUBLE", "scalar", Widened, "whole ones"},
		{"out", "int", "INTEGER", "list item", Exact, ""},
		{"out", "int", "INTEGER", "scalar", Exact, ""},
		{"out", "str", "DOUBLE", "scalar", Refused, "is no integer"},
	})
	want := `## some

The plugin's [README](../plugins/some/README.md).

What is to know.

### From the engine to Flyte, some

| Flyte | engine | scalar | list item |
|---|---|---|---|
| ` + "`int` | `BIGINT`, `INTEGER`" + ` | exact | exact |
| ` + "`int` | `DOUBLE`" + ` | widened [2] | refused [1] |
| ` + "`str` | `DOUBLE`" + ` | refused [1] |  |

### Notes, some

1. is no integer
2. whole ones

`
	if diff := cmp.Diff(want, page.String()); diff != "" {
		t.Error(diff)
	}
}
