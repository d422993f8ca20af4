package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// versioned are the places that have the version of what is released together, each in the first group of its expression.
var versioned = map[string]string{
	"go.work":                                             `agenthost/sdk/go v(\S+) =>`,
	"go.mod":                                              `agenthost/proto v(\S+)`,
	"plugins/duckdb/go.mod":                               `agenthost/sdk/go v(\S+)`,
	"sdk/go/go.mod":                                       `agenthost/proto v(\S+)`,
	"sdk/go/service_metadata.go":                          `const Version = "(.*)"`,
	"sdk/rust/Cargo.toml":                                 `(?s)^\[package\].*?\nversion = "(.*?)"`,
	"Cargo.lock":                                          `\nname = "agenthost"\nversion = "(.*)"`,
	"sdk/python/pyproject.toml":                           `(?s)^.*?\[project\].*?\nversion = "(.*?)"`,
	"sdk/typescript/package.json":                         `(?s)^.*?"version": "(.*?)"`,
	"sdk/typescript/package-lock.json":                    `(?s)"packages": \{.*?"name": "agenthost",\s+"version": "(.*?)"`,
	"pom.xml":                                             `<artifactId>agenthost-java</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/pom.xml":                                    `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"plugins/snowflake/pom.xml":                           `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/examples/hello/pom.xml":                     `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/examples/hello-kotlin/pom.xml":              `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/README.md":                                  `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/examples/kubernetes-job/pom.xml":            `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/examples/reports/pom.xml":                   `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/examples/sql/pom.xml":                       `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"test/languages/mistakes/jvm/pom.xml":                 `<artifactId>agenthost-sdk</artifactId>\s*<version>(.*)</version>`,
	"sdk/java/src/main/java/io/agenthost/sdk/Plugin.java": `SDK_VERSION = "(.*)"`,
	"tools/scaffold/templates/java/pom.xml.tmpl":          `agenthost-sdk</artifactId>\s*<version>\[\[if \.SDK\]\](.*?)\[\[`,
	"tools/scaffold/templates/kotlin/pom.xml.tmpl":        `agenthost-sdk</artifactId>\s*<version>\[\[if \.SDK\]\](.*?)\[\[`,
	"charts/agenthost/Chart.yaml":                         `(?m)^version: (.*)$`,
}

// versionsIn are the versions in a tree, by file.
func versionsIn(t *testing.T, tree string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for file, place := range versioned {
		text, err := os.ReadFile(filepath.Join(tree, file))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(place).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no version where %s looks for it", file, place)
		}
		versions[file] = string(found[1])
	}
	return versions
}

func TestAllThatIsReleasedTogetherHasOneVersion(t *testing.T) {
	versions := versionsIn(t, root)
	for file, version := range versions {
		if want := versions["go.mod"]; version != want {
			t.Errorf("%s has version %s, and go.mod %s: run scripts/set-version", file, version, want)
		}
	}
}

func TestOneCommandSetsTheVersionEverywhere(t *testing.T) {
	listed, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "*go.mod").Output()
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	files := append(strings.Fields(string(listed)), "scripts/set-version")
	for file := range versioned {
		files = append(files, file)
	}
	for _, file := range files {
		copied := filepath.Join(tree, file)
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, []byte(read(t, file)), 0o755); err != nil { //nolint:gosec // one of them is run
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), filepath.Join(tree, "scripts/set-version"), "v1.8.9")
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for file, version := range versionsIn(t, tree) {
		if version != "1.8.9" {
			t.Errorf("%s has version %s", file, version)
		}
	}
}

// Packages are published without the rest of the repository, and npm and some others pack no link.
func TestEachPackageHasTheLicence(t *testing.T) {
	for _, sdk := range []string{"python", "rust", "typescript"} {
		if read(t, "sdk/"+sdk+"/LICENSE") != read(t, "LICENSE") {
			t.Errorf("sdk/%s/LICENSE is not LICENSE", sdk)
		}
	}
}
