package scaffold

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listed are the words of a language's file, but for those under headings that begin otherwise.
func listed(t *testing.T, language string, headings ...string) []string {
	t.Helper()
	words := Project{Language: language}.reserved()
	var found []string
	for word, meaning := range words {
		if len(headings) == 0 || slices.ContainsFunc(headings, func(h string) bool { return strings.HasPrefix(meaning, h) }) {
			found = append(found, word)
		}
	}
	slices.Sort(found)
	return found
}

// everyWord is what is reserved in any language.
func everyWord(t *testing.T) []string {
	t.Helper()
	var words []string
	for _, language := range []string{"go", "rust", "java", "kotlin", "typescript"} {
		words = append(words, listed(t, language)...)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func said(t *testing.T, program string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	words := strings.Fields(string(out))
	slices.Sort(words)
	return words
}

// The lists are what the languages' own tools say of all words that are reserved anywhere.
func TestTheReservedNamesAreTheLanguagesOwn(t *testing.T) {
	same := func(t *testing.T, language string, got, want []string) {
		t.Helper()
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("reserved/%s.txt lacks %s", language, name)
			}
		}
		for _, name := range got {
			if !slices.Contains(want, name) {
				t.Errorf("reserved/%s.txt has %s, which %s takes", language, name, language)
			}
		}
	}
	t.Run("go", func(t *testing.T) {
		packages := slices.DeleteFunc(said(t, "go", "list", "std"), func(name string) bool { return strings.Contains(name, "/") })
		same(t, "go", listed(t, "go", "a package of Go"), packages)
	})
	t.Run("java", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "Keywords.java")
		source := `class Keywords { public static void main(String[] words) { for (String word : words) if (javax.lang.model.SourceVersion.isKeyword(word)) System.out.println(word); } }`
		if err := os.WriteFile(program, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		keywords := said(t, "java", append([]string{program}, everyWord(t)...)...)
		same(t, "java", listed(t, "java", "a keyword"), keywords)
		same(t, "kotlin", listed(t, "kotlin", "a keyword of Java"), keywords)
	})
	t.Run("typescript", func(t *testing.T) {
		program := "for (const word of process.argv.slice(1)) { try { new Function(`'use strict'; class ${word} {}; async () => { const ${word} = 1 }`) } catch { console.log(word) } }"
		same(t, "typescript", listed(t, "typescript", "a reserved word"), said(t, "node", append([]string{"-e", program, "--"}, everyWord(t)...)...))
	})
	t.Run("rust", func(t *testing.T) {
		got := slices.DeleteFunc(listed(t, "rust"), func(name string) bool { return name == "gen" }) // which cargo does not know of yet
		var want []string
		for _, name := range everyWord(t) {
			if name == "gen" {
				continue
			}
			out, err := exec.Command("cargo", "new", "--bin", "--vcs", "none", "--name", strings.ReplaceAll(name, "_", "-"), filepath.Join(t.TempDir(), name)).CombinedOutput()
			if err != nil || strings.Contains(string(out), "Rust's standard library") {
				want = append(want, name)
			}
		}
		same(t, "rust", got, want)
	})
}

func TestANameThatALanguageHasAnotherUseForIsRefused(t *testing.T) {
	for _, c := range []struct{ language, name, says string }{
		{"go", "fmt", `"fmt" is no name for a plugin in go: fmt is a package of Go's standard library; take another, such as fmt-tasks`},
		{"go", "cmd", "cmd is a word that the go command has a meaning for"},
		{"rust", "std", "std is a library that comes with Rust"},
		{"rust", "proc-macro", "proc_macro is a library that comes with Rust"},
		{"rust", "match", "match is a keyword of Rust"},
		{"rust", "deps", "deps is a folder of Cargo's"},
		{"rust", "serde", "serde is a package that the project depends on"},
		{"rust", "result", "its code would call two things Result"},
		{"rust", "async-agent", "its code would call two things AsyncAgent"},
		{"java", "class", "class is a keyword of Java"},
		{"java", "true", "true is a keyword of Java"},
		{"java", "java", "java is a package that is kept for Java itself"},
		{"java", "string", "its code would call two things String"},
		{"java", "greeting", "its code would call two things Greeting"},
		{"python", "async", "its code would call two things AsyncAgent"},
	} {
		err := Project{Name: c.name, Language: c.language, SDK: checkout}.Check()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v, want %q", c.language, c.name, err, c.says)
		}
		if err := (Project{Name: c.name + "-tasks", Language: c.language, SDK: checkout}).Check(); err != nil {
			t.Errorf("%s %s-tasks is advised and refused: %v", c.language, c.name, err)
		}
	}
	for _, language := range Languages() {
		for _, name := range []string{"x", "warehouse-query", "hello", "greeter", "name", "json-tasks", "http", "a1"} {
			if err := (Project{Name: name, Language: language, SDK: checkout}).Check(); err != nil {
				t.Errorf("%s: %v", language, err)
			}
		}
	}
	for _, language := range []string{"python", "flytekit"} {
		for _, name := range []string{"json", "class", "agenthost", "test"} {
			if err := (Project{Name: name, Language: language, SDK: checkout}).Check(); err != nil {
				t.Errorf("%s: %v", language, err)
			}
		}
	}
}

func TestGoIsWrittenAsGofmtHasIt(t *testing.T) {
	for _, name := range []string{"x", "warehouse-query", strings.Repeat("a", maxName)} {
		files, err := Project{Name: name, Language: "go", SDK: checkout}.render()
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range files {
			if filepath.Ext(file) != ".go" {
				continue
			}
			if formatted, err := format.Source(content); err != nil || string(formatted) != string(content) {
				t.Errorf("%s of %s is not formatted: %v", file, name, err)
			}
		}
	}
}
