package languages

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

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

// shared is the language whose project scripts/verify-plugins uses too, and may be using now: it takes a minute to compile.
const shared = "cpp"

// makeTarget makes a target of a language's project.
func makeTarget(t *testing.T, dir, language, target string) {
	t.Helper()
	if language == shared {
		step(t, dir, "flock", dir+".lock", "make", target)
		return
	}
	step(t, dir, "make", target)
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
	if language == shared {
		dir = strings.TrimSpace(step(t, "", hosttest.Root("scripts", "project"), language))
	} else {
		dir = filepath.Join(hosttest.Bin(), "projects", language) // not beside agenthost: the PATH would have a folder called go
		step(t, "", hosttest.Program("agenthost"), "new", "--lang", language, "greeter", "--dir", dir, "--sdk", hosttest.Root())
		step(t, dir, "make", "build")
	}
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
			makeTarget(t, dir, language, "test")
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

// An author builds while a host runs what was built before: the build succeeds, and the plugin that runs still answers each call, the
// kinds too that nobody has made yet, for which a JVM reads more classes.
func TestAProjectIsBuiltAnewWhileAHostRunsIt(t *testing.T) {
	for _, language := range scaffold.Languages() {
		t.Run(language, func(t *testing.T) {
			h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"greeter": plugin(t, language)}})
			conn, err := grpc.NewClient(h.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			before := processes(t, h)

			dir := project(t, language)
			if language != shared { // what it has compiled is put in place again in any case
				edit(t, dir)
			}
			makeTarget(t, dir, language, "build")

			client, category := service.NewAsyncAgentServiceClient(conn), &admin.TaskCategory{Name: "greeter"}
			ctx, cancel := context.WithTimeout(t.Context(), callLimit)
			defer cancel()
			created, err := client.CreateTask(ctx, &admin.CreateTaskRequest{Template: template(), Inputs: inputs("Ada")})
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: category, ResourceMeta: created.GetResourceMeta()})
			if err != nil || greeting(got.GetResource().GetOutputs()) != "Hello, Ada" {
				t.Errorf("%v, %v", got.GetResource(), err)
			}
			if _, err := client.DeleteTask(ctx, &admin.DeleteTaskRequest{TaskCategory: category, ResourceMeta: created.GetResourceMeta()}); err != nil {
				t.Error(err)
			}
			if after := processes(t, h); !slices.Equal(after, before) {
				t.Errorf("%v served before the build, %v after it", before, after)
			}
		})
	}
}

// edit changes every source of a project, with a comment before its first line: those of its program, not what a build has put there.
func edit(t *testing.T, dir string) {
	t.Helper()
	comments := map[string]string{".go": "//", ".java": "//", ".kt": "//", ".py": "#", ".rs": "//", ".ts": "//"}
	edited := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch name, comment := entry.Name(), comments[filepath.Ext(path)]; {
		case err != nil:
			return err
		case entry.IsDir() && (name == "target" || name == "node_modules" || name == ".venv" || name == "dist"):
			return fs.SkipDir
		case entry.IsDir() || comment == "":
			return nil
		default:
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			edited++
			return os.WriteFile(path, append([]byte(comment+" Edited.\n"), source...), 0o600)
		}
	})
	if err != nil || edited == 0 {
		t.Fatalf("%d sources in %s, %v", edited, dir, err)
	}
}
