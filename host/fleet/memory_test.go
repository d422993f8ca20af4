package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	statedir "github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/test/badplugin"
)

// restarted is a fleet of a host that has just started with a plugin, and with what hosts before it have remembered.
func restarted(t *testing.T, root *process.RunRoot, dir *statedir.Dir, command []string) running {
	t.Helper()
	routes := &route.Current{}
	f := running{New(Options{Routes: routes, RunRoot: root, State: dir, Memory: "manifests", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
	t.Cleanup(f.end)
	f.Apply(onePlugin(command))
	select {
	case <-f.Synced():
	case <-soon(t).Done():
		t.Fatal("the start never synced")
	}
	return f
}

func openState(t *testing.T) *statedir.Dir {
	t.Helper()
	dir, err := statedir.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (f running) end() {
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	f.Stop(limit)
}

func onePlugin(command []string) *config.Config {
	settings := config.Default()
	if command != nil {
		entry := config.DefaultPlugin()
		entry.Command = command
		entry.Restart.InitialBackoff, entry.Restart.MaxBackoff = 10*time.Millisecond, 50*time.Millisecond
		settings.Plugins["echo"] = entry
	}
	return settings
}

func TestAPluginThatDoesNotStartAfterARestartOfTheHostStaysListed(t *testing.T) {
	root, dir := openRunRoot(t), openState(t)
	before := restarted(t, root, dir, badplugin.Command("good"))
	names := strings.Join(before.routes.Table().Names(), " ")
	before.end()

	after := restarted(t, root, dir, badplugin.Command("dies"))
	if got := strings.Join(after.routes.Table().Names(), " "); got != names || names == "" {
		t.Errorf("the task types %q are listed, %q were before the restart", got, names)
	}
	if got := after.status(t, "echo", func(s Status) bool { return s.State == CrashLooping }); got.Manifest != nil {
		t.Errorf("a plugin that has not said anything says %+v", got.Manifest)
	}

	// Whoever calls it meanwhile waits until it is put right.
	served := make(chan error, 1)
	target, waiting := after.route(t, "echo_task").Target, soon(t)
	go func() {
		lease, err := target.Acquire(waiting, route.Want{})
		if err == nil {
			lease.Release()
		}
		served <- err
	}()
	after.Apply(onePlugin(badplugin.Command("good", "-agents", "echo:async:echo_task,another")))
	if err := <-served; err != nil {
		t.Error(err)
	}
	after.status(t, "echo", func(s Status) bool { return s.State == Running && s.Manifest != nil })
	after.route(t, "another")
	after.end()

	last := restarted(t, root, dir, badplugin.Command("dies"))
	last.route(t, "another")
	last.Apply(onePlugin(nil))
	for ctx := soon(t); len(last.Status()) > 0; {
		if ctx.Err() != nil {
			t.Fatal("the removed plugin never went")
		}
		time.Sleep(time.Millisecond)
	}
	last.end()

	// What was removed is not remembered.
	fresh := restarted(t, root, dir, badplugin.Command("dies"))
	if got := fresh.routes.Table().Names(); len(got) > 0 {
		t.Errorf("the task types %q of a plugin that was removed are listed", got)
	}
}

func TestAMemoryThatIsSpoiltIsNone(t *testing.T) {
	m := memory{openState(t), "manifests", slog.New(slog.DiscardHandler)}
	known := plugin.Manifest{
		Name: "a", Agents: []plugin.Agent{asyncAgentOf("x")}, Capabilities: []string{"for all"},
		CategoryCapabilities: map[plugin.Category][]string{{Name: "x"}: {"for one"}, {Name: "x", Version: 2}: {"for another"}},
	}
	m.remember("a/b", []string{"x"}, known)
	if got, ok := m.recall("a/b"); !ok || !sameAgents(got.manifest, known) || !slices.Equal(got.runs, []string{"x"}) {
		t.Errorf("it recalls %+v, %v", got, ok)
	}
	for _, content := range []string{"", "{", "{}", "null", `{"Agents": 3}`} {
		if err := m.state.Write(m.file("a/b"), memoryFormat, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, ok := m.recall("a/b"); ok {
			t.Errorf("of %q it makes %+v", content, got)
		}
	}
}

// A host that starts lists at once what its plugins last served, though one of them takes its time; that one gets the calls
// that come meanwhile when it is up.
func TestWhatPluginsLastServedIsListedFromTheFirstMoment(t *testing.T) {
	root, dir, marker := openRunRoot(t), openState(t), filepath.Join(t.TempDir(), "up")
	// A shell that is the plugin as soon as there is a marker.
	slow := append([]string{"/bin/sh", "-c", `while [ ! -e "$0" ]; do sleep 0.01; done; exec "$@"`, marker}, badplugin.Command("good")...)
	touch := func() {
		t.Helper()
		if err := os.WriteFile(marker, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch()
	before := restarted(t, root, dir, slow)
	names := strings.Join(before.routes.Table().Names(), " ")
	before.end()

	again := func(command []string) running {
		routes := &route.Current{}
		f := running{New(Options{Routes: routes, RunRoot: root, State: dir, Memory: "manifests", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
		t.Cleanup(f.end)
		f.Apply(onePlugin(command))
		return f
	}
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	f := again(slow)
	if got := strings.Join(f.routes.Table().Names(), " "); got != names || names == "" {
		t.Errorf("%q is listed, %q was before the restart", got, names)
	}
	select {
	case <-f.Listed():
	case <-soon(t).Done():
		t.Fatal("the list is never whole")
	}
	select {
	case <-f.Synced():
		t.Error("the host has started without its plugin")
	default:
	}
	if trouble, ok := f.route(t, "echo_task").Target.Trouble(); !ok || trouble.Reason != `plugin "echo" is starting` {
		t.Errorf("its trouble is %+v, %v", trouble, ok)
	}
	touch()
	lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{New: true})
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	<-f.Synced()

	// It is put back after a moment's removal.
	f.apply(t, onePlugin(nil))
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	f.Apply(onePlugin(slow))
	f.route(t, "echo_task")
	touch()
	f.status(t, "echo", isRunning)
	f.end()

	// Another command may be another plugin.
	other := again(append(badplugin.Command("silent"), "-agents", "x:async:x"))
	if got := other.routes.Table().Names(); len(got) > 0 {
		t.Errorf("%q of another command is listed", got)
	}
}

// Whichever of two plugins with one category served it before the host was restarted serves it again, whatever its name, and
// though its command has changed.
func TestTheOwnersThatAreKeptAreTheLast(t *testing.T) {
	memory := memory{openState(t), "manifests", slog.New(slog.NewTextHandler(t.Output(), nil))}
	keeper := &ownersKeeper{memory: memory}
	for round := range 20 {
		var owner string
		for i := range 1 + round {
			owner = fmt.Sprintf("plugin-%d-%d", round, i)
			keeper.keep(route.Owners{"x": owner})
		}
		keeper.flush()
		if got := memory.owners()["x"]; got != owner {
			t.Fatalf("x belongs to %q after %q was the last", got, owner)
		}
	}
}

func TestTheFormerOwnerServesAfterARestartOfTheHost(t *testing.T) {
	for _, remembers := range []string{"a", "b"} {
		root, dir := openRunRoot(t), openState(t)
		begin := func(delay string, names ...string) running {
			commands := map[string][]string{
				"a": badplugin.Command("slow", "-delay", delay, "-agents", "one:async:query"),
				"b": badplugin.Command("slow", "-delay", delay, "-agents", "two:async:query"),
			}
			routes := &route.Current{}
			f := running{New(Options{Routes: routes, RunRoot: root, State: dir, Memory: "manifests", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
			t.Cleanup(f.end)
			settings := config.Default()
			for _, name := range names {
				p := config.DefaultPlugin()
				p.Command = commands[name]
				settings.Plugins[name] = p
			}
			f.Apply(settings)
			select {
			case <-f.Synced():
			case <-soon(t).Done():
				t.Fatal("the start never synced")
			}
			return f
		}
		before := begin("1ms", remembers)
		before.end()
		for _, delay := range []string{"1ms", "2ms"} { // the same command, and another one
			f := begin(delay, "a", "b")
			other := map[string]string{"a": "b", "b": "a"}[remembers]
			f.status(t, other, func(s Status) bool { return s.State == Refused })
			if got := f.route(t, "query").Target.Plugin(); got != remembers {
				t.Errorf("where %s served, %s serves", remembers, got)
			}
			f.end()
		}
	}
}

// A plugin that lists what another owns beside something of its own runs, and claims it, when the host is started again.
func TestTheFormerOwnerServesBesideAPluginThatServesTheRestOfWhatItLists(t *testing.T) {
	root, dir := openRunRoot(t), openState(t)
	begin := func() running {
		routes := &route.Current{}
		return running{New(Options{Routes: routes, RunRoot: root, State: dir, Memory: "manifests", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
	}
	owner := withCommand(badplugin.Command("good", "-agents", "one:async:query"))
	thief := withCommand(badplugin.Command("good", "-agents", "two:async:query,other"))
	apply := func(f running, plugins map[string]config.Plugin) {
		settings := config.Default()
		settings.Plugins = plugins
		f.Apply(settings)
		select {
		case <-f.Synced():
		case <-soon(t).Done():
			t.Fatal("the start never synced")
		}
		for name := range plugins {
			f.status(t, name, func(s Status) bool { return s.State == Running })
		}
		if got := f.route(t, "query").Target.Plugin(); got != "owner" {
			t.Errorf("%s serves", got)
		}
	}
	before := begin()
	apply(before, map[string]config.Plugin{"owner": owner})
	apply(before, map[string]config.Plugin{"owner": owner, "a-thief": thief})
	before.end()
	for range 2 {
		f := begin()
		apply(f, map[string]config.Plugin{"owner": owner, "a-thief": thief})
		f.end()
	}
}

func withCommand(command []string) config.Plugin {
	p := config.DefaultPlugin()
	p.Command = command
	return p
}

func asyncAgentOf(category string) plugin.Agent {
	return plugin.Agent{Name: category, Categories: []plugin.Category{{Name: category}}}
}
