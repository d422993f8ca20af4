package fleet

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/badplugin"
)

// restarted is a fleet of a host that has just started with a plugin, and with what hosts before it have remembered.
func restarted(t *testing.T, root *process.RunRoot, dir string, command []string) running {
	t.Helper()
	routes := &route.Current{}
	f := running{New(Options{Routes: routes, RunRoot: root, Memory: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), routes}
	t.Cleanup(f.end)
	f.Apply(onePlugin(command))
	select {
	case <-f.Synced():
	case <-soon(t).Done():
		t.Fatal("the start never synced")
	}
	return f
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
	root, dir := openRunRoot(t), filepath.Join(t.TempDir(), "memory")
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
	m := memory{t.TempDir(), slog.New(slog.DiscardHandler)}
	known := plugin.Manifest{
		Name: "a", Agents: []plugin.Agent{asyncAgentOf("x")}, Capabilities: []string{"for all"},
		CategoryCapabilities: map[plugin.Category][]string{{Name: "x"}: {"for one"}, {Name: "x", Version: 2}: {"for another"}},
	}
	m.remember("a/b", known)
	if got, ok := m.recall("a/b"); !ok || !sameAgents(got, known) {
		t.Errorf("it recalls %+v, %v", got, ok)
	}
	for _, content := range []string{"", "{", "{}", "null", `{"Agents": 3}`} {
		if err := os.WriteFile(m.file("a/b"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := m.recall("a/b"); ok {
			t.Errorf("of %q it makes %+v", content, got)
		}
	}
}

func asyncAgentOf(category string) plugin.Agent {
	return plugin.Agent{Name: category, Categories: []plugin.Category{{Name: category}}}
}
