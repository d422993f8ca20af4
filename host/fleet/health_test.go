package fleet

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

func TestWhatCountsAsNoAnswer(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	calls := func(since, asked, answered time.Duration) plugin.Silence {
		s := plugin.Silence{Method: "GetTask", MaxWait: 4 * time.Second, Since: before(since), Asked: before(asked)}
		if answered > 0 {
			s.Answered = before(answered)
		}
		return s
	}
	const second = time.Second
	for name, c := range map[string]struct {
		known signs
		since time.Duration // ago; 0: it answers
		again time.Duration // when it is looked again
	}{
		"nothing is asked":                                     {known: signs{heard: before(2 * second)}, again: lookAway},
		"a check is under way":                                 {known: signs{heard: before(3 * second), asked: before(1900 * time.Millisecond)}, again: second / 10},
		"a check has had no answer":                            {known: signs{heard: before(4 * second), asked: before(2 * second)}, since: 4 * second, again: answersAgain},
		"but calls were answered since":                        {known: signs{heard: before(9 * second), asked: before(7 * second), calls: plugin.Silence{Answered: before(second)}}, again: lookAway},
		"calls were answered before":                           {known: signs{heard: before(9 * second), asked: before(7 * second), calls: plugin.Silence{Answered: before(8 * second)}}, since: 8 * second, again: answersAgain},
		"a call is under way":                                  {known: signs{heard: now, calls: calls(3500*time.Millisecond, 0, 0)}, again: second / 2},
		"a call has had no answer":                             {known: signs{heard: now, calls: calls(4*second, 0, 0)}, since: 4 * second, again: answersAgain},
		"calls were given up one after the other":              {known: signs{heard: now, calls: calls(9*second, 3*second, 20*second)}, since: 9 * second, again: answersAgain},
		"one call was given up":                                {known: signs{heard: now, calls: calls(9*second, 8*second, 20*second)}, again: lookAway},
		"calls were given up, and nobody calls any more":       {known: signs{heard: now, calls: calls(90*second, 61*second, 0)}, again: lookAway},
		"the host was held up while a check was under way":     {known: signs{heard: before(60 * second), asked: before(58 * second), held: before(second)}, again: second},
		"the host was held up while a call was under way":      {known: signs{heard: now, calls: calls(60*second, 0, 0), held: before(3500 * time.Millisecond)}, again: second / 2},
		"and it has had no answer after that, either":          {known: signs{heard: now, calls: calls(60*second, 0, 0), held: before(4 * second)}, since: 60 * second, again: answersAgain},
		"none of its servers can be reached":                   {known: signs{heard: now, away: outage{before(3 * second), errors.New("refused")}}, since: 3 * second, again: answersAgain},
		"a check is under way, and a call would be for longer": {known: signs{heard: before(2 * second), asked: before(1900 * time.Millisecond), calls: calls(second, 0, 0)}, again: second / 10},
	} {
		is, again := DefaultHealth.judge(now, c.known)
		want := time.Time{}
		if c.since > 0 {
			want = before(c.since)
		}
		if !is.since.Equal(want) || (is.what == "") != (c.since == 0) {
			t.Errorf("%s: silent since %v (%q), want %v", name, is.since, is.what, want)
		}
		if got := again.Sub(now); got != c.again {
			t.Errorf("%s: it is looked again after %v, want %v", name, got, c.again)
		}
	}
}

// deaf is an actor that does not answer while hangs, and whose calls say what calls says.
type deaf struct {
	*actor
	hangs atomic.Bool
	calls atomic.Pointer[plugin.Silence]
}

func (d *deaf) Conn() grpc.ClientConnInterface { return d }

func (d *deaf) Silence() plugin.Silence {
	if said := d.calls.Load(); said != nil {
		return *said
	}
	return plugin.Silence{}
}

func (d *deaf) Invoke(ctx context.Context, _ string, _, response any, _ ...grpc.CallOption) error {
	if d.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	response.(*healthpb.HealthCheckResponse).Status = healthpb.HealthCheckResponse_SERVING
	return nil
}

// playDeaf is play with one instance at a time that may not answer.
func playDeaf(t *testing.T, test func(*testing.T, *deaf, func() Status)) {
	t.Helper()
	var up *deaf
	playAny(t, slowRestart(), func(*stage) (instance, error) {
		up = &deaf{actor: newActor(true)}
		return up, nil
	}, func(t *testing.T, s *stage) {
		test(t, up, func() Status {
			synctest.Wait()
			return s.fleet.Status()[0]
		})
	})
}

func TestAPluginThatDoesNotAnswerIsUnresponsiveWithinFiveSecondsUntilItAnswers(t *testing.T) {
	playDeaf(t, func(t *testing.T, d *deaf, status func() Status) {
		time.Sleep(7300 * time.Millisecond)
		if s := status(); s.State != Running || s.Generations[0].Instances[0].Health != "SERVING" || time.Since(s.Generations[0].Instances[0].HealthAt) > 2*time.Second {
			t.Fatalf("while it answers: %+v", s)
		}
		d.hangs.Store(true)
		stopped := time.Now()
		time.Sleep(5 * time.Second)
		s := status()
		if s.State != Unresponsive || s.Generations[0].State != Unresponsive || s.Since.Before(stopped) {
			t.Fatalf("after 5 s: %+v", s)
		}
		if why := s.Reason.Error(); !strings.Contains(why, `plugin "actor" does not answer since `) {
			t.Errorf("the reason: %s", why)
		}
		d.hangs.Store(false) // and the check under way goes unanswered still
		time.Sleep(10*time.Second + 2*time.Second)
		if s := status(); s.State != Running || s.Reason == nil || s.Restarts != 0 {
			t.Errorf("when it answers again: %+v", s)
		}
	})
}

// Flyte keeps each message that differs from the one before, and propeller writes it into its record of the task.
func TestOneSilenceIsToldInTheSameWordsToItsEnd(t *testing.T) {
	playDeaf(t, func(t *testing.T, d *deaf, status func() Status) {
		d.calls.Store(&plugin.Silence{Method: "GetTask", MaxWait: 4 * time.Second, Since: time.Now(), Asked: time.Now().Add(4 * time.Second)})
		time.Sleep(5 * time.Second)
		first := status()
		d.calls.Store(&plugin.Silence{Method: "DeleteTask", MaxWait: 4 * time.Second, Since: time.Now().Add(-4 * time.Second), Asked: time.Now()})
		d.hangs.Store(true)
		time.Sleep(10 * time.Second)
		if then := status(); first.State != Unresponsive || then.State != Unresponsive || then.Reason.Error() != first.Reason.Error() || !then.Since.Equal(first.Since) {
			t.Errorf("first %v, then %v", first.Reason, then.Reason)
		}
		d.hangs.Store(false)
		d.calls.Store(nil)
		time.Sleep(12 * time.Second)
		if s := status(); s.State != Running {
			t.Fatalf("when it answers: %+v", s)
		}
		d.hangs.Store(true)
		time.Sleep(5 * time.Second)
		if s := status(); !strings.Contains(s.Reason.Error(), "health checks have no answer") {
			t.Errorf("the next silence: %v", s.Reason)
		}
	})
}

func TestAPluginWhoseCallsHaveNoAnswerIsUnresponsiveThoughItsHealthIsWell(t *testing.T) {
	playDeaf(t, func(t *testing.T, d *deaf, status func() Status) {
		d.calls.Store(&plugin.Silence{Method: "GetTask", MaxWait: 4 * time.Second, Since: time.Now(), Asked: time.Now().Add(4 * time.Second)})
		time.Sleep(5 * time.Second)
		s := status()
		if s.State != Unresponsive || !strings.Contains(s.Reason.Error(), "its GetTask calls have no answer") {
			t.Fatalf("got %+v", s)
		}
		d.calls.Store(nil)
		time.Sleep(time.Second)
		if s := status(); s.State != Running {
			t.Errorf("when it answers again: %+v", s)
		}
	})
}

func TestAPluginThatNeverAnswersIsRestartedAfterAMinute(t *testing.T) {
	playDeaf(t, func(t *testing.T, d *deaf, status func() Status) {
		d.hangs.Store(true)
		time.Sleep(58 * time.Second)
		if s := status(); s.State != Unresponsive {
			t.Fatalf("before: %+v", s)
		}
		time.Sleep(4 * time.Second)
		if s := status(); s.Reason == nil || !strings.Contains(s.Reason.Error(), "it hangs, and is restarted") {
			t.Errorf("after: %+v", s)
		}
	})
}

func TestWhenTheNextStartIsDueIsShownWhileItIsWaitedFor(t *testing.T) {
	play(t, slowRestart(), func(start int) (*actor, error) {
		if start == 0 {
			return newActor(true), nil
		}
		return nil, errors.New("it does not start")
	}, func(t *testing.T, s *stage) {
		s.up().end()
		synctest.Wait()
		now := s.fleet.Status()[0]
		next := now.Generations[0].Instances[0].NextStart
		if now.State != Restarting || next.Before(time.Now()) {
			t.Fatalf("it is started next at %v: %+v", next, now)
		}
		began := len(s.begun())
		time.Sleep(time.Until(next) + time.Millisecond)
		synctest.Wait()
		if len(s.begun()) != began+1 {
			t.Errorf("it was not started when that was due")
		}
	})
}

func TestAStoppedProcessIsUnresponsiveUntilItGoesOn(t *testing.T) {
	f := start(t, nil)
	f.apply(t, only(echo("1")))
	before := f.status(t, "echo", isRunning)
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	is := f.status(t, "echo", func(s Status) bool { return s.State == Unresponsive })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v until that was seen", took)
	}
	if is.PID != before.PID {
		t.Errorf("another process: %+v", is)
	}
	if lease, ok := f.route(t, "echo_task").Target.TryAcquire(route.Want{}); !ok {
		t.Error("it takes no calls")
	} else {
		if trouble, ok := lease.Watched.Silent(); !ok || trouble.Reason != `plugin "echo" does not answer: health checks have no answer` {
			t.Errorf("the call is told %+v", trouble)
		}
		lease.Release()
	}
	if err := syscall.Kill(before.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if after := f.status(t, "echo", isRunning); after.PID != before.PID {
		t.Errorf("it was restarted: %+v", after)
	}
}

func TestKillsForWantOfMemoryAreCountedOverRestartsAndToldWhileThePluginLives(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) { return newActor(true), nil }, func(t *testing.T, s *stage) {
		ctx, cancel := context.WithCancel(t.Context())
		events := s.fleet.Events(ctx)
		s.up().killed.Store(2) // processes that it had started
		time.Sleep(3 * time.Second)
		synctest.Wait()
		s.up().killed.Store(3) // and itself
		s.up().end()
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		told := 0
		for e := range events {
			if e.State == EventOOMKilled {
				told++
				if !strings.Contains(e.Cause, "killed 2 of the processes that it had started") {
					t.Errorf("told: %s", e.Cause)
				}
			}
		}
		if got := s.fleet.Status()[0]; got.OOMKills != 3 || got.State != Running || told != 1 {
			t.Errorf("%d are counted, and %d told: %+v", got.OOMKills, told, got)
		}
	})
}
