// Package mistakes holds the table of what an author sees of a mistake: the same mistakes in every language, each made in a plugin that
// `agenthost task run` runs. It has tests only.
package mistakes

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/published"
)

func TestMain(m *testing.M) { hosttest.Main(m, "cmd/agenthost") }

// languages are the SDKs, in the order of the page: how the program is built, and how it is started, from the repository's root.
var languages = []struct{ name, title, build, command string }{
	{"go", "Go", "go build -o .cache/plugins/mistakes ./test/languages/mistakes/go", ".cache/plugins/mistakes"},
	{"rust", "Rust", "cargo everything --quiet", ".cache/cargo/debug/examples/mistakes"},
	{"java", "Java", "scripts/java-program test/languages/mistakes/jvm", jvm + "injava.Mistakes"},
	{"kotlin", "Kotlin", "scripts/java-program test/languages/mistakes/jvm", jvm + "inkotlin.MistakesKt"},
	{"python", "Python", "scripts/venv flytekit", ".cache/venv-flytekit/bin/python test/languages/mistakes/python/mistakes.py"},
	{"typescript", "TypeScript", "scripts/typescript-sdk", "node sdk/typescript/build/tests/programs/mistakes.js"},
}

// jvm starts one of the programs of one module.
const jvm = "java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp test/languages/mistakes/jvm/target/mistakes.jar:test/languages/mistakes/jvm/target/lib/* "

// mistakes are made by task types of these names, in their creation. names is what tells the place, cures what tells what to do.
var mistakes = []struct{ name, title, names, cures string }{
	{"wrong_type", "An input is read as a type that it has not", `agent wrong_type: Create: input "?name"?`, `\bint`},
	{"metadata", "Metadata that cannot be written", `agent metadata: Create: .*([wW]ired|dict)`, `ids and places|results`},
	{"null", "A creation that returns nothing", `agent null: Create`, `return its`},
	{"panic", "A panic, or an exception that nobody expected", `Create.*\(\w+\.\w+:\d+\)$`, `range|out of bounds|properties of undefined`},
	{"block", "A creation that blocks for ever", `creating the job: DeadlineExceeded`, `only begins a job, and polls ask how it is; --begin-timeout`},
	{"config", "A typo in the configuration", `--plugin-config: greting`, `did you mean "greeting"`},
	{"secret", "A secret that is missing", `FailedPrecondition: agent secret: Create: there is no secret "token"`, "add it to the plugin's `secrets:`"},
	{"exit", "A call that prints and ends the process", `exited with code 1; last output: no license found|tried to end the process with SystemExit\(3\)|process\.exit\(3\) was called`, `no call must ever end|only the call has ended`},
}

const (
	page    = "docs/reference/mistakes.md"
	record  = "results.json"
	license = "no license found"
)

// results are what is seen, by language and mistake.
type results map[string]map[string]string

func recorded(t *testing.T) results {
	t.Helper()
	content, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var read results
	if err := json.Unmarshal(content, &read); err != nil {
		t.Fatalf("%s: %v", record, err)
	}
	return read
}

// With -run, only the languages that were asked are compared or, with -update, written down.
func TestEachMistakeIsToldWithItsPlaceAndItsCure(t *testing.T) {
	found := recorded(t)
	for _, language := range languages {
		t.Run(language.name, func(t *testing.T) {
			build := strings.Fields(language.build)
			step := exec.Command(build[0], build[1:]...)
			step.Dir = hosttest.Root()
			if said, err := step.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", language.build, err, said)
			}
			seen := map[string]string{}
			for _, mistake := range mistakes {
				terminal, failure := commit(t, mistake.name, strings.Fields(language.command))
				for _, part := range []string{mistake.names, mistake.cures} {
					if !regexp.MustCompile(part).MatchString(failure) {
						t.Errorf("%s does not say %s:\n%s", mistake.name, part, failure)
					}
				}
				if mistake.name == "exit" && !strings.Contains(terminal, license) {
					t.Errorf("what it printed is not shown:\n%s", terminal)
				}
				seen[mistake.name] = failure
			}
			if was := found[language.name]; !maps.Equal(was, seen) && !updating() {
				t.Errorf("%s is out of date: run this test with -update\nwas %v\nis  %v", page, was, seen)
			}
			found[language.name] = seen
		})
	}
	if t.Failed() {
		return
	}
	if updating() {
		content, err := json.MarshalIndent(found, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(record, append(content, '\n'), 0o644); err != nil { //nolint:gosec // it is for everybody to read
			t.Fatal(err)
		}
	}
	published.Check(t, page, written(found))
}

func updating() bool { return flag.Lookup("update").Value.String() == "true" }

var (
	secretFile = regexp.MustCompile(`/\S*/secrets/token`)
	program    = regexp.MustCompile(`plugin \S+( refuses|: exited)`)
)

// commit makes a mistake, and gives all that stands on the terminal and the error at its end.
func commit(t *testing.T, mistake string, command []string) (terminal, failure string) {
	t.Helper()
	line := []string{"task", "run", "--type", mistake, "--input", "name=Ada"}
	switch mistake {
	case "config":
		line = append(line, "--plugin-config", "{greting: Hello}")
	case "block":
		line = append(line, "--begin-timeout", "2s")
	}
	run := exec.Command(hosttest.Program("agenthost"), append(append(line, "--"), command...)...)
	run.Dir = hosttest.Root()
	var out bytes.Buffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Run(); err == nil {
		t.Errorf("%s: the mistake passes:\n%s", mistake, &out)
	}
	terminal = out.String()
	_, failure, _ = strings.Cut(terminal, "\nagenthost: ")
	failure = secretFile.ReplaceAllString(strings.TrimSpace(failure), "…/secrets/token")
	// Whichever of the two sees the deadline first says so: the caller, or a server of grpc-js.
	failure = strings.Replace(failure, "DeadlineExceeded: Deadline exceeded:", "DeadlineExceeded: context deadline exceeded:", 1)
	return terminal, program.ReplaceAllString(failure, "plugin NAME$1")
}

// written is the page.
func written(found results) string {
	var b strings.Builder
	b.WriteString(`# What an author sees of a mistake

The same mistakes in each language that is named, in a creation, and the error with which ` + "`agenthost task run -- PLUGIN`" + ` ends. Above it stands on the
terminal what the plugin printed, with the stack where there is one; a host's log has the same lines. Made by a test (test/languages/mistakes), which
holds each error to the place of the mistake and to what to do.
`)
	for _, mistake := range mistakes {
		fmt.Fprintf(&b, "\n## %s\n\n| | |\n|---|---|\n", mistake.title)
		for _, language := range languages {
			if seen, ok := found[language.name][mistake.name]; ok {
				lines := slices.Collect(strings.SplitSeq(seen, "\n"))
				for i := range lines {
					lines[i] = "`` " + strings.ReplaceAll(strings.TrimSpace(lines[i]), "|", `\|`) + " ``"
				}
				fmt.Fprintf(&b, "| %s | %s |\n", language.title, strings.Join(lines, "<br>"))
			}
		}
	}
	return b.String()
}
