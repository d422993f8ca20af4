package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// retired are words that only this project understood, and what took their places. Nothing that is declared in cmd, host
// and tools has one of them in its name.
var retired = map[string]string{
	"trip":     "routed call",
	"kept":     "enabled",
	"acted":    "applied, recorded",
	"lane":     "exchange",
	"patience": "maxWait",
	"spare":    "reply reserve",
	"settle":   "normalize, synced, or what it is about",
	"settled":  "normalized, synced, or what it is about",
	"settles":  "normalizes, or what it is about",
	"trial":    "canary",
	"poke":     "wake",
	"hurry":    "expedite",
	"odd":      "unsupported",
}

// declaration is one that a Go file makes.
type declaration struct {
	name string
	at   token.Position
}

// declarations are the types, functions, fields, parameters, variables and constants that the Go files below folders of the
// repository declare. A test is named by a sentence, which may have any word.
func declarations(t *testing.T, folders ...string) []declaration {
	t.Helper()
	var found []declaration
	files := token.NewFileSet()
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "templates"):
				return filepath.SkipDir
			case filepath.Ext(path) != ".go":
				return nil
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			declare := func(ids ...*ast.Ident) {
				for _, id := range ids {
					if id != nil {
						found = append(found, declaration{id.Name, files.Position(id.Pos())})
					}
				}
			}
			declare(file.Name)
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if !strings.HasPrefix(n.Name.Name, "Test") {
						declare(n.Name)
					}
				case *ast.TypeSpec:
					declare(n.Name)
				case *ast.ValueSpec:
					declare(n.Names...)
				case *ast.Field:
					declare(n.Names...)
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						break
					}
					for _, left := range n.Lhs {
						id, _ := left.(*ast.Ident)
						declare(id)
					}
				case *ast.RangeStmt:
					if n.Tok == token.DEFINE {
						key, _ := n.Key.(*ast.Ident)
						value, _ := n.Value.(*ast.Ident)
						declare(key, value)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// parts are the words of an identifier, in lower case: "replyReserve" has "reply" and "reserve".
func parts(identifier string) []string {
	var words []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = nil
		}
	}
	runes := []rune(identifier)
	for i, r := range runes {
		upper := unicode.IsUpper(r)
		// A capital begins a word, but for one among capitals that the next small letter does not claim: HTTPServer.
		begins := upper && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		switch {
		case r == '_':
			end()
			continue
		case begins:
			end()
		}
		word = append(word, r)
	}
	end()
	return words
}

func TestIdentifiersComeApartIntoWords(t *testing.T) {
	for identifier, want := range map[string]string{
		"replyReserve": "reply reserve", "HTTPServer": "http server", "tls_server_name": "tls server name", "ID": "id", "odd2": "odd2",
	} {
		if got := strings.Join(parts(identifier), " "); got != want {
			t.Errorf("%s has the words %q, want %q", identifier, got, want)
		}
	}
}

func TestRetiredWordsNameNothing(t *testing.T) {
	all := declarations(t, "cmd", "host", "tools")
	if len(all) < 1000 {
		t.Fatalf("only %d declarations were found", len(all))
	}
	for _, d := range all {
		for _, word := range parts(d.name) {
			if instead, ok := retired[word]; ok {
				t.Errorf("%s: %s has the word %q, which is retired: use %s", d.at, d.name, word, instead)
			}
		}
	}
}

var glossaryRow = regexp.MustCompile(`(?m)^\| \*\*(.+?)\*\* \| (.+?) \|$`)

// Each word of the glossary is one that the code or the documents use, as the glossary says.
func TestEachWordOfTheGlossaryIsUsed(t *testing.T) {
	_, glossary, found := strings.Cut(read(t, "CONTRIBUTING.md"), "## Glossary\n")
	glossary, _, _ = strings.Cut(glossary, "\n## ")
	rows := glossaryRow.FindAllStringSubmatch(glossary, -1)
	if !found || len(rows) < 20 {
		t.Fatalf("CONTRIBUTING.md has a glossary of %d words", len(rows))
	}

	declared := map[string]bool{}
	for _, d := range declarations(t, "cmd", "host", "tools", "sdk/go", "proto") {
		declared[strings.Join(parts(d.name), " ")] = true
	}
	named := slices.Collect(maps.Keys(declared))
	var documents strings.Builder
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/reference/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			documents.WriteString(strings.ToLower(unwrapped(string(text))) + "\n")
		}
	}

	codeSpan := regexp.MustCompile("`([^`]+)`")
	for _, row := range rows {
		for word := range strings.SplitSeq(strings.ToLower(row[1]), ", ") {
			inCode := slices.ContainsFunc(named, func(name string) bool { return strings.Contains(" "+name+" ", " "+word+" ") })
			if !inCode && !strings.Contains(documents.String(), word) {
				t.Errorf("the glossary defines %q, which neither code nor documents use", word)
			}
			if _, gone := retired[word]; gone {
				t.Errorf("the glossary defines %q, which is retired", word)
			}
		}
		// A type or package that a row points to exists.
		for _, span := range codeSpan.FindAllStringSubmatch(row[2], -1) {
			name, isGo := strings.CutPrefix(span[1], "host/")
			if !isGo {
				continue
			}
			folder, identifier, _ := strings.Cut(name, ".")
			inFolder := func(d declaration) bool {
				return d.name == identifier && filepath.Dir(d.at.Filename) == filepath.Join(root, "host", folder)
			}
			if identifier == "" {
				if _, err := os.Stat(filepath.Join(root, "host", folder)); err != nil {
					t.Errorf("the glossary points to %s, which there is not", span[1])
				}
			} else if !slices.ContainsFunc(declarations(t, "host/"+folder), inFolder) {
				t.Errorf("the glossary points to %s, which there is not", span[1])
			}
		}
	}
}
