package throttle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/internal/throttle"
)

func TestWhatIsLeftOutIsCountedUntilTheNextThatMayPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttled := throttle.New(time.Second, 2)
		passed := 0
		for range 100 {
			if leftOut, ok := throttled.Allow(); ok {
				passed++
				if leftOut != 0 {
					t.Errorf("%d were left out before the first was", leftOut)
				}
			}
		}
		if passed != 2 {
			t.Errorf("%d of 100 passed at once, want 2", passed)
		}
		time.Sleep(time.Second)
		if leftOut, ok := throttled.Allow(); !ok || leftOut != 98 {
			t.Errorf("a second later: %v, %d were left out, want 98", ok, leftOut)
		}
		if leftOut, ok := throttled.Allow(); ok || leftOut != 0 {
			t.Errorf("at once after it: %v, %d", ok, leftOut)
		}
	})
}
