package agent_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages show authors how an agent is written in Go.
var pages = []string{"README.md", "../../docs/writing-a-plugin.md", "../../README.md"}

var (
	goBlock = regexp.MustCompile("(?s)```go\n(.*?)```\n")
	// exported is a name of one of the SDK's packages, in code on a page.
	exported = regexp.MustCompile(`\b(agent|agenttest|httpclient|jobstore|metrics|storage)\.([A-Z]\w*)`)
	inCode   = regexp.MustCompile("(?s)```go\n.*?```|`[^`\n]+`")
)

// What a page shows is a part of a program that is compiled, and run by tests: plugins/hello, the examples, the tests of the SDK.
func TestEverySnippetOfThePagesIsCodeThatRuns(t *testing.T) {
	var sources []string
	for _, root := range []string{".", "../../plugins/hello"} {
		if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			source, err := os.ReadFile(path)
			sources = append(sources, unindented(string(source)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	shown := 0
	for _, page := range pages {
		for _, block := range goBlock.FindAllStringSubmatch(read(t, page), -1) {
			shown++
			found := false
			for _, source := range sources {
				found = found || strings.Contains(source, unindented(block[1]))
			}
			if !found {
				t.Errorf("%s shows what no program has:\n%s", page, block[1])
			}
		}
	}
	if shown < 8 {
		t.Errorf("the pages show %d pieces of code", shown)
	}
}

// unindented is code without what a page or a formatter puts around its lines.
func unindented(code string) string {
	lines := strings.Split(strings.TrimRight(code, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

func TestEveryNameOnThePagesIsOneOfTheSDK(t *testing.T) {
	names := map[string]map[string]bool{}
	for name, folder := range map[string]string{
		"agent": ".", "agenttest": "agenttest", "httpclient": "httpclient", "jobstore": "jobstore", "metrics": "metrics", "storage": "storage",
	} {
		names[name] = exportedIn(t, folder)
	}
	for _, page := range pages {
		for _, code := range inCode.FindAllString(read(t, page), -1) {
			for _, found := range exported.FindAllStringSubmatch(code, -1) {
				if !names[found[1]][found[2]] {
					t.Errorf("%s: %s is no name of the SDK", page, found[0])
				}
			}
		}
	}
}

func exportedIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			switch declared := declared.(type) {
			case *ast.FuncDecl:
				names[declared.Name.Name] = declared.Recv == nil || names[declared.Name.Name]
			case *ast.GenDecl:
				for _, spec := range declared.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						names[spec.Name.Name] = true
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							names[name.Name] = true
						}
					}
				}
			}
		}
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
