package fleet

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/badplugin"
)

// echo is a plugin of a version.
func echo(version string, more ...string) config.Plugin {
	p := config.DefaultPlugin()
	p.Command = badplugin.Command("good", append([]string{"-version", version}, more...)...)
	p.DrainTimeout = 10 * time.Second
	p.Restart.InitialBackoff, p.Restart.MaxBackoff = 10*time.Millisecond, 50*time.Millisecond
	return p
}

func only(p config.Plugin) *config.Config {
	settings := config.Default()
	settings.Plugins["echo"] = p
	return settings
}

// apply applies settings and returns what came of each plugin.
func (f running) apply(t *testing.T, settings *config.Config) map[string]Outcome {
	t.Helper()
	outcomes := map[string]Outcome{}
	if err := f.Apply(settings).Wait(soon(t), func(o Outcome) { outcomes[o.Plugin] = o }); err != nil {
		t.Fatalf("after %v: %v", outcomes, err)
	}
	return outcomes
}

func isVersion(version string) func(Status) bool {
	return func(s Status) bool { return s.State == Running && s.Manifest.Version == version }
}

func TestASwapNeverLeavesACallWithoutAPlugin(t *testing.T) {
	f := start(t, nil)
	if got := f.apply(t, only(echo("1")))["echo"]; got.Action != Started || got.Err != nil {
		t.Fatalf("the start: %+v", got)
	}
	held, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}
	before := f.status(t, "echo", isVersion("1"))

	// Meanwhile somebody asks without ever waiting.
	target := f.route(t, "echo_task").Target
	done, missed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				missed <- n
				return
			default:
			}
			if lease, ok := target.TryAcquire(route.Want{}); ok {
				lease.Release()
			} else {
				n++
			}
		}
	}()
	got := f.apply(t, only(echo("2")))["echo"]
	close(done)
	if n := <-missed; n > 0 {
		t.Errorf("%d calls found no plugin", n)
	}
	if got.Action != Swapped || got.Generation == before.Generations[0].ID {
		t.Errorf("the swap: %+v", got)
	}
	after := f.status(t, "echo", isVersion("2"))
	if after.PID == before.PID || after.Restarts != 0 || after.alive() != 1 {
		t.Errorf("after the swap: %+v", after)
	}
	// The call under way on the old one is not cut off.
	select {
	case <-held.Ended:
		t.Error("the old process ended under a call")
	default:
	}
	held.Release()
	select {
	case <-held.Ended:
	case <-soon(t).Done():
		t.Error("the old process never ended")
	}
}

// asked is an instance that does something whenever it is asked for a place, and has one or not.
type asked struct {
	instance
	first func()
	has   bool
}

func (a asked) Acquire() (func(), bool)      { a.first(); return func() {}, a.has }
func (asked) Conn() grpc.ClientConnInterface { return nil }
func (asked) Done() <-chan struct{}          { return nil }

func generationOf(id string, only instance) *generation {
	g := &generation{id: id, tally: &tally{}}
	g.visible.Store(&[]*instanceSlot{{generation: g, instance: only}})
	return g
}

// The swap comes between a call's look at the generation and its asking for a place there.
func TestACallThatMeetsASwapGoesToTheSuccessor(t *testing.T) {
	s := &supervisor{}
	successor := generationOf("new", asked{first: func() {}, has: true})
	s.view.Store(&view{current: generationOf("old", asked{first: func() { s.view.Store(&view{current: successor}) }})})
	if lease, ok := s.TryAcquire(route.Want{}); !ok || lease.Generation != "new" {
		t.Errorf("got %v, %v", lease, ok)
	}
	// Where there is no successor, it is told at once.
	s.view.Store(&view{current: generationOf("old", asked{first: func() {}})})
	if lease, ok := s.TryAcquire(route.Want{}); ok {
		t.Errorf("got %v of an instance without a place", lease)
	}
}

func TestAnEqualSpecChangesNothing(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	before := f.status(t, "echo", isRunning)
	settings := echo("1")
	settings.DrainTimeout, settings.Limits.Concurrency, settings.Pin = time.Minute, 7, "always"
	if got := f.apply(t, only(settings))["echo"]; got.Action != Unchanged {
		t.Errorf("got %+v", got)
	}
	if after := f.status(t, "echo", isRunning); after.PID != before.PID {
		t.Error("the process was restarted")
	}
	if found := f.route(t, "echo_task"); found.Policy.Concurrency != 7 || !found.Pinned {
		t.Errorf("the new settings are not in effect: %+v", found)
	}
}

func TestANewGenerationThatFailsLeavesTheOldOneServing(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	before := f.status(t, "echo", isRunning)
	for mode, says := range map[string]string{
		"dies":             "no such library",
		"configure-errors": "limits.memory",
		"list-empty":       "lists no agents",
	} {
		broken := echo("2")
		broken.Command = badplugin.Command(mode, "-text", "no such library")
		got := f.apply(t, only(broken))["echo"]
		if got.Action != Failed || got.Err == nil || !strings.Contains(got.Err.Error(), says) {
			t.Errorf("%s: %+v", mode, got)
		}
		after := f.status(t, "echo", isRunning)
		if after.PID != before.PID || after.SwapError == nil || !strings.Contains(after.SwapError.Error(), says) {
			t.Errorf("%s: %+v", mode, after)
		}
	}
	if got := f.apply(t, only(echo("3")))["echo"]; got.Action != Swapped {
		t.Errorf("mended: %+v", got)
	}
	if after := f.status(t, "echo", isVersion("3")); after.SwapError != nil {
		t.Errorf("mended, and still: %v", after.SwapError)
	}
}

func TestANewGenerationServesAllButAnothersCategory(t *testing.T) {
	f := start(t, nil)
	settings := only(echo("1"))
	other := echo("1", "-agents", "other:async:other_task")
	settings.Plugins["other"] = other
	f.apply(t, settings)
	greedy := echo("2", "-agents", "other:async:other_task,echo_task")
	settings = only(echo("1"))
	settings.Plugins["other"] = greedy
	if got := f.apply(t, settings)["other"]; got.Action != Swapped {
		t.Errorf("got %+v", got)
	}
	if got := f.status(t, "other", isVersion("2")); len(got.Unserved) != 1 || got.Unserved[0].Owner != "echo" || got.Unserved[0].Plugin != "other" {
		t.Errorf("it does not serve %v", got.Unserved)
	}
	if f.route(t, "other_task").Target.Plugin() != "other" || f.route(t, "echo_task").Target.Plugin() != "echo" {
		t.Error("the routes changed")
	}
	// A route tells them apart.
	settings.Routes = []config.Route{{Task: "echo_task", Domain: "development", Plugin: "other"}}
	settings = &config.Config{Plugins: settings.Plugins, Routes: settings.Routes}
	if got := f.apply(t, settings)["other"]; got.Action != Unchanged {
		t.Errorf("with a route: %+v", got)
	}
	if found, ok := f.routes.Table().LookupNew(plugin.Category{Name: "echo_task"}, "p", "development"); !ok || found.Target.Plugin() != "other" {
		t.Errorf("with a route it goes to %+v", found)
	}
}

func TestANewerConfigurationSupersedesASwapUnderWay(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	hung := echo("2")
	hung.Command = badplugin.Command("silent")
	f.Apply(only(hung))
	f.status(t, "echo", func(s Status) bool { return s.alive() == 2 })
	if got := f.apply(t, only(echo("3")))["echo"]; got.Action != Swapped {
		t.Errorf("got %+v", got)
	}
	f.status(t, "echo", isVersion("3"))
}

func TestARemovedPluginDrainsAndIsGoneAndMayComeBack(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	lease, err := f.route(t, "echo_task").Target.Acquire(soon(t), route.Want{})
	if err != nil {
		t.Fatal(err)
	}
	round := f.Apply(config.Default())
	if names := f.routes.Table().Names(); len(names) != 0 {
		// The table is changed by the supervisor: wait for it.
		f.waitGone(t)
	}
	if got := f.apply(t, only(echo("2")))["echo"]; got.Action != Started || got.Err != nil {
		t.Errorf("back again: %+v", got)
	}
	f.status(t, "echo", isVersion("2"))
	lease.Release()
	removed := Outcome{}
	if err := round.Wait(soon(t), func(o Outcome) { removed = o }); err != nil || removed.Action != Removed {
		t.Errorf("the removal: %+v, %v", removed, err)
	}
}

func (f running) waitGone(t *testing.T) {
	t.Helper()
	for ctx := soon(t); len(f.routes.Table().Names()) > 0; {
		if ctx.Err() != nil {
			t.Fatal("the categories never went")
		}
	}
}

func TestAGenerationThatFailsItsProbationIsRolledBack(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	bad := echo("2")
	bad.Command = badplugin.Command("crashes", "-version", "2", "-calls", "1")
	bad.Restart.CrashLoop = config.CrashLoop{Failures: 2, Window: time.Minute}
	if got := f.apply(t, only(bad))["echo"]; got.Action != Swapped {
		t.Fatalf("got %+v", got)
	}
	for f.Rollbacks() == 0 { // it comes up, and dies once it has work
		s := f.status(t, "echo", func(s Status) bool { return s.State == Running || f.Rollbacks() > 0 })
		if s.Manifest.Version == "2" && s.PID != 0 {
			_ = syscall.Kill(s.PID, syscall.SIGKILL)
			pid := s.PID
			f.status(t, "echo", func(s Status) bool { return s.PID != pid || f.Rollbacks() > 0 })
		}
	}
	back := f.status(t, "echo", isVersion("1"))
	if back.SwapError != nil && !strings.Contains(back.SwapError.Error(), "probation") {
		t.Errorf("the reason: %v", back.SwapError)
	}
	// The rejected one is not tried again until the configuration changes.
	if got := f.apply(t, only(echo("3")))["echo"]; got.Action != Swapped {
		t.Errorf("another one: %+v", got)
	}
	f.status(t, "echo", isVersion("3"))
}

func TestARolloutGivesItsShareOfNewJobsAndJobsStayWhereTheyWereMade(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	old := f.status(t, "echo", isRunning).Generations[0].ID
	next := echo("2")
	next.Rollout.Percent = 25
	got := f.apply(t, only(next))["echo"]
	if got.Action != Canary {
		t.Fatalf("got %+v", got)
	}
	found := f.route(t, "echo_task")
	if !found.Pinned {
		t.Error("jobs are not pinned during a rollout")
	}
	count := map[string]int{}
	for range 2000 {
		lease, err := found.Target.Acquire(soon(t), route.Want{New: true})
		if err != nil {
			t.Fatal(err)
		}
		count[lease.Generation]++
		if lease.Pin != (lease.Generation == got.Generation) {
			t.Fatalf("a job made on %q is pinned: %v; a canary's is, whatever the table said when its call began", lease.Generation, lease.Pin)
		}
		lease.Release()
	}
	if share := count[got.Generation]; share < 400 || share > 600 || count[old]+share != 2000 {
		t.Errorf("of 2000 new jobs: %v, want a quarter on %s", count, got.Generation)
	}
	for want, goes := range map[string]string{old: old, got.Generation: got.Generation, "": old, "long gone": old} {
		lease, err := found.Target.Acquire(soon(t), route.Want{Generation: want})
		if err != nil || lease.Generation != goes {
			t.Errorf("a job of %q is polled on %q, %v", want, lease.Generation, err)
		}
		lease.Release()
	}

	next.Rollout.Percent = 100
	if got := f.apply(t, only(next))["echo"]; got.Action != Swapped {
		t.Errorf("all of it: %+v", got)
	}
	if s := f.status(t, "echo", isVersion("2")); s.alive() != 1 || f.route(t, "echo_task").Pinned {
		t.Errorf("after the rollout: %+v", s)
	}
}

func TestNewJobsDoNotWaitForACanaryThatIsAway(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	next := echo("2")
	next.Rollout.Percent = 99
	next.Restart.InitialBackoff, next.Restart.MaxBackoff = 5*time.Minute, 5*time.Minute
	canary := f.apply(t, only(next))["echo"].Generation
	ofCanary := func(s Status) (found InstanceStatus) {
		for _, g := range s.Generations {
			if g.ID == canary {
				found = g.Instances[0]
			}
		}
		return found
	}
	up := f.status(t, "echo", func(s Status) bool { return ofCanary(s).State == Running })
	if err := syscall.Kill(ofCanary(up).PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.status(t, "echo", func(s Status) bool { return ofCanary(s).State == Restarting })
	for range 20 {
		lease, ok := f.route(t, "echo_task").Target.TryAcquire(route.Want{New: true})
		if !ok || lease.Generation == canary || lease.Pin {
			t.Fatalf("a new job gets %+v, %v", lease, ok)
		}
		lease.Release()
	}
}

func TestInstancesShareTheCallsAndOneThatDiesIsRestartedWhileTheOthersServe(t *testing.T) {
	f := start(t, nil)
	three := echo("1")
	three.Instances = 3
	f.apply(t, only(three))
	s := f.status(t, "echo", func(s Status) bool {
		return s.alive() == 1 && len(s.Generations[0].Instances) == 3 && allRunning(s)
	})
	target := f.route(t, "echo_task").Target
	var leases []route.Lease
	perConn := map[any]int{}
	for range 9 {
		lease, err := target.Acquire(soon(t), route.Want{})
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, lease)
		perConn[lease.Conn]++
	}
	for _, n := range perConn {
		if n != 3 {
			t.Errorf("9 calls were spread as %v", perConn)
		}
	}
	for _, lease := range leases {
		lease.Release()
	}
	victim := s.Generations[0].Instances[1].PID
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.status(t, "echo", func(s Status) bool { return !allRunning(s) })
	if lease, ok := target.TryAcquire(route.Want{}); !ok {
		t.Error("the others do not serve")
	} else {
		lease.Release()
	}
	f.status(t, "echo", allRunning)
	fewer := three
	fewer.Instances = 1
	if got := f.apply(t, only(fewer))["echo"]; got.Action != Unchanged {
		t.Errorf("fewer: %+v", got)
	}
	f.status(t, "echo", func(s Status) bool { return len(s.Generations[0].Instances) == 1 })
}

func allRunning(s Status) bool {
	for _, i := range s.Generations[0].Instances {
		if i.State != Running {
			return false
		}
	}
	return true
}

func TestAPluginThatHangsIsRestarted(t *testing.T) {
	f := startWith(t, Health{Interval: 20 * time.Millisecond, Timeout: time.Second, Misses: 2})
	f.apply(t, only(echo("1")))
	before := f.status(t, "echo", isRunning)
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	after := f.status(t, "echo", func(s Status) bool { return s.State == Running && s.PID != before.PID })
	if after.Reason == nil || !strings.Contains(after.Reason.Error(), "hangs") {
		t.Errorf("the reason: %v", after.Reason)
	}
}

func TestEventsTellEveryChangeInOrder(t *testing.T) {
	f := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := f.Events(ctx)
	f.apply(t, only(echo("1")))
	f.apply(t, only(echo("2")))
	var told []string
	for e := range events {
		told = append(told, fmt.Sprintf("%s>%s", e.Was, e.State))
		if e.State == EventSwapped {
			cancel()
		}
	}
	if got, want := strings.Join(told, " "), "starting>running running>swapping swapping>swapped"; !strings.HasPrefix(got, want) && !strings.Contains(got, "running>swapping") {
		t.Errorf("told: %s", got)
	}
}

// What was decided when a plugin was removed is still to be done when the host stops just then.
func TestTheHostMayStopInTheMiddleOfARemoval(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, stage *stage) {
		s := stage.fleet.supervisors["actor"]
		stage.fleet.Stop(t.Context())
		for _, decided := range []step{withdrawClaim{}, forgetManifest{}} {
			decided.carryOut(s)
		}
		if _, ok := stage.fleet.routes.current.Table().Removed(plugin.Category{Name: "act"}); !ok {
			t.Error("the table does not know that it was there")
		}
		s.explain(&plugin.StartError{Plugin: "actor", ConfigErrors: []plugin.ConfigError{{Key: "x", Message: "unknown"}}})
	})
}
