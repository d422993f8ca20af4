package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// serving is a plugin that takes so long to start, and lists these task types.
func serving(delay string, types ...string) config.Plugin {
	p := echo("1")
	p.Command = badplugin.Command("slow", "-strict", "-delay", delay, "-agents", "agent:async:"+strings.Join(types, ","))
	return p
}

func these(plugins map[string]config.Plugin) *config.Config {
	settings := config.Default()
	for name, p := range plugins {
		settings.Plugins[name] = p
	}
	return settings
}

// calling makes tasks of some types as Flyte does, one after the other, until stop, and counts those that did not go where their type
// is served.
func (f running) calling(t *testing.T, types ...string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for _, task := range types {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := f.create(task); err != nil {
					t.Errorf("call %d of %s: %v", n, task, err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		callers.Wait()
	}
}

// create is what the gateway does: it finds the type in the table, and looks again when the table has changed meanwhile.
func (f running) create(task string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		table := f.routes.Table()
		found, ok := table.LookupNew(plugin.Category{Name: task}, "p", "d")
		if !ok {
			return fmt.Errorf("nobody serves it")
		}
		lease, err := found.Target.Acquire(ctx, route.Want{New: true})
		if err != nil {
			return err
		}
		if _, same := f.routes.Table().LookupIn(found.Target.Plugin(), plugin.Category{Name: task}); !same {
			lease.Release()
			continue
		}
		err = ask(ctx, lease, task)
		lease.Release()
		return err
	}
}

// ask makes a task and polls it, which a plugin refuses that does not list its type.
func ask(ctx context.Context, lease route.Lease, task string) error {
	agent := service.NewAsyncAgentServiceClient(lease.Conn)
	created, err := agent.CreateTask(ctx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: task}})
	if err == nil {
		_, err = agent.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: &admin.TaskCategory{Name: task}, ResourceMeta: created.GetResourceMeta()})
	}
	return err
}

// One change of the configuration moves types between plugins, which are ready in whatever order. No call is lost, every type stays
// listed, and each arrives.
func TestTypesMoveBetweenRunningPluginsInOneReload(t *testing.T) {
	for what, c := range map[string]struct{ before, after map[string]config.Plugin }{
		"one moves, its new plugin is ready last": {
			map[string]config.Plugin{"a": serving("1ms", "x", "y"), "b": serving("1ms", "z")},
			map[string]config.Plugin{"a": serving("2ms", "y"), "b": serving("300ms", "x", "z")},
		},
		"one moves, its new plugin is ready first": {
			map[string]config.Plugin{"a": serving("1ms", "x", "y"), "b": serving("1ms", "z")},
			map[string]config.Plugin{"a": serving("300ms", "y"), "b": serving("2ms", "x", "z")},
		},
		"two are exchanged": {
			map[string]config.Plugin{"a": serving("1ms", "x"), "b": serving("1ms", "y")},
			map[string]config.Plugin{"a": serving("2ms", "y"), "b": serving("200ms", "x")},
		},
		"three go round": {
			map[string]config.Plugin{"a": serving("1ms", "x"), "b": serving("1ms", "y"), "c": serving("1ms", "z")},
			map[string]config.Plugin{"a": serving("200ms", "z"), "b": serving("2ms", "x"), "c": serving("100ms", "y")},
		},
		"a plugin is renamed": {
			map[string]config.Plugin{"a": serving("1ms", "x", "y")},
			map[string]config.Plugin{"b": serving("200ms", "x", "y")},
		},
		"one goes, and its types to two others": {
			map[string]config.Plugin{"a": serving("1ms", "x", "y"), "b": serving("1ms", "z")},
			map[string]config.Plugin{"b": serving("200ms", "y", "z"), "c": serving("2ms", "x")},
		},
		"one moves to a plugin that is new": {
			map[string]config.Plugin{"a": serving("1ms", "x", "y")},
			map[string]config.Plugin{"a": serving("2ms", "y"), "b": serving("200ms", "x")},
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := startWith(t, Health{})
			f.apply(t, these(c.before))
			names := f.routes.Table().Names()
			stop := f.calling(t, names...)
			outcomes := f.apply(t, these(c.after))
			stop()
			for name, p := range c.after {
				if o := outcomes[name]; o.Err != nil || o.Action != Swapped && o.Action != Started {
					t.Errorf("%s: %+v", name, o)
				}
				for task := range strings.SplitSeq(p.Command[len(p.Command)-1][len("agent:async:"):], ",") {
					if got := f.route(t, task).Target.Plugin(); got != name {
						t.Errorf("%s is served by %s, want %s", task, got, name)
					}
				}
			}
			if got := f.routes.Table().Names(); strings.Join(got, " ") != strings.Join(names, " ") {
				t.Errorf("served is %v, was %v", got, names)
			}
		})
	}
}

// A plugin crashes, and what comes back lists a type of another plugin, and one that is nobody's.
func TestAProcessThatRestartedItselfClaimsNoMoreThanItsGeneration(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "second")
	agents := func(list string) string {
		return "'" + strings.Join(badplugin.Command("good", "-agents", list), "' '") + "'"
	}
	script := fmt.Sprintf(`if [ -e "$0" ]; then exec %s; fi; exec %s`, agents("agent:sync:own,victim@7;other:async:free"), agents("agent:async:own"))
	evil := echo("1")
	evil.Command, evil.Sandbox.Mode = []string{"/bin/sh", "-c", script, marker}, config.Off // which would keep the shell from these programs
	f := startWith(t, Health{})
	f.apply(t, these(map[string]config.Plugin{"evil": evil, "good": serving("1ms", "victim")}))
	before := f.status(t, "evil", isRunning)
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after := f.status(t, "evil", func(s Status) bool { return s.State == Running && s.PID != before.PID && len(s.Unserved) == 2 })
	for _, u := range after.Unserved {
		if u.Why != route.NotOfGeneration || !strings.Contains(u.Error(), "agenthost restart evil") {
			t.Errorf("it does not serve %v", u)
		}
	}
	for _, version := range []int32{0, 7} {
		if found, ok := f.routes.Table().Lookup(plugin.Category{Name: "victim", Version: version}); !ok || found.Target.Plugin() != "good" || found.Sync {
			t.Errorf("victim@%d goes to %+v", version, found)
		}
	}
	if _, ok := f.routes.Table().Lookup(plugin.Category{Name: "free"}); ok {
		t.Error("it has got what its generation did not list")
	}
	f.route(t, "own")
}

func TestTaskTypesAreWhatAPluginMayServe(t *testing.T) {
	f := startWith(t, Health{})
	limited := serving("1ms", "x", "y")
	limited.TaskTypes = []string{"x"}
	if got := f.apply(t, only(limited))["echo"]; got.Action != Started || got.Err != nil {
		t.Fatalf("got %+v", got)
	}
	got := f.status(t, "echo", isRunning)
	if len(got.Unserved) != 1 || got.Unserved[0].Why != route.NotAllowed || strings.Join(f.routes.Table().Names(), " ") != "x" {
		t.Errorf("it does not serve %v; served is %v", got.Unserved, f.routes.Table().Names())
	}
	limited.TaskTypes = []string{"x", "y"}
	if got := f.apply(t, only(limited))["echo"]; got.Action != Unchanged {
		t.Errorf("got %+v", got)
	}
	wait.Until(t, "it serves both", func() bool { return strings.Join(f.routes.Table().Names(), " ") == "x y" })
	limited.TaskTypes = []string{"z"}
	f.apply(t, only(limited))
	f.status(t, "echo", func(s Status) bool { return s.State == Refused })
}
