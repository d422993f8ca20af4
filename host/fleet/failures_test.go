package fleet

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
)

func TestACrashLoopIsSoManyFailuresWithinSoLong(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rule := config.CrashLoop{Failures: 3, Window: time.Minute}
	for name, c := range map[string]struct {
		seconds []int // of the failures; the last one is now
		want    bool
	}{
		"one":                      {[]int{0}, false},
		"two":                      {[]int{0, 1}, false},
		"three at once":            {[]int{0, 0, 0}, true},
		"three on the edge":        {[]int{0, 30, 60}, true},
		"three just too far apart": {[]int{0, 30, 61}, false},
		"two old, one new":         {[]int{0, 1, 120}, false},
		"old ones and three new":   {[]int{0, 1, 120, 130, 140}, true},
	} {
		var times []time.Time
		for _, s := range c.seconds {
			times = append(times, start.Add(time.Duration(s)*time.Second))
		}
		if got := crashLoop(times, times[len(times)-1], rule); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// Whenever a plugin fails, it is started again: after a wait that is neither zero nor longer than max_backoff with its
// jitter, that grows while failures follow each other, and that starts small again after a quiet window.
func TestAFailedPluginIsAlwaysStartedAgain(t *testing.T) {
	policy := config.DefaultPlugin().Restart
	rapid.Check(t, func(t *rapid.T) {
		f := newFailures(policy)
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range rapid.IntRange(1, 60).Draw(t, "failures") {
			pause := time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second
			now = now.Add(pause)
			wait, looping := f.next(now, false)
			if wait <= 0 || wait > policy.MaxBackoff*14/10 {
				t.Fatalf("wait %v", wait)
			}
			if pause > policy.CrashLoop.Window && wait > policy.InitialBackoff*14/10 {
				t.Fatalf("after %v of quiet the wait was %v", pause, wait)
			}
			if looping && wait < policy.MaxBackoff {
				t.Fatalf("a crash loop waited only %v", wait)
			}
			now = now.Add(wait)
		}
	})
}

func TestFailuresInARowWaitLonger(t *testing.T) {
	policy := config.DefaultPlugin().Restart
	policy.CrashLoop.Failures = 1000
	f := newFailures(policy)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, _ := f.next(now, false)
	var last time.Duration
	for range 5 {
		last, _ = f.next(now, false)
	}
	if last < 4*first {
		t.Errorf("the first wait was %v, the sixth %v", first, last)
	}
}

// Sound ends do not make the wait after a failed start longer, though they count for the crash loop.
func TestAFailedStartAfterManySoundEndsIsTheFirst(t *testing.T) {
	policy := config.DefaultPlugin().Restart
	f := newFailures(policy)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range policy.CrashLoop.Failures {
		f.next(now, true)
		now = now.Add(time.Second)
	}
	if wait, looping := f.next(now, true); !looping || wait < policy.MaxBackoff {
		t.Errorf("as long as nobody waits for it, a plugin that ends again and again waits %v (looping %v)", wait, looping)
	}
	if wait, looping := f.next(now, false); !looping || wait > policy.InitialBackoff*14/10 {
		t.Errorf("the first failed start waits %v (looping %v)", wait, looping)
	}
	for range policy.CrashLoop.Failures - 2 {
		f.next(now, false)
	}
	if wait, _ := f.next(now, false); wait < policy.MaxBackoff {
		t.Errorf("a loop of failed starts waits %v", wait)
	}
}
