package load

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A pause of the server holds up every call that is due meanwhile, and each counts with all that it waited: a loop that waited
// for the answer before it made the next call would have seen one.
func TestAnOpenLoopCountsTheCallsThatAPauseHoldsUp(t *testing.T) {
	const pause = 200 * time.Millisecond
	var calls atomic.Int64
	paused := make(chan struct{})
	round, err := Open(t.Context(), func(context.Context) error {
		if calls.Add(1) == 1 {
			time.AfterFunc(pause, func() { close(paused) })
		}
		<-paused
		return nil
	}, 1000, 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if round.Calls != 400 {
		t.Errorf("%d calls, want 400", round.Calls)
	}
	if p25, p90 := round.Latency(25), round.Latency(90); p25 > pause/4 || p90 < pause/2 {
		t.Errorf("a quarter took at most %v and nine tenths at most %v, of a pause of %v in the first half", p25, p90, pause)
	}
	if round.Longest() < pause {
		t.Errorf("the longest call took %v, less than the pause of %v", round.Longest(), pause)
	}
}

func TestTimesMakesSoManyCalls(t *testing.T) {
	var calls atomic.Int64
	round, err := Times(t.Context(), func(context.Context) error { calls.Add(1); return nil }, 8, 1000)
	if err != nil || calls.Load() != 1000 || round.Calls != 1000 {
		t.Errorf("made %d, counted %d, %v", calls.Load(), round.Calls, err)
	}
}

func TestACallThatFailsEndsTheRound(t *testing.T) {
	fails := func(context.Context) error { return errors.New("refused") }
	for name, run := range map[string]func() (Round, error){
		"closed": func() (Round, error) { return Closed(t.Context(), fails, 4, time.Hour) },
		"open":   func() (Round, error) { return Open(t.Context(), fails, 1000, time.Hour) },
	} {
		if round, err := run(); err == nil || !strings.Contains(err.Error(), "refused") || round.Calls != 0 {
			t.Errorf("%s: %d calls, %v", name, round.Calls, err)
		}
	}
}

func TestEachCallerMakesACallHoweverShortTheRound(t *testing.T) {
	round, err := Closed(t.Context(), func(context.Context) error { return nil }, 8, 0)
	if err != nil || round.Calls != 8 {
		t.Errorf("%d calls, %v", round.Calls, err)
	}
}
