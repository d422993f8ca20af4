package fleet

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/config"
)

// hungry is an actor whose memory is watched.
func hungry() *actor {
	a := newActor(true)
	a.limit = 512 * mib
	a.memory.Store(20 * mib)
	return a
}

// heard is what events there were.
func heard(events <-chan Event) (all []string) {
	for {
		select {
		case e := <-events:
			all = append(all, string(e.State))
		default:
			return all
		}
	}
}

func TestWhoReachesItsMemoryLimitIsReplacedWithoutACallThatWaits(t *testing.T) {
	var all []*actor
	play(t, slowRestart(), func(n int) (*actor, error) {
		if n > 0 {
			time.Sleep(2 * time.Second) // as a start takes
		}
		a := hungry()
		a.drained = make(chan struct{})
		all = append(all, a)
		return a, nil
	}, func(t *testing.T, s *stage) {
		events := s.fleet.Events(t.Context())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		all[0].memory.Store(600 * mib)
		for range 60 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if took, err := s.call(t, time.Second); took > 0 || err != nil {
				t.Fatalf("a call waited for %v (%v)", took, err)
			}
		}
		if len(all) != 2 || s.up() != all[1] {
			t.Fatalf("there were %d starts; want 2", len(all))
		}
		select {
		case <-all[0].done:
			t.Error("the old process ended while calls were under way")
		default:
		}
		status := s.fleet.Status()[0]
		if status.State != Running || status.Restarts != 1 || status.MemoryRestarts != 1 || status.Reason == nil ||
			status.Reason.Error() != `plugin "actor" was restarted: it used 600MiB of 512MiB (sandbox.memory)` {
			t.Errorf("the status is %+v", status)
		}
		if got := strings.Join(heard(events), ", "); got != "over memory, running" {
			t.Errorf("events: %s", got)
		}
		close(all[0].drained)
		synctest.Wait()
		select {
		case <-all[0].done:
		default:
			t.Error("the old process is still there though no call is")
		}
		close(all[1].drained)
	})
}

func TestWhereTwoHaveNoRoomTheOldProcessGoesFirst(t *testing.T) {
	var first *actor
	play(t, config.Restart{InitialBackoff: time.Second, MaxBackoff: time.Second, CrashLoop: config.CrashLoop{Failures: 9, Window: time.Minute}}, func(n int) (*actor, error) {
		a := hungry()
		if n == 0 {
			first, a.drained = a, make(chan struct{})
		}
		return a, nil
	}, func(t *testing.T, s *stage) {
		s.room.Store(&room{free: 10 * mib})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		first.memory.Store(600 * mib)
		time.Sleep(5 * time.Second) // calls are under way
		synctest.Wait()
		if status := s.fleet.Status()[0]; len(s.begun()) != 1 || status.State != Draining || !strings.Contains(status.Reason.Error(), "it used 600MiB of 512MiB") {
			t.Errorf("%d starts; it is %s: %v", len(s.begun()), status.State, status.Reason)
		}
		close(first.drained)
		if _, err := s.call(t, 3*time.Second); err != nil {
			t.Error(err)
		}
		if status := s.fleet.Status()[0]; len(s.begun()) != 2 || status.State != Running || status.MemoryRestarts != 1 {
			t.Errorf("%d starts; %+v", len(s.begun()), status)
		}
	})
}

// A plugin whose limit is less than it needs is no more than one that crashes.
func TestWhoIsAlwaysOverItsLimitStartsNoMoreOftenThanOneThatCrashes(t *testing.T) {
	play(t, slowRestart(), func(int) (*actor, error) {
		a := hungry()
		a.memory.Store(600 * mib)
		return a, nil
	}, func(t *testing.T, s *stage) {
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if starts := len(s.begun()); starts < 10 || starts > 40 { // from the third on a pause of about 30 s
			t.Errorf("%d starts in ten minutes", starts)
		}
		for i, at := range s.begun()[3:] {
			if since := at.Sub(s.begun()[i+2]); since < 13*time.Second {
				t.Errorf("starts %d and %d are %v apart", i+2, i+3, since)
			}
		}
	})
}

func TestASuccessorThatDoesNotStartEndsWhoIsOverItsLimitAllTheSame(t *testing.T) {
	var first *actor
	play(t, slowRestart(), func(n int) (*actor, error) {
		if n == 1 {
			return nil, errors.New("no such library")
		}
		a := hungry()
		if n == 0 {
			first = a
		}
		return a, nil
	}, func(t *testing.T, s *stage) {
		time.Sleep(3 * time.Second)
		synctest.Wait()
		first.memory.Store(600 * mib)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		status := s.fleet.Status()[0]
		if status.State != Restarting || !strings.Contains(status.Reason.Error(), "600MiB of 512MiB") || !strings.Contains(status.Reason.Error(), "no such library") {
			t.Errorf("it is %s: %v", status.State, status.Reason)
		}
		if _, err := s.call(t, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

// The kernel ends all of them otherwise.
func TestInAContainerThatIsFullNoCallIsWaitedFor(t *testing.T) {
	var first *actor
	play(t, slowRestart(), func(n int) (*actor, error) {
		a := newActor(true)
		a.memory.Store(20 * mib)
		if n == 0 {
			first, a.drained = a, make(chan struct{}) // which nobody closes
		}
		return a, nil
	}, func(t *testing.T, s *stage) {
		use := func(used uint64) { s.room.Store(&room{limit: 1024 * mib, used: used * mib}) }
		use(100)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		first.memory.Store(900 * mib)
		use(962) // near
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if status := s.fleet.Status()[0]; status.State != Draining || !strings.Contains(status.Reason.Error(), "the container uses 962MiB of 1GiB, and it 900MiB") {
			t.Errorf("it is %s: %v", status.State, status.Reason)
		}
		use(1000) // full
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		select {
		case <-first.done:
		default:
			t.Error("it is still there")
		}
		use(120)
		if _, err := s.call(t, time.Minute); err != nil {
			t.Error(err)
		}
	})
}
