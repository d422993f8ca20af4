package wait_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/test/wait"
)

// recorder is a test that can fail without failing this one.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestUntilWaitsForAConditionAndNoLongerThanThreeMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for after, want := range map[time.Duration]string{
			0: "", 30 * time.Second: "", time.Hour: "waited 3m0s in vain until it is time",
		} {
			began := time.Now()
			r := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				wait.Until(r, "it is time", func() bool { return time.Since(began) >= after })
			}()
			<-done
			if took := time.Since(began); r.failure != want || took < min(after, 3*time.Minute) || took > 3*time.Minute {
				t.Errorf("what takes %v is waited for %v; failure %q, want %q", after, took, r.failure, want)
			}
		}
	})
}
