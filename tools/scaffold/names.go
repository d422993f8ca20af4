package scaffold

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// reservedNames has a file a language: words that cannot be what a project makes of its name, a line each. A line with # says where those
// below it are from; names_test.go asks that source.
//
//go:embed reserved
var reservedNames embed.FS

// placeholder is a name that no template has a use for.
const placeholder = "zqxj"

// taken says what speaks against the project's name in its language, if anything: what its module or its type would be called has another
// meaning there, or in the project itself.
func (p Project) taken() (string, error) {
	reserved := p.reserved()
	if meaning := reserved[p.Snake()]; meaning != "" {
		return fmt.Sprintf("%s is %s", p.Snake(), meaning), nil
	}
	plain := Project{Name: placeholder, Language: p.Language, SDK: p.SDK, Version: p.Version}
	files, err := plain.render()
	if err != nil {
		return "", err
	}
	for file, content := range files {
		depends, err := dependsOn(file, content, p.Name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if depends {
			return fmt.Sprintf("%s is a package that the project depends on", p.Name), nil
		}
	}
	made, used := map[string]bool{}, map[string]bool{}
	for file, content := range files {
		if !isCode(file) {
			continue
		}
		for _, word := range word.FindAllString(withoutTexts.ReplaceAllString(string(content), " "), -1) {
			if strings.Contains(strings.ToLower(word), placeholder) {
				made[p.named(word)] = word != placeholder // the bare name is that of a module, which may be a variable's, too
			} else {
				used[word] = true
			}
		}
	}
	for name, isOwn := range made {
		if isOwn && used[name] {
			return fmt.Sprintf("its code would call two things %s", name), nil
		}
	}
	return "", nil
}

// named puts the project's name into a word that has the placeholder's.
func (p Project) named(word string) string {
	plain := Project{Name: placeholder}
	return strings.NewReplacer(plain.Pascal(), p.Pascal(), placeholder, p.Snake()).Replace(word)
}

// reserved gives the meaning of the words that are reserved in the project's language.
func (p Project) reserved() map[string]string {
	content, err := reservedNames.ReadFile(path.Join("reserved", p.Language+".txt"))
	if err != nil { // the language makes no module or type of the name alone
		return nil
	}
	words, meaning := map[string]string{}, ""
	for line := range strings.Lines(string(content)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "# "):
			meaning, _, _ = strings.Cut(line[2:], " (")
		case line != "":
			words[line] = meaning
		}
	}
	return words
}

var (
	word = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	// withoutTexts are texts and comments, in which a name means nothing.
	withoutTexts = regexp.MustCompile(`(?s)"""` + `.*?"""|"(\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*|(^|\s)#[^\[\n!][^\n]*`)
)

func isCode(file string) bool {
	return slices.Contains([]string{".go", ".rs", ".java", ".kt", ".py", ".ts", ".cc"}, path.Ext(file))
}

// dependsOn says that a project depends on a package of that name, by its manifest: where packages have names without an owner.
func dependsOn(file string, manifest []byte, name string) (bool, error) {
	var packages struct {
		Dependencies map[string]any `toml:"dependencies" json:"dependencies"`
		Dev          map[string]any `toml:"dev-dependencies" json:"devDependencies"`
	}
	var err error
	switch file {
	case "Cargo.toml":
		err = toml.Unmarshal(manifest, &packages)
	case "package.json":
		err = json.Unmarshal(manifest, &packages)
	}
	_, needed := packages.Dependencies[name]
	_, tested := packages.Dev[name]
	return needed || tested, err
}
