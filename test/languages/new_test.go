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
	var dir string
	if language == "cpp" { // what takes a minute to compile, scripts/verify-plugins compiles too
		dir = strings.TrimSpace(step(t, "", hosttest.Root("scripts", "project"), language))
	} else {
		dir = filepath.Join(hosttest.Bin(), "projects", language) // not beside agenthost: the PATH would have a folder called go
		step(t, "", hosttest.Program("agenthost"), "new", "--lang", language, "greeter", "--dir", dir, "--sdk", hosttest.Root())
	}
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
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil {
		t.Logf("%s: %.1f s, %.1f s of a processor", strings.Join(command, " "), time.Since(began).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	}
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", strings.Join(command, " "), dir, err, out)
	}
	return string(out)
}

// takesConfig says whether the projects of a language have a configuration: flytekit's connectors know none.
func takesConfig(language string) bool { return language != "flytekit" }

// verified does what the project's `make verify` does, with fewer calls in the search for leaks where scripts/verify-plugins makes them
// all on an example with the same SDK.
func verified(t *testing.T, dir, language string) string {
	t.Helper()
	if language == "flytekit" {
		return step(t, dir, "make", "verify")
	}
	flags := []string{"verify", "--spec", "verify.yaml"}
	if said, want := step(t, dir, "make", "--dry-run", "verify"), "agenthost "+strings.Join(flags, " "); !strings.Contains("\n"+said, "\n"+want+"\n") {
		t.Errorf("make verify is not %s, but\n%s", want, said)
	}
	return step(t, dir, append(append([]string{hosttest.Program("agenthost")}, flags...), "--quick")...)
}

func TestANewProjectBuildsPassesIsVerifiedAndRuns(t *testing.T) {
	for _, language := range scaffold.Languages() {
		t.Run(language, func(t *testing.T) {
			dir := project(t, language)
			step(t, dir, "make", "test")
			if said := verified(t, dir, language); !strings.Contains(said, ", 0 failed,") {
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
