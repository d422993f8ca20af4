package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// actor is an instance without a process.
type actor struct {
	grpc.ClientConnInterface
	sound   bool
	started time.Time
	done    chan struct{}
	end     func()
	limit   uint64 // of its memory, which is watched; 0: none
	memory  atomic.Uint64
	killed  atomic.Uint64          // for want of memory
	secret  atomic.Pointer[string] // what it was given; nil: it has none
	rereads bool
	drained chan struct{} // closed when they may end; nil: at once
}

func newActor(sound bool) *actor {
	done := make(chan struct{})
	return &actor{sound: sound, started: time.Now(), done: done, end: sync.OnceFunc(func() { close(done) })}
}

func (a *actor) Conn() grpc.ClientConnInterface { return a }
func (a *actor) Manifest() plugin.Manifest {
	var capabilities []string
	if a.rereads {
		capabilities = []string{pluginv1.CapabilityRereadsSecrets}
	}
	return plugin.Manifest{Capabilities: capabilities, Agents: []plugin.Agent{{Name: "actor", Categories: []plugin.Category{{Name: "act"}}}}}
}
func (a *actor) PID() int                      { return 1 }
func (a *actor) Started() time.Time            { return a.started }
func (a *actor) Usage() (process.Usage, error) { return process.Usage{}, nil }

func (a *actor) Memory(uint64) (uint64, error) { return a.memory.Load(), nil }
func (a *actor) MemoryLimit() (uint64, bool)   { return a.limit, a.limit > 0 }

func (a *actor) HoldsSecret(_ string, value []byte) bool {
	held := a.secret.Load()
	return held == nil || *held == string(value)
}

func (a *actor) Metrics(context.Context) ([]byte, error) { return nil, nil }
func (a *actor) RenewSecret(_ string, value []byte) error {
	held := string(value)
	a.secret.Store(&held)
	return nil
}

func (a *actor) Sandbox() *sandbox.Granted { return nil }
func (a *actor) Done() <-chan struct{}     { return a.done }
func (a *actor) Err() error                { return errors.New("it died") }
func (a *actor) Acquire() (func(), bool)   { return func() {}, true }
func (a *actor) InFlight() int             { return 0 }
func (a *actor) Sound() bool               { return a.sound }
func (a *actor) OOMKills() uint64          { return a.killed.Load() }
func (a *actor) Silence() plugin.Silence   { return plugin.Silence{} }

func (a *actor) Drain(ctx context.Context) error {
	if a.drained == nil {
		return nil
	}
	select {
	case <-a.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *actor) Stop(context.Context) error { a.end(); return nil }

// Invoke answers health checks.
func (a *actor) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

// stage is a fleet of one plugin whose instances are actors.
type stage struct {
	fleet  *Fleet
	target route.Target
	last   atomic.Pointer[actor]
	room   atomic.Pointer[room]

	mu     sync.Mutex
	starts []time.Time
}

// up is the actor that was started last.
func (s *stage) up() *actor { return s.last.Load() }

// begun is when there were starts, failed ones too.
func (s *stage) begun() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.starts)
}

// play runs a test on a stage, whose starts are as next says, in the time of synctest.
func play(t *testing.T, restart config.Restart, next func(start int) (*actor, error), test func(*testing.T, *stage)) {
	playAny(t, restart, func(s *stage) (instance, error) {
		started, err := next(len(s.begun()))
		if err != nil {
			return nil, err // not of a type, which would be an instance
		}
		s.last.Store(started)
		return started, nil
	}, test)
}

// playAny is play with whatever instances.
func playAny(t *testing.T, restart config.Restart, next func(*stage) (instance, error), test func(*testing.T, *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{fleet: New(Options{Routes: &route.Current{}, Log: slog.New(slog.DiscardHandler)})}
		s.room.Store(&room{free: 4096 * mib})
		s.fleet.room = func() room { return *s.room.Load() }
		s.fleet.starts = func(context.Context, plugin.Spec) (instance, error) {
			started, err := next(s)
			s.mu.Lock()
			s.starts = append(s.starts, time.Now())
			s.mu.Unlock()
			return started, err
		}
		settings, p := config.Default(), config.DefaultPlugin()
		p.Command, p.Restart = []string{"actor"}, restart
		settings.Plugins["actor"] = p
		s.fleet.Apply(settings)
		synctest.Wait()
		s.target = s.fleet.supervisors["actor"]
		test(t, s)
		s.fleet.Stop(t.Context())
	})
}

// call waits for an instance as a call does, and returns how long that took.
func (s *stage) call(t *testing.T, maxWait time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	began := time.Now()
	lease, err := s.target.Acquire(ctx, route.Want{})
	if err == nil {
		lease.Release()
	}
	return time.Since(began), err
}

func slowRestart() config.Restart {
	return config.Restart{InitialBackoff: 20 * time.Second, MaxBackoff: 30 * time.Second, CrashLoop: config.CrashLoop{Failures: 3, Window: time.Minute}}
}

func TestAPluginThatWasSoundIsRestartedAtOnceForACallThatWaits(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, s *stage) {
		for round := range 6 { // a crash loop from the third on
			time.Sleep(3 * time.Second)
			s.up().end()
			synctest.Wait()
			if took, err := s.call(t, 10*time.Second); err != nil || took > 0 {
				t.Errorf("round %d: a call waited %v (%v)", round, took, err)
			}
		}
	})
}

func TestWithoutACallThatWaitsTheRestartIsNotBroughtForward(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, s *stage) {
		time.Sleep(3 * time.Second)
		s.up().end()
		time.Sleep(10 * time.Second)
		if len(s.begun()) != 1 {
			t.Fatalf("started %d times", len(s.begun()))
		}
		if took, err := s.call(t, time.Second); err != nil || took > 0 { // who comes in the middle of the pause ends it
			t.Errorf("a call waited %v (%v)", took, err)
		}
	})
}

func TestRestartsOnDemandAreApart(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, s *stage) {
		for range 5 {
			s.up().end() // right after its start
			synctest.Wait()
			if _, err := s.call(t, 10*time.Second); err != nil {
				t.Error(err)
			}
		}
		for i, began := range s.begun()[1:] {
			if apart := began.Sub(s.begun()[i]); apart != restartsApart {
				t.Errorf("start %d came %v after the one before it", i+1, apart)
			}
		}
		if status := s.fleet.Status()[0]; status.Restarts != 5 {
			t.Errorf("%d restarts are counted", status.Restarts)
		}
	})
}

func TestRestartsOnDemandCountForTheCrashLoop(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, s *stage) {
		for want := range 3 {
			s.up().end()
			synctest.Wait()
			state := Restarting
			if want == 2 {
				state = CrashLooping
			}
			if got := s.fleet.Status()[0].State; got != state {
				t.Errorf("after %d ends it is %s", want+1, got)
			}
			if _, err := s.call(t, time.Second); err != nil {
				t.Error(err)
			}
		}
	})
}

// One that dies with the first call it gets would die of it again, and so would the machine of its starts.
func TestAPluginThatNeverAnsweredIsNotRestartedOnDemand(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(false), nil }, func(t *testing.T, s *stage) {
		time.Sleep(3 * time.Second)
		s.up().end()
		synctest.Wait()
		if took, err := s.call(t, 10*time.Second); err == nil {
			t.Errorf("it was back after %v", took)
		}
		if took, err := s.call(t, 30*time.Second); err != nil || took < 3*time.Second {
			t.Errorf("after its pause it was back in %v (%v)", took, err)
		}
	})
}

func TestAStartThatFailsIsNotRepeatedOnDemand(t *testing.T) {
	broken := errors.New("no such library")
	play(t, slowRestart(), func(start int) (*actor, error) {
		if start == 1 {
			return nil, broken
		}
		return newActor(true), nil
	}, func(t *testing.T, s *stage) {
		time.Sleep(3 * time.Second)
		s.up().end()
		synctest.Wait()
		took, err := s.call(t, time.Minute)
		if err != nil || len(s.begun()) != 3 || s.begun()[2].Sub(s.begun()[1]) < slowRestart().InitialBackoff*7/10 {
			t.Errorf("the call waited %v (%v), the starts were at %v", took, err, s.begun())
		}
	})
}

// A plugin that is killed all the time takes every creation that comes, though its pauses are far longer.
func TestAPluginThatIsKilledAgainAndAgainTakesEveryCreation(t *testing.T) {
	f := start(t, nil)
	settings := config.Default()
	p := echo("1")
	p.Restart.InitialBackoff, p.Restart.MaxBackoff = 5*time.Minute, 10*time.Minute
	settings.Plugins["echo"] = p
	f.apply(t, settings)
	target := f.route(t, "echo_task").Target
	for range 8 {
		lease, err := target.Acquire(soon(t), route.Want{New: true})
		if err != nil {
			t.Fatal(err)
		}
		created, err := service.NewAsyncAgentServiceClient(lease.Conn).CreateTask(soon(t), &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "echo_task"}})
		if err != nil || len(created.GetResourceMeta()) == 0 {
			t.Fatalf("%v, %v", created, err)
		}
		if err := syscall.Kill(f.supervisor("echo").status().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-lease.Ended
		lease.Release()
	}
}
