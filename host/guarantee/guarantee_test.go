package guarantee

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/published"
)

func TestThePublishedTableIsUpToDate(t *testing.T) {
	published.Check(t, "docs/reference/guarantees.md", string(Reference()))
}

func TestIDsAreCountedFromOneWithoutAGap(t *testing.T) {
	for i, g := range All() {
		if int(g.ID) != i+1 || g.ID.String() != "G"+strconv.Itoa(i+1) {
			t.Errorf("row %d is %s", i+1, g.ID)
		}
		if g.Name == "" || g.Promise == "" || (g.Counts == "") == (g.Uncounted == "") {
			t.Errorf("%s needs a name, a promise, and either what is counted or why nothing is: %+v", g.ID, g)
		}
	}
}

// README's promises name the guarantees behind them: each stands there, and none that there is not.
func TestTheReadmeNamesEveryGuarantee(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, promises, ok := strings.Cut(string(readme), "## What it promises")
	promises, _, ended := strings.Cut(promises, "\n## ")
	if !ok || !ended {
		t.Fatal("README has no section \"What it promises\"")
	}
	named := map[string]bool{}
	for _, id := range regexp.MustCompile(`\bG\d+\b`).FindAllString(promises, -1) {
		named[id] = true
	}
	for _, g := range All() {
		if !named[g.ID.String()] {
			t.Errorf("no promise of README's names %s, %s", g.ID, g.Name)
		}
		delete(named, g.ID.String())
	}
	for id := range named {
		t.Errorf("README names %s, which is not in the table", id)
	}
}

func TestASetHasItsMembers(t *testing.T) {
	named, err := Parse("G13", "G5")
	if err != nil {
		t.Fatal(err)
	}
	set := Every().Without(named)
	var members []ID
	set.Each(func(id ID) { members = append(members, id) })
	for _, g := range All() {
		if want := g.ID != LastKnownStatus && g.ID != KeepalivePings; set.Has(g.ID) != want || named.Has(g.ID) == want {
			t.Errorf("%s: in the set: %v, named: %v", g.ID, set.Has(g.ID), named.Has(g.ID))
		}
	}
	if len(members) != len(All())-2 || SetOf(members...) != set {
		t.Errorf("the members of %b are %v", set, members)
	}
}

func TestWhatIsNoGuaranteeIsNamed(t *testing.T) {
	if _, err := Parse("G5", "G99", "masks"); err == nil || !strings.Contains(err.Error(), `"G99", "masks"`) {
		t.Errorf("got %v", err)
	}
}

// Whoever looks for G7 finds the line that acts.
func TestEveryGuaranteeHasALineThatActsForIt(t *testing.T) {
	marked := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == filepath.Join("..", "guarantee") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, mark := range regexp.MustCompile(`\S.*// (G\d+(?:,? (?:and )?G\d+)*)\n`).FindAllStringSubmatch(string(source), -1) {
			for _, id := range regexp.MustCompile(`G\d+`).FindAllString(mark[1], -1) {
				marked[id] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range All() {
		if !marked[g.ID.String()] {
			t.Errorf("no line of the host is marked with // %s, %s", g.ID, g.Name)
		}
		delete(marked, g.ID.String())
	}
	for id := range marked {
		t.Errorf("lines are marked with %s, which is not in the table", id)
	}
}
