package fleet

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/badplugin"
)

func TestMain(m *testing.M) {
	badplugin.Main() // does not return where this binary is run as a plugin
	goleak.VerifyTestMain(m)
}

// running is a fleet under test. Its plugins are real processes.
type running struct {
	*Fleet
	routes *route.Current
}

func start(t *testing.T, commands map[string][]string) running {
	t.Helper()
	f := startWith(t, Health{})
	settings := config.Default()
	for name, command := range commands {
		configured := config.DefaultPlugin()
		configured.Command = command
		configured.Sandbox.Write = []string{os.TempDir()} // where tests have their files
		configured.DrainTimeout = 10 * time.Second
		configured.Restart.InitialBackoff = 10 * time.Millisecond
		configured.Restart.MaxBackoff = 50 * time.Millisecond
		settings.Plugins[name] = configured
	}
	f.Apply(settings)
	select {
	case <-f.Synced():
	case <-soon(t).Done():
		t.Fatal("the first start never synced")
	}
	return f
}

// startWith is a fleet without plugins.
func startWith(t *testing.T, health Health) running {
	t.Helper()
	root := openRunRoot(t)
	routes := &route.Current{}
	f := New(Options{Routes: routes, RunRoot: root, Health: health, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		f.Stop(limit)
	})
	return running{f, routes}
}

// openRunRoot makes a run root on a short path: a unix socket's has 107 bytes at most.
func openRunRoot(t *testing.T) *process.RunRoot {
	t.Helper()
	base, err := os.MkdirTemp("", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	root, err := process.OpenRunRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(root.Close(), os.RemoveAll(base)); err != nil {
			t.Error(err)
		}
	})
	return root
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// supervisor is the supervisor of a plugin.
func (f running) supervisor(name string) *supervisor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.supervisors[name]
}

// status waits until a plugin is as wanted.
func (f running) status(t *testing.T, name string, wanted func(Status) bool) Status {
	t.Helper()
	s := f.supervisor(name)
	for ctx := soon(t); ; {
		signal := *s.signal.Load()
		status := s.status()
		if wanted(status) {
			return status
		}
		select {
		case <-signal:
		case <-ctx.Done():
			t.Fatalf("plugin %s never came to what was wanted; it is %+v", name, status)
		}
	}
}

func (f running) route(t *testing.T, category string) route.Route {
	t.Helper()
	found, ok := f.routes.Table().Lookup(plugin.Category{Name: category})
	if !ok {
		t.Fatalf("category %s is not in the table", category)
	}
	return found
}

func isRunning(s Status) bool { return s.State == Running }

// alive is how many generations take calls, or will.
func (s Status) alive() int {
	return len(slices.DeleteFunc(slices.Clone(s.Generations), func(g GenerationStatus) bool { return g.Role == RoleDraining }))
}

func TestAKilledPluginComesBackAndItsCategoriesStayListed(t *testing.T) {
	f := start(t, map[string][]string{"echo": badplugin.Command("good", "-agents", "echo:async:echo_task@1,echo_task@2")})
	before := f.status(t, "echo", isRunning)
	table := f.routes.Table()
	lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}

	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Ended:
	case <-soon(t).Done():
		t.Fatal("the lease never said that its process ended")
	}
	lease.Release()

	// Asked at once, it waits for the new process.
	again, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
	if got, want := len(f.routes.Table().Agents()), len(table.Agents()); got != want || want == 0 {
		t.Errorf("%d agents are listed after the crash, %d before", got, want)
	}
	after := f.status(t, "echo", isRunning)
	if after.PID == before.PID || after.Restarts != 1 || after.Reason == nil || !strings.Contains(after.Reason.Error(), "killed") {
		t.Errorf("status after the crash: %+v", after)
	}
	if after.MemoryBytes == 0 || after.Manifest.Version != "1.2.3" {
		t.Errorf("status after the crash: %+v", after)
	}
}

func TestAPluginThatCannotStartHoldsUpNobodyAndSaysWhy(t *testing.T) {
	f := start(t, map[string][]string{
		"broken": badplugin.Command("dies", "-code", "7", "-text", "no such library"),
		"good":   badplugin.Command("good"),
	})
	f.status(t, "good", isRunning)
	broken := f.status(t, "broken", func(s Status) bool { return s.State == CrashLooping })
	for _, part := range []string{"broken", "7", "no such library"} {
		if !strings.Contains(broken.Reason.Error(), part) {
			t.Errorf("the reason %q does not tell %q", broken.Reason, part)
		}
	}

	waiting, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
	defer cancel()
	if _, err := f.supervisor("broken").Acquire(waiting, route.Want{}); err == nil || !strings.Contains(err.Error(), "no such library") {
		t.Errorf("a caller that waited in vain hears %v", err)
	}
	// It never gives up.
	restarts := broken.Restarts
	f.status(t, "broken", func(s Status) bool { return s.Restarts > restarts+1 })
}

func TestOfTwoPluginsWithOneCategoryTheFirstByNameServesAndTheOtherSaysWhy(t *testing.T) {
	// The one that must win is the one that starts later.
	f := start(t, map[string][]string{
		"a": badplugin.Command("slow", "-delay", "300ms", "-agents", "one:async:query"),
		"b": badplugin.Command("good", "-agents", "two:async:query,other"),
		"c": badplugin.Command("good", "-agents", "three:sync:query@7"),
	})
	f.status(t, "a", isRunning)
	b := f.status(t, "b", isRunning)
	if len(b.Unserved) != 1 || b.Unserved[0].Owner != "a" || b.Unserved[0].Plugin != "b" || b.Unserved[0].Category.Name != "query" {
		t.Errorf("it does not serve %v", b.Unserved)
	}
	refused := f.status(t, "c", func(s Status) bool { return s.State == Refused })
	if why := (route.Unserved{}); !errors.As(refused.Reason, &why) || why.Owner != "a" {
		t.Errorf("the reason is %v", refused.Reason)
	}
	for category, name := range map[string]string{"query": "a", "other": "b"} {
		if got := f.route(t, category).Target.Plugin(); got != name {
			t.Errorf("%s is served by %s", category, got)
		}
	}
}

func TestStopLetsCallsUnderWayEnd(t *testing.T) {
	f := start(t, map[string][]string{"echo": badplugin.Command("good")})
	lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.Stop(soon(t))
	}()
	f.status(t, "echo", func(s Status) bool { return s.State == Draining })
	select {
	case <-lease.Ended:
		t.Error("the process ended under a call")
	case <-stopped:
		t.Error("stopped under a call")
	default:
	}
	waiting, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
	defer cancel()
	if _, err := f.route(t, "echo_task").Target.Acquire(waiting, route.Want{}); err == nil {
		t.Error("a new call was let in")
	}
	lease.Release()
	select {
	case <-stopped:
	case <-soon(t).Done():
		t.Fatal("the stop never ended")
	}
	if _, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{}); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("after the stop a caller hears %v", err)
	}
}

func TestStopEndsWithItsLimitWhenACallDoesNot(t *testing.T) {
	f := start(t, map[string][]string{"echo": badplugin.Command("good")})
	lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	limit, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	f.Stop(limit)
	select {
	case <-lease.Ended:
	default:
		t.Error("the process is still there")
	}
}

func TestStopEndsAPluginInTheMiddleOfItsStart(t *testing.T) {
	root := openRunRoot(t)
	f := New(Options{Routes: &route.Current{}, RunRoot: root, Log: slog.New(slog.DiscardHandler)})
	silent := config.DefaultPlugin()
	silent.Command = badplugin.Command("silent")
	settings := config.Default()
	settings.Plugins["silent"] = silent
	f.Apply(settings)
	f.Stop(soon(t))
	if got := f.Status()[0].State; got != Stopped {
		t.Errorf("it is %s", got)
	}
}

// logged takes what a fleet logs, a line each.
type logged chan string

func (l logged) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// What such a plugin does at its end is cut off, and nothing else would tell its author.
func TestAPluginThatHadToBeKilledAtItsEndIsTold(t *testing.T) {
	routes, log := &route.Current{}, make(logged, 1000)
	f := running{New(Options{Routes: routes, RunRoot: openRunRoot(t), Log: slog.New(slog.NewTextHandler(log, nil))}), routes}
	t.Cleanup(f.end)
	settings := onePlugin(badplugin.Command("stubborn"))
	for name, configured := range settings.Plugins {
		configured.StopTimeout = time.Second
		settings.Plugins[name] = configured
	}
	f.apply(t, settings)
	f.apply(t, config.Default())
	for ctx := soon(t); ; {
		select {
		case line := <-log:
			if strings.Contains(line, "the plugin did not stop in good order") {
				if !strings.Contains(line, "it ended neither when asked nor on SIGTERM, and was killed after ") || !strings.Contains(line, "level=WARN") {
					t.Error(line)
				}
				return
			}
		case <-ctx.Done():
			t.Fatal("it was never told")
		}
	}
}

func TestAHostIsReadyWhoseFirstConfigurationIsSupersededBeforeItIsUp(t *testing.T) {
	root := openRunRoot(t)
	routes := &route.Current{}
	f := running{New(Options{Routes: routes, RunRoot: root, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
	t.Cleanup(f.end)
	f.Apply(onePlugin(badplugin.Command("silent"))) // it has a minute to start
	f.Apply(onePlugin(badplugin.Command("good")))
	select {
	case <-f.Synced():
	case <-soon(t).Done():
		t.Fatal("it never gets ready")
	}
	f.route(t, "echo_task")
}

func TestAHostThatStartsWaitsForAPluginWhoseFirstProcessDied(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "second")
	// A shell that dies the first time, and is the plugin the second.
	script := `if [ -e "$0" ]; then exec "$@"; fi; : > "$0"; exit 3`
	f := start(t, map[string][]string{"echo": append([]string{"/bin/sh", "-c", script, marker}, badplugin.Command("good")...)})
	if names := f.routes.Table().Names(); len(names) != 2 {
		t.Errorf("synced with the task types %v", names)
	}
}
