package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	statedir "github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// operate carries out an operation and waits for what comes of it.
func (f running) operate(t *testing.T, name string, what Operation) (outcome Outcome) {
	t.Helper()
	round, err := f.Operate(name, what)
	if err != nil {
		t.Fatal(err)
	}
	if err := round.Wait(soon(t), func(o Outcome) { outcome = o }); err != nil {
		t.Fatal(err)
	}
	return outcome
}

// hostOf is a host that starts with these plugins and what hosts before it have remembered.
func hostOf(t *testing.T, root *process.RunRoot, dir *statedir.Dir, settings *config.Config) running {
	t.Helper()
	routes := &route.Current{}
	f := running{New(Options{Routes: routes, RunRoot: root, State: dir, Memory: "manifests", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
	t.Cleanup(f.end)
	f.Apply(settings)
	select {
	case <-f.Synced():
	case <-soon(t).Done():
		t.Fatal("the start never synced")
	}
	return f
}

func (f running) named(name string) (found []Status) {
	for _, s := range f.Status() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func TestARestartPutsANewGenerationOfTheSameSpecInPlaceWithoutALostCall(t *testing.T) {
	f := startWith(t, Health{})
	f.apply(t, these(map[string]config.Plugin{"echo": serving("1ms", "x"), "other": serving("1ms", "y")}))
	before, other := f.status(t, "echo", isRunning), f.status(t, "other", isRunning)
	stop := f.calling(t, "x", "y")
	for range 3 {
		if got := f.operate(t, "echo", Restart); got.Action != Swapped || got.Err != nil || got.Generation != before.Generations[0].ID {
			t.Errorf("got %+v", got)
		}
	}
	stop()
	after := f.status(t, "echo", func(s Status) bool { return s.State == Running && s.alive() == 1 })
	if after.PID == before.PID || after.Restarts != 0 || after.SwapError != nil {
		t.Errorf("after it: %+v", after)
	}
	if got := f.status(t, "other", isRunning); got.PID != other.PID {
		t.Error("another plugin was restarted")
	}
	// A configuration that says the same as before restarts nothing.
	if got := f.apply(t, f.settings)["echo"]; got.Action != Unchanged || f.status(t, "echo", isRunning).PID != after.PID {
		t.Errorf("got %+v", got)
	}
}

func TestARestartThatFailsLeavesTheRunningProcessAndSaysWhy(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "broken")
	p := echo("1")
	p.Command = append([]string{"/bin/sh", "-c", `if [ -e "$0" ]; then echo no such library >&2; exit 3; fi; exec "$@"`, marker}, badplugin.Command("good")...)
	f := startWith(t, Health{})
	f.apply(t, only(p))
	before := f.status(t, "echo", isRunning)
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := f.operate(t, "echo", Restart); got.Action != Failed || got.Err == nil || !strings.Contains(got.Err.Error(), "no such library") {
		t.Errorf("got %+v", got)
	}
	if got := f.status(t, "echo", isRunning); got.PID != before.PID || got.SwapError == nil {
		t.Errorf("after it: %+v", got)
	}
}

func TestAStoppedPluginStaysListedAndItsCallsWaitUntilItIsStarted(t *testing.T) {
	f := startWith(t, Health{})
	f.apply(t, only(echo("1")))
	before := f.status(t, "echo", isRunning)
	names := f.routes.Table().Names()
	if got := f.operate(t, "echo", Stop); got.Action != Halted {
		t.Errorf("got %+v", got)
	}
	wait.Until(t, "its process ends", func() bool { return syscall.Kill(before.PID, 0) != nil })
	got := f.status(t, "echo", func(s Status) bool { return s.State == Stopped })
	if !errors.Is(got.Reason, errHalted) || got.Since.IsZero() || got.PID != 0 || got.Manifest == nil || strings.Join(f.routes.Table().Names(), " ") != strings.Join(names, " ") {
		t.Errorf("stopped it is %+v", got)
	}
	// A configuration that says nothing new of it leaves it so; it is in trouble for whoever calls it.
	if got := f.apply(t, f.settings)["echo"]; got.Action != Halted {
		t.Errorf("after a reload: %+v", got)
	}
	target := f.route(t, "echo_task").Target
	if trouble, ok := target.Trouble(); !ok || trouble.Reason != `plugin "echo" is stopped: an operator stopped it` {
		t.Errorf("its trouble is %+v, %v", trouble, ok)
	}
	served := make(chan error, 1)
	waiting := soon(t)
	go func() {
		lease, err := target.Acquire(waiting, route.Want{New: true})
		if err == nil {
			lease.Release()
		}
		served <- err
	}()
	if _, err := f.Operate("echo", Stop); !errors.As(err, &Done{}) {
		t.Errorf("stopped once more: %v", err)
	}
	if got := f.operate(t, "echo", Start); got.Action != Started || got.Err != nil {
		t.Errorf("got %+v", got)
	}
	if err := <-served; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	f.status(t, "echo", isRunning)
	if _, err := f.Operate("echo", Start); !errors.As(err, &Done{}) {
		t.Errorf("started once more: %v", err)
	}

	// Another configuration starts it, as does a restart.
	f.operate(t, "echo", Stop)
	if got := f.apply(t, only(echo("2")))["echo"]; got.Action != Started || got.Err != nil {
		t.Errorf("another configuration: %+v", got)
	}
	f.status(t, "echo", isVersion("2"))
	f.operate(t, "echo", Stop)
	if got := f.operate(t, "echo", Restart); got.Action != Started || got.Err != nil {
		t.Errorf("a restart: %+v", got)
	}
	f.status(t, "echo", isVersion("2"))
}

func TestAPluginThatIsKilledLetsNoCallEnd(t *testing.T) {
	f := startWith(t, Health{})
	p := echo("1")
	p.DrainTimeout = time.Hour
	f.apply(t, only(p))
	lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	if got := f.operate(t, "echo", Kill); got.Action != Halted {
		t.Errorf("got %+v", got)
	}
	select {
	case <-lease.Ended:
	case <-soon(t).Done():
		t.Fatal("its process waits for the call")
	}
	if got := f.operate(t, "echo", Start); got.Action != Started || got.Err != nil {
		t.Errorf("got %+v", got)
	}
}

func TestADisabledPluginIsGoneUntilItIsEnabledWhateverTheConfigurationSays(t *testing.T) {
	f := startWith(t, Health{})
	both := func(version string) *config.Config {
		return these(map[string]config.Plugin{"echo": echo(version), "other": serving("1ms", "y")})
	}
	f.apply(t, both("1"))
	if got := f.operate(t, "echo", Disable); got.Action != Removed {
		t.Errorf("got %+v", got)
	}
	if got := f.named("echo"); len(got) != 1 || got[0].State != StateDisabled || got[0].Since.IsZero() {
		t.Errorf("disabled it is %+v", got)
	}
	if names := strings.Join(f.routes.Table().Names(), " "); names != "y" {
		t.Errorf("served is %s", names)
	}
	if got := f.apply(t, both("2"))["echo"]; got.Action != Disabled {
		t.Errorf("after a reload: %+v", got)
	}
	for _, what := range []Operation{Restart, Stop, Kill, Start, Rollback} {
		if _, err := f.Operate("echo", what); err == nil || !strings.Contains(err.Error(), "agenthost enable echo") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := f.operate(t, "echo", Enable); got.Action != Started || got.Err != nil {
		t.Errorf("got %+v", got)
	}
	f.status(t, "echo", isVersion("2"))
	if got := f.named("echo"); len(got) != 1 || got[0].State != Running {
		t.Errorf("enabled it is %+v", got)
	}
}

// The next host, after a restart or an upgrade, does what operators asked of this one.
func TestWhatIsStoppedOrDisabledStaysSoInTheNextHost(t *testing.T) {
	root, dir := openRunRoot(t), openState(t)
	settings := func(version string) *config.Config {
		return these(map[string]config.Plugin{"echo": echo(version), "other": serving("1ms", "y"), "third": serving("1ms", "z")})
	}
	f := hostOf(t, root, dir, settings("1"))
	f.operate(t, "echo", Stop)
	f.operate(t, "other", Disable)
	f.end()

	f = hostOf(t, root, dir, settings("1"))
	stopped := f.status(t, "echo", func(s Status) bool { return s.State == Stopped })
	if got := f.named("other"); len(got) != 1 || got[0].State != StateDisabled || stopped.PID != 0 {
		t.Errorf("%+v, %+v", stopped, got)
	}
	if names := strings.Join(f.routes.Table().Names(), " "); names != "echo_sync_task echo_task z" {
		t.Errorf("listed is %s", names)
	}
	f.operate(t, "other", Enable)
	f.end()

	// It was stopped as the configuration had it.
	f = hostOf(t, root, dir, settings("2"))
	f.status(t, "echo", isVersion("2"))
	f.status(t, "other", isRunning)
}

func TestARollbackBringsBackTheGenerationBeforeUntilTheConfigurationChanges(t *testing.T) {
	f := startWith(t, Health{})
	f.apply(t, only(echo("1")))
	if _, err := f.Operate("echo", Rollback); err == nil || !strings.Contains(err.Error(), `plugin "echo" has no generation to roll back to`) {
		t.Errorf("without one before: %v", err)
	}
	second := echo("2")
	second.Rollout.Percent = 100
	f.apply(t, only(second))
	f.operate(t, "echo", Restart) // what was before it stays so
	if got := f.operate(t, "echo", Rollback); got.Action != Swapped || got.Err != nil {
		t.Errorf("got %+v", got)
	}
	if got := f.status(t, "echo", isVersion("1")); !got.RolledBack {
		t.Errorf("rolled back it is %+v", got)
	}
	// The same configuration once more, and a restart, leave it there.
	if got := f.apply(t, only(second))["echo"]; got.Action != Unchanged {
		t.Errorf("after a reload: %+v", got)
	}
	f.operate(t, "echo", Restart)
	f.status(t, "echo", isVersion("1"))
	// Rolled back twice it is what the configuration says.
	f.operate(t, "echo", Rollback)
	if got := f.status(t, "echo", isVersion("2")); got.RolledBack {
		t.Errorf("rolled back twice it is %+v", got)
	}
	f.operate(t, "echo", Rollback)
	if got := f.apply(t, only(echo("3")))["echo"]; got.Action != Swapped {
		t.Errorf("another configuration: %+v", got)
	}
	if got := f.status(t, "echo", isVersion("3")); got.RolledBack {
		t.Errorf("another configuration: %+v", got)
	}
}

func TestARollbackEndsARollout(t *testing.T) {
	f := startWith(t, Health{})
	f.apply(t, only(echo("1")))
	next := echo("2")
	next.Rollout.Percent = 10
	if got := f.apply(t, only(next))["echo"]; got.Action != Canary {
		t.Fatalf("got %+v", got)
	}
	f.operate(t, "echo", Rollback)
	f.status(t, "echo", func(s Status) bool { return isVersion("1")(s) && s.alive() == 1 && s.RolledBack })
}

func TestAnOperationOnAPluginThatIsNotThereNamesTheOneThatWasMeant(t *testing.T) {
	f := startWith(t, Health{})
	f.apply(t, these(map[string]config.Plugin{"bigquery": serving("1ms", "x"), "other": serving("1ms", "y")}))
	for name, says := range map[string]string{"bigqery": "did you mean bigquery?", "zzzzzzzz": "the plugins are bigquery, other"} {
		for _, what := range Operations {
			if _, err := f.Operate(name, what); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// startScript starts a fleet whose plugin echo is a script, and tells of its events until they are cancelled.
func startScript(t *testing.T, script string) (f running, events <-chan Event, cancel context.CancelFunc) {
	t.Helper()
	p := echo("1")
	p.Command, p.Sandbox.Mode = []string{script}, config.Off // which would keep the script from the program
	f = startWith(t, Health{Interval: 10 * time.Millisecond, Timeout: time.Second, Misses: 100})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	events = f.Events(ctx)
	f.apply(t, only(p))
	return f, events, cancel
}

// A program is replaced at its path, as `install` and package managers do it. It is told apart, a restart takes it up, and so does a
// crash.
func TestAFileThatChangedSinceThePluginWasStartedIsToldAndTakenUpByARestart(t *testing.T) {
	script := filepath.Join(t.TempDir(), "plugin.sh")
	write := func(version string) {
		t.Helper()
		content := fmt.Sprintf("#!/bin/sh\nexec '%s'\n", strings.Join(badplugin.Command("good", "-version", version), "' '"))
		if err := os.WriteFile(script+".new", []byte(content), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		if err := os.Rename(script+".new", script); err != nil {
			t.Fatal(err)
		}
	}
	write("1")
	f, events, cancel := startScript(t, script)
	if got := f.status(t, "echo", isVersion("1")); len(got.ChangedFiles) != 0 {
		t.Errorf("changed are %v", got.ChangedFiles)
	}
	write("2")
	if got := f.status(t, "echo", isVersion("1")); len(got.ChangedFiles) != 1 || got.ChangedFiles[0] != script {
		t.Errorf("changed are %v", got.ChangedFiles)
	}
	for e := range events {
		if e.State == EventFileChanged {
			if !strings.Contains(e.Cause, script+" changed since it was started; 'agenthost restart echo' takes it up") || strings.Contains(e.Cause, "written over") {
				t.Errorf("it is told as %q", e.Cause)
			}
			cancel()
		}
	}
	if got := f.operate(t, "echo", Restart); got.Action != Swapped {
		t.Errorf("got %+v", got)
	}
	got := f.status(t, "echo", isVersion("2"))
	if len(got.ChangedFiles) != 0 {
		t.Errorf("changed are %v", got.ChangedFiles)
	}
	write("3")
	if err := syscall.Kill(got.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.status(t, "echo", func(s Status) bool { return s.State == Running && s.PID != got.PID && len(s.ChangedFiles) == 0 })
}

// A jar that is written over takes from the JVM that runs from it what that has not read yet: its calls fail, and this says why.
func TestAFileThatIsWrittenOverIsToldApart(t *testing.T) {
	script := filepath.Join(t.TempDir(), "plugin.sh")
	content := fmt.Sprintf("#!/bin/sh\nexec '%s'\n", strings.Join(badplugin.Command("good"), "' '"))
	if err := os.WriteFile(script, []byte(content), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	f, events, cancel := startScript(t, script)
	f.status(t, "echo", isRunning)
	if err := os.WriteFile(script, []byte(content+"# more\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for e := range events {
		if e.State == EventFileChanged {
			if !strings.Contains(e.Cause, script+" seems to have been written over, not replaced: a process that reads on in it, as a JVM does in its jar, may fail until then") {
				t.Errorf("it is told as %q", e.Cause)
			}
			cancel()
		}
	}
}
