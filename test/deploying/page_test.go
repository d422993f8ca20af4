package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository's.
const root = "../../"

func thePage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(root + pageFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// A command that nobody follows would be one that nobody has tried.
func TestEachCommandOfThePageIsFollowed(t *testing.T) {
	found, err := sections(thePage(t))
	if err != nil {
		t.Fatal(err)
	}
	for section, steps := range found {
		if follows[section] == "" {
			t.Errorf("%v: nothing follows the section %q", steps[0], section)
		}
		for _, s := range steps {
			if out, err := exec.Command("bash", "-n", "-c", s.command).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", s, out)
			}
		}
	}
}

// A file of the repository that a command names is there.
func TestFilesThatCommandsNameAreThere(t *testing.T) {
	found, err := sections(thePage(t))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:^|\s)((?:configs|charts|scripts)/[\w./-]+)`)
	for _, steps := range found {
		for _, s := range steps {
			for _, match := range named.FindAllStringSubmatch(s.command, -1) {
				if _, err := os.Stat(root + match[1]); err != nil {
					t.Errorf("%v: %v", s, err)
				}
			}
		}
	}
}

func TestAPageIsReadCommandByCommand(t *testing.T) {
	found, err := sections(strings.ReplaceAll(`# Page

'''console
$ before all
'''

## First

'''yaml
# no command: here
'''

'''console
# one \
  --more
said
…
$ two
# cat >file <<'EOF'
# no prompt
EOF
'''

### Below it

'''console
$ three
'''
`, "'''", "```"))
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{14, true, "one \\\n  --more", []string{"said", "…"}}, {18, false, "two", nil}, {19, true, "cat >file <<'EOF'\n# no prompt\nEOF", nil}, {27, false, "three", nil},
	}
	equal := func(a, b step) bool {
		return a.line == b.line && a.root == b.root && a.command == b.command && slices.Equal(a.prints, b.prints)
	}
	if got := found["First"]; !slices.EqualFunc(got, want, equal) || len(found[""]) != 1 {
		t.Errorf("it has %+v, and %+v before", got, found[""])
	}
	for page, why := range map[string]string{
		"```console\nsaid by nobody\n```":        "no command comes before",
		"```console\n$ cat <<'EOF'\nno end\n```": "does not end",
		"```\nwhat is this\n```":                 "does not say what it is",
	} {
		if _, err := sections(page); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q is read: %v", page, err)
		}
	}
}

func TestWhatIsPrintedIsHeldToThePage(t *testing.T) {
	for _, c := range []struct {
		prints string
		shows  []string
		same   bool
	}{
		{"anything\n", nil, true},
		{"a 1 b\n", []string{"a … b"}, true},
		{"a    1   b\nc\n\n", []string{"a 1 b", "c"}, true},
		{"first\nsecond\nlast\n", []string{"…", "last"}, true},
		{"last\n", []string{"…", "last", "…"}, true},
		{"a b\nmore\n", []string{"a b"}, false},
		{"more\na b\n", []string{"a b"}, false},
		{"a.b\n", []string{"axb"}, false},
		{"", []string{"said"}, false},
	} {
		if err := printed(c.prints, c.shows); (err == nil) != c.same {
			t.Errorf("%q for %q: %v", c.prints, c.shows, err)
		}
	}
}

// What people find the page by is what they read: a message that it quotes in "When it does not work" is one that the host prints.
func TestMessagesOfThePageAreTheHosts(t *testing.T) {
	_, table, ok := strings.Cut(thePage(t), "\n## When it does not work\n")
	if !ok {
		t.Fatal("the page has no such section")
	}
	var code strings.Builder
	for _, folder := range []string{"cmd/agenthost", "host", "tools", "plugins/duckdb", "charts"} {
		err := filepath.WalkDir(root+folder, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			code.Write(content)
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	messages := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 3 {
			continue
		}
		for _, match := range quoted.FindAllStringSubmatch(cells[0], -1) {
			for part := range strings.SplitSeq(match[1], "…") {
				if part = strings.TrimSpace(part); part != "" && !strings.Contains(code.String(), part) {
					t.Errorf("nothing prints %q, of %s", part, match[0])
				}
			}
			messages++
		}
	}
	if messages < 15 {
		t.Errorf("only %d messages are quoted", messages)
	}
}
