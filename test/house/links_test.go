package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	block   = regexp.MustCompile("(?ms)^```.*?^```$")
)

// A link of a document leads to a file that is there, and to a heading that it has.
func TestLinksOfDocumentsLeadSomewhere(t *testing.T) {
	listed, err := exec.Command("git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range strings.Fields(string(listed)) {
		text := block.ReplaceAllString(read(t, page), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, match[1])
				continue
			}
			if anchor != "" && !hasAnchor(read(t, file), anchor) {
				t.Errorf("%s links to %s, which has no such heading", page, match[1])
			}
		}
	}
}

// hasAnchor says whether a page has a heading with this anchor, as GitHub makes it: lower case, dashes for spaces, and nothing
// but letters, digits and dashes.
func hasAnchor(page, anchor string) bool {
	for _, match := range heading.FindAllStringSubmatch(block.ReplaceAllString(page, ""), -1) {
		made := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, match[1])
		if made == anchor {
			return true
		}
	}
	return false
}

var named = regexp.MustCompile("`((?:cmd|configs|docs|host|plugins|proto|scripts|sdk|test|tools)/[A-Za-z0-9_./*-]*)`")

// A path that CONTRIBUTING or the architecture names is there. One with a star is where anything matches it; one that ends in
// a name after a dot, such as host/route.Lease, is the glossary's, which another test looks at.
func TestPathsInDocumentsAreThere(t *testing.T) {
	for _, page := range []string{"CONTRIBUTING.md", "docs/architecture.md", "docs/contract.md", "docs/compatibility.md", "SECURITY.md"} {
		paths := named.FindAllStringSubmatch(read(t, page), -1)
		for _, match := range paths {
			if strings.Contains(match[1], "X.Y.Z") { // a tag of git's
				continue
			}
			path := regexp.MustCompile(`\.[A-Za-z]+$`).ReplaceAllStringFunc(match[1], func(ending string) string {
				switch ending {
				case ".go", ".md", ".binpb", ".json", ".proto", ".yaml":
					return ending
				}
				return ""
			})
			found, err := filepath.Glob(filepath.Join(root, path))
			if err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which is not there", page, match[1])
			}
		}
	}
}
