package fleet

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/badplugin"
)

func TestTheTroubleOfAPluginIsToldInTheSameWordsEveryTime(t *testing.T) {
	f := start(t, nil)
	settings := config.Default()
	for name, command := range map[string][]string{
		"wordless": badplugin.Command("silent"),
		"broken":   badplugin.Command("dies", "-code", "7", "-text", "no such library"),
		"echo":     badplugin.Command("good"),
		"twin":     badplugin.Command("good", "-version", "2"),
	} {
		p := config.DefaultPlugin()
		p.Command = command
		p.Restart.InitialBackoff, p.Restart.MaxBackoff = 10*time.Millisecond, 20*time.Millisecond
		settings.Plugins[name] = p
	}
	settings.Plugins["killed"] = settings.Plugins["echo"]
	killed := settings.Plugins["killed"]
	killed.Command = badplugin.Command("good", "-agents", "other:async:other_task")
	killed.Restart.InitialBackoff, killed.Restart.MaxBackoff = time.Minute, time.Minute
	settings.Plugins["killed"] = killed
	begun := time.Now()
	f.Apply(settings)

	if trouble, ok := f.supervisor("wordless").Trouble(); !ok || trouble.Reason != `plugin "wordless" is starting` || trouble.Since.Before(begun) || trouble.Since.After(time.Now()) {
		t.Errorf("of a plugin that starts: %+v, %v", trouble, ok)
	}
	up := f.status(t, "killed", isRunning)
	if trouble, ok := f.supervisor("killed").Trouble(); ok {
		t.Errorf("a plugin that runs has the trouble %+v", trouble)
	}
	before := time.Now()
	if err := syscall.Kill(up.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.status(t, "killed", func(s Status) bool { return s.State == Restarting })
	if trouble, ok := f.supervisor("killed").Trouble(); !ok || trouble.Reason != `plugin "killed" is restarting: was killed by SIGKILL` || trouble.Since.Before(before) {
		t.Errorf("of a plugin that was killed: %+v, %v", trouble, ok)
	}

	f.status(t, "broken", func(s Status) bool { return s.State == CrashLooping })
	told := map[string]bool{}
	for range 3 {
		restarts := f.supervisor("broken").status().Restarts
		f.status(t, "broken", func(s Status) bool { return s.Restarts > restarts })
		trouble, ok := f.supervisor("broken").Trouble()
		if !ok || trouble.Since.After(before) || !strings.HasPrefix(trouble.Reason, `plugin "broken" is crash-looping: `) || !strings.Contains(trouble.Reason, "no such library") {
			t.Errorf("of a plugin that crash-loops: %+v, %v", trouble, ok)
		}
		told[trouble.Reason] = true
	}
	if len(told) != 1 {
		t.Errorf("one reason, and the texts %v", told)
	}

	refused := f.status(t, "twin", func(s Status) bool { return s.State == Refused })
	if trouble, ok := f.supervisor("twin").Trouble(); !ok || !strings.HasPrefix(trouble.Reason, `plugin "twin" is refused: `) || !strings.Contains(trouble.Reason, refused.Reason.Error()) {
		t.Errorf("of a plugin that is refused: %+v, %v", trouble, ok)
	}
}

// A slot changes, and then tells the supervisor: who has seen the one need not wait for the other.
func TestTroubleIsWhatTheStatusShows(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, s *stage) {
		supervisor := s.fleet.supervisors["actor"]
		slot := (*supervisor.view.Load().current.visible.Load())[0]
		become := func(state State, running instance) {
			slot.mu.Lock()
			defer slot.mu.Unlock()
			slot.state, slot.instance = state, running
		}
		running := slot.instance
		become(Restarting, nil)
		if trouble, ok := s.target.Trouble(); !ok || trouble.Reason != `plugin "actor" is restarting` {
			t.Errorf("its process ended: %+v, %v", trouble, ok)
		}
		become(Running, running)
		if trouble, ok := s.target.Trouble(); ok {
			t.Errorf("it is up again: %+v", trouble)
		}
	})
}

func TestAPluginThatIsTakenOutSaysSo(t *testing.T) {
	f := start(t, map[string][]string{"echo": badplugin.Command("good")})
	target := f.route(t, "echo_task").Target
	lease, err := target.Acquire(soon(t), route.Want{}) // it drains for as long as this is held
	if err != nil {
		t.Fatal(err)
	}
	s := f.supervisor("echo")
	before := time.Now()
	f.Apply(config.Default())
	for ctx := soon(t); ; {
		signal := *s.signal.Load()
		if s.status().State == Draining {
			break
		}
		select {
		case <-signal:
		case <-ctx.Done():
			t.Fatal("it never drains")
		}
	}
	const want = `plugin "echo" is draining: it was taken out of the configuration`
	if trouble, ok := target.Trouble(); !ok || trouble.Reason != want {
		t.Errorf("trouble %+v, %v", trouble, ok)
	}
	if _, err := target.Acquire(soon(t), route.Want{}); err == nil || err.Error() != want {
		t.Errorf("a call hears %v", err)
	}
	lease.Release()
	<-s.stopped

	// The table knows for a while that it was there, and no longer when it is back.
	gone, ok := f.routes.Table().Removed(plugin.Category{Name: "echo_task", Version: 3})
	if grace := gone.Until.Sub(gone.At); !ok || gone.Plugin != "echo" || gone.At.Before(before) || grace != config.Default().Create.RemovedGrace || len(gone.Manifest.Agents) == 0 {
		t.Errorf("of a plugin that was taken out it knows %+v, %v", gone, ok)
	}
	if _, ok := f.routes.Table().Removed(plugin.Category{Name: "never"}); ok {
		t.Error("what never was there counts as removed")
	}
	f.apply(t, only(echo("2")))
	if found := f.route(t, "echo_task"); found.Target == target {
		t.Error("the removed plugin takes calls")
	}
	settings := config.Default()
	settings.Create.RemovedGrace = 0
	f.apply(t, settings)
	if gone, ok := f.routes.Table().Removed(plugin.Category{Name: "echo_task"}); ok {
		t.Errorf("without a grace it knows %+v", gone)
	}
}
