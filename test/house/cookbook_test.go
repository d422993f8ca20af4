package house

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// beside are the SDKs' examples that are for their own pages, and no agents to be copied.
var beside = map[string]bool{"hello": true, "hello-kotlin": true, "features": true, "reports": true}

// mostLines is what the source of an agent of the cookbook stays below.
const mostLines = 150

// agentRow begins a row of the cookbook with the agent's name, which leads to its source.
var agentRow = regexp.MustCompile(`(?m)^\| \[[^\]]+\]\(\.\./(sdk/[a-z]+/examples/[^)]+)\) \|(.*)$`)

func TestTheCookbookHasEachExampleWithASpecAndAShortSource(t *testing.T) {
	page := read(t, "docs/cookbook.md")
	rows := map[string]bool{} // by folder
	for _, row := range agentRow.FindAllStringSubmatch(page, -1) {
		source := row[1]
		parts := strings.SplitN(source, "/", 5)
		if len(parts) < 5 {
			t.Errorf("docs/cookbook.md: %s leads to a folder: let it lead to the agent's source", source)
			continue
		}
		folder := path.Join(parts[:4]...)
		rows[folder] = true
		if lines := strings.Count(read(t, source), "\n"); lines >= mostLines {
			t.Errorf("%s has %d lines: an agent of the cookbook has fewer than %d", source, lines, mostLines)
		}
		if _, err := os.Stat(filepath.Join(root, folder, "verify.yaml")); err != nil {
			t.Errorf("an agent of the cookbook is verified: %v", err)
		}
		for _, cell := range strings.Split(strings.TrimSuffix(strings.TrimSpace(row[2]), "|"), "|") {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("docs/cookbook.md: the row of %s has an empty cell", folder)
			}
		}
	}
	if table := regexp.MustCompile(`(?m)^\| \[`).FindAllString(page, -1); len(table) != len(rows) {
		t.Errorf("docs/cookbook.md has %d rows, %d of which lead to a source below sdk/LANGUAGE/examples/NAME", len(table), len(rows))
	}
	examples, err := filepath.Glob(filepath.Join(root, "sdk/*/examples/*"))
	if err != nil || len(examples) == 0 {
		t.Fatal(examples, err)
	}
	for _, example := range examples {
		folder, err := filepath.Rel(root, example)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(example); err != nil || !info.IsDir() || beside[info.Name()] || strings.HasPrefix(info.Name(), ".") {
			continue
		}
		if !rows[filepath.ToSlash(folder)] {
			t.Errorf("docs/cookbook.md has no row for %s", folder)
		}
	}
}
