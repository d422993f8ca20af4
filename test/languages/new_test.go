package languages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/tools/scaffold"
)

// stepLimit bounds one step of a project; its toolchain may have everything to download.
const stepLimit = 15 * time.Minute

// projects are those that were begun, by language: each once for all tests, because building one takes a while.
var projects struct {
	sync.Mutex
	dirs map[string]string
}

// project begins a project in a language, and builds it.
func project(t *testing.T, language string) string {
	t.Helper()
	projects.Lock()
	defer projects.Unlock()
	if dir, ok := projects.dirs[language]; ok {
		return dir
	}
	dir := filepath.Join(hosttest.Bin(), "projects", language) // not beside agenthost: the PATH would have a folder called go
	step(t, "", hosttest.Program("agenthost"), "new", "--lang", language, "greeter", "--dir", dir, "--sdk", hosttest.Root())
	step(t, dir, "make", "build")
	if projects.dirs == nil {
		projects.dirs = map[string]string{}
	}
	projects.dirs[language] = dir
	return dir
}

// quick makes compilers leave out what only the second build, or a debugger, would gain from.
var quick = []string{"CARGO_INCREMENTAL=0", "CARGO_PROFILE_DEV_DEBUG=0", "MAVEN_OPTS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1"}

// step runs a command as a newcomer would, with this agenthost in the PATH.
func step(t *testing.T, dir string, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), quick...), "PATH="+hosttest.Bin()+":"+os.Getenv("PATH"))
	cmd.WaitDelay = time.Second
	killer := time.AfterFunc(stepLimit, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", strings.Join(command, " "), dir, err, out)
	}
	return string(out)
}

// takesConfig says whether the projects of a language have a configuration: flytekit's connectors know none.
func takesConfig(language string) bool { return language != "flytekit" }

func TestANewProjectBuildsPassesIsVerifiedAndRuns(t *testing.T) {
	for _, language := range scaffold.Languages() {
		t.Run(language, func(t *testing.T) {
			dir := project(t, language)
			step(t, dir, "make", "test")
			if said := step(t, dir, "make", "verify"); !strings.Contains(said, ", 0 failed,") {
				t.Errorf("make verify does not say that nothing failed:\n%s", said)
			}
			run := []string{hosttest.Program("agenthost"), "task", "run", "--quiet", "--type", "greeter", "--input", "name=Ada", "--want", "greeting:str"}
			if takesConfig(language) {
				run = append(run, "--plugin-config", `{greeting: Hello}`) // as the project's README has it
			}
			if said := step(t, dir, append(run, "--", "bin/greeter")...); !strings.Contains(said, "Hello, Ada") {
				t.Errorf("the task does not greet:\n%s", said)
			}
		})
	}
}
