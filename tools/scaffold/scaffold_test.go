package scaffold

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checkout is this repository, from here.
const checkout = "../.."

func TestEveryLanguageGivesAWholeProject(t *testing.T) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			files, err := Project{Name: "warehouse-query", Language: language, SDK: checkout}.Write(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{".gitignore", "Makefile", "README.md", "agenthost.yaml", "verify.yaml"} {
				if !slices.Contains(files, want) {
					t.Errorf("there is no %s among %v", want, files)
				}
			}
			named := false
			for _, file := range files {
				content, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(file, ".tmpl") || strings.Contains(file, "[[") {
					t.Errorf("%s still has the name of its template", file)
				}
				named = named || strings.Contains(string(content), "warehouse_query")
			}
			if !named {
				t.Error("no file names the task type")
			}
		})
	}
}

// The length of a name decides where rustfmt breaks lines: the template has none that depends on it.
func TestRustProjectsAreFormattedWhateverTheirName(t *testing.T) {
	for _, name := range []string{"x", "warehouse-query", strings.Repeat("abcdefghi-", 4)[:maxName-1]} {
		dir := filepath.Join(t.TempDir(), "new")
		files, err := Project{Name: name, Language: "rust", SDK: checkout}.Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		check := exec.Command("rustfmt", "--check", "--edition", "2024")
		check.Dir = dir
		for _, file := range files {
			if strings.HasSuffix(file, ".rs") {
				check.Args = append(check.Args, file)
			}
		}
		if said, err := check.CombinedOutput(); err != nil {
			t.Errorf("a project called %s is not formatted: %v\n%s", name, err, said)
		}
	}
}

func TestWithoutACheckoutTheSDKIsThePublishedOne(t *testing.T) {
	for _, language := range Languages() {
		files, err := Project{Name: "x", Language: language, Version: "1.2.3"}.render()
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, content := range files {
			found = found || strings.Contains(string(content), "1.2.3")
		}
		if !found {
			t.Errorf("%s: no file names the version of the SDK", language)
		}
	}
}

func TestNothingIsWrittenOverWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.txt")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Project{Name: "x", Language: "go", SDK: checkout}.Write(dir)
	if err == nil || !strings.Contains(err.Error(), "mine.txt") {
		t.Errorf("got %v, which does not say what is in the way", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are there", len(entries))
	}
}

func TestWhatIsNoProjectIsRefused(t *testing.T) {
	good := Project{Name: "x", Language: "go", SDK: checkout}
	for name, broken := range map[string]func(*Project){
		"an upper-case name":          func(p *Project) { p.Name = "Warehouse" },
		"an underscore":               func(p *Project) { p.Name = "a_b" },
		"a path":                      func(p *Project) { p.Name = "../x" },
		"no name":                     func(p *Project) { p.Name = "" },
		"a name that begins with one": func(p *Project) { p.Name = "1x" },
		"two dashes":                  func(p *Project) { p.Name = "a--b" },
		"a long name":                 func(p *Project) { p.Name = strings.Repeat("a", maxName+1) },
		"no language":                 func(p *Project) { p.Language = "" },
		"the common files":            func(p *Project) { p.Language = common },
		"a checkout that is none":     func(p *Project) { p.SDK = os.TempDir() },
		"the SDK's class":             func(p *Project) { p.Language, p.Name = "python", "async" },
	} {
		p := good
		broken(&p)
		if err := p.Check(); err == nil {
			t.Errorf("%s: nothing is said against it", name)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

// With a name of any length, and with names that Python has another use for.
func TestPythonIsWrittenAsItsFormatterHasIt(t *testing.T) {
	bin, err := exec.Command(filepath.Join(checkout, "scripts", "venv"), "flytekit").Output()
	if err != nil {
		t.Fatal(err)
	}
	ruff := filepath.Join(strings.TrimSpace(string(bin)), "ruff")
	for _, language := range []string{"python", "flytekit"} {
		for _, name := range []string{"x", "json", "class", "none", "config", "warehouse-query", strings.Repeat("a", maxName)} {
			dir := filepath.Join(t.TempDir(), "new")
			files, err := Project{Name: name, Language: language, SDK: checkout}.Write(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range [][]string{{"format", "--isolated", "--diff", dir}, {"check", "--isolated", "--extend-select", "I", dir}} {
				if said, err := exec.Command(ruff, command...).CombinedOutput(); err != nil {
					t.Errorf("%s %s: ruff %s: %v\n%s", language, name, command[0], err, said)
				}
			}
			if slices.Contains(files, name+".py") {
				t.Errorf("%s %s: a module is called as the plugin, which may be what one of Python's is called", language, name)
			}
		}
	}
}

// Maven takes long to pack the SDK, which an author does not change.
func TestJVMProjectsInstallTheSDKOnlyWhereItChanged(t *testing.T) {
	for _, language := range []string{"java", "kotlin"} {
		files, err := Project{Name: "x", Language: language, SDK: checkout}.render()
		if err != nil {
			t.Fatal(err)
		}
		rule, found := "", false
		for rest := string(files["Makefile"]); rest != ""; {
			var part string
			part, rest, _ = strings.Cut(rest, "\n\n")
			if strings.Contains(part, "install -DskipTests") {
				rule, found = part, true
			}
		}
		if !found || !strings.Contains(rule, "target/sdk: $(shell find") {
			t.Errorf("%s: the SDK is installed by %q", language, rule)
		}
	}
}
