// Package features holds the table of what each SDK offers: one list of features, one probe for each, asked of every SDK's
// example plugin as the host asks it. It has tests only.
package features

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// languages are the SDKs, in the order of the page's columns: how their example is built, and how it is started from the
// repository's root.
var languages = []struct {
	name, title    string
	build, command string
}{
	{"go", "Go", "go build -o .cache/plugins/features ./sdk/go/examples/features", ".cache/plugins/features"},
	{"rust", "Rust", "cargo everything --quiet", ".cache/cargo/debug/features"},
	{
		"java", "Java", "scripts/java-program sdk/java/examples/features",
		"java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -jar sdk/java/examples/features/target/features.jar",
	},
	{"python", "Python", "scripts/venv flytekit", ".cache/venv-flytekit/bin/python sdk/python/examples/features/features.py"},
	{"typescript", "TypeScript", "scripts/typescript-sdk", "node sdk/typescript/build/examples/features/features.js"},
}

// What the page says holds, and what it leaves empty does not: an SDK that learns something has it written down. With -run, only
// the languages that were asked are compared or, with -update, written down.
func TestEachSDKHasTheFeaturesThatThePageSays(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	found := results{}
	for _, language := range languages {
		t.Run(language.name, func(t *testing.T) {
			build := strings.Fields(language.build)
			step := exec.Command(build[0], build[1:]...)
			step.Dir = root
			if said, err := step.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", language.build, err, said)
			}
			store := t.TempDir()
			var start func(t *testing.T, environment ...string) *example
			start = func(t *testing.T, environment ...string) *example {
				command := strings.Fields(language.command)
				program := exec.Command(command[0], command[1:]...)
				if strings.Contains(command[0], "/") {
					program.Path = filepath.Join(root, command[0])
				}
				program.Dir = root
				secrets := t.TempDir()
				if err := os.WriteFile(filepath.Join(secrets, "from_file"), []byte(fileSecret+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				program.Env = append(os.Environ(), "_FSEC_FROM_VARIABLE="+variableSecret, "FLYTE_SECRETS_DEFAULT_DIR="+secrets, "FEATURES_STORE="+store)
				program.Env = append(program.Env, environment...)
				return &example{t: t, start: start, store: store, Client: agenttest.Start(t, program)}
			}
			found[language.name] = ask(t, start)
		})
	}
	if t.Failed() {
		return
	}
	if *update {
		found.write(t)
		return
	}
	recorded := readResults(t)
	for _, language := range languages {
		if _, asked := found[language.name]; !asked {
			continue
		}
		for id := range probes {
			has, said := slices.Contains(found[language.name], id), slices.Contains(recorded[language.name], id)
			switch {
			case has && !said:
				t.Errorf("%s has %s, and the page says that it has not: go test ./test/languages/features -update", language.title, id)
			case !has && said:
				t.Errorf("%s has lost %s: run with -v to see why", language.title, id)
			}
		}
	}
}

// ask asks a plugin for all features. The configuration's come first, and the end last.
func ask(t *testing.T, start func(t *testing.T, environment ...string) *example) []string {
	has := []string{}
	example := start(t)
	note := func(id string, err error) {
		if err != nil {
			t.Logf("%s: %v", id, err)
			return
		}
		has = append(has, id)
	}
	inOrder := make([]string, 0, len(probes))
	for id := range probes {
		inOrder = append(inOrder, id)
	}
	slices.Sort(inOrder)
	for _, before := range []bool{true, false} {
		for _, id := range inOrder {
			if strings.HasPrefix(id, "config") == before && id != "graceful-stop" && id != "not-taken" {
				note(id, probes[id](example))
			}
		}
		if before {
			if errs := example.Configure(goodConfig); len(errs) > 0 {
				t.Fatalf("it refuses its configuration: %v", errs)
			}
		}
	}
	note("not-taken", probes["not-taken"](example))
	note("graceful-stop", probes["graceful-stop"](example))
	slices.Sort(has)
	return has
}
