package compat

import (
	"errors"
	"flag"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/tools/verify"
)

func TestMain(m *testing.M) { hosttest.Main(m, "cmd/agenthost", "plugins/hello") }

var wanted = flag.String("languages", "go,python,typescript,java", "the languages of the hello plugins; also rust, which takes minutes the first time")

// hellos are the folders of the hello plugin in each language, then and now.
var hellos = map[string]string{
	"go": "plugins/hello", "python": "sdk/python/examples/hello", "typescript": "sdk/typescript/examples/hello",
	"java": "sdk/java/examples/hello", "rust": "sdk/rust/examples/hello",
}

// languages are those of the flag.
func languages(t *testing.T) []string {
	t.Helper()
	languages := strings.Split(*wanted, ",")
	for _, language := range languages {
		if hellos[language] == "" {
			t.Fatalf("-languages: there is no hello in %q", language)
		}
	}
	return languages
}

// lacking is the exit code of scripts/earlier where the clone does not have the commit.
const lacking = 3

// earlierTree is built once for all tests.
var earlierTree = sync.OnceValues(func() (string, error) {
	build := exec.Command(hosttest.Root("scripts", "earlier"), strings.Split(*wanted, ",")...)
	var said strings.Builder
	build.Stderr = &said
	out, err := build.Output()
	if err != nil {
		return "", &unbuilt{err, said.String()}
	}
	return strings.TrimSpace(string(out)), nil
})

type unbuilt struct {
	err  error
	said string
}

func (u *unbuilt) Error() string { return "scripts/earlier: " + u.err.Error() + "\n" + u.said }
func (u *unbuilt) Unwrap() error { return u.err }

// earlier is the repository as it was, with what is built of it. scripts/test-compat counts the tests that are skipped here.
func earlier(t *testing.T) string {
	t.Helper()
	tree, err := earlierTree()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == lacking {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// builtHello is today's hello plugins, by language.
var builtHello = struct {
	sync.Mutex
	done map[string]bool
}{done: map[string]bool{}}

// hello configures the hello plugin of a tree as its verify.yaml has it. Today's is built before.
func hello(t *testing.T, tree, language string) map[string]any {
	t.Helper()
	subject, err := verify.ReadSpec(filepath.Join(tree, hellos[language], "verify.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if tree == hosttest.Root() {
		buildHello(t, language, subject)
	}
	command := slices.Clone(subject.Command)
	for n, word := range command {
		if strings.HasPrefix(word, "../") { // in a configuration it would be relative to that
			command[n] = filepath.Join(subject.Dir, word)
		}
	}
	return map[string]any{"command": command, "dir": subject.Dir, "start_timeout": startLimit.String()}
}

func buildHello(t *testing.T, language string, subject *verify.Subject) {
	t.Helper()
	builtHello.Lock()
	defer builtHello.Unlock()
	if builtHello.done[language] {
		return
	}
	build := exec.Command("sh", "-c", subject.Build)
	build.Dir = subject.Dir
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s in %s: %v\n%s", subject.Build, subject.Dir, err, said)
	}
	builtHello.done[language] = true
}
