package jobs_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/jobs"
)

func TestPollsOfAJobThatAreNotAnsweredDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polls jobs.Polls
		job, other := jobs.Identify("job"), jobs.Identify("other")
		begin := func(id jobs.ID, want bool) {
			t.Helper()
			if got := polls.Begin(id); got != want {
				t.Fatalf("Begin gave %v", got)
			}
		}
		for range 10 { // fast ones may be many
			begin(job, true)
		}
		for range 8 {
			polls.End(job, false)
		}
		time.Sleep(2 * time.Second)
		begin(job, false)
		begin(other, true)

		polls.End(job, false) // one hangs, and the next gets its chance
		begin(job, true)
		begin(job, false)
		polls.End(job, true) // it was answered
		begin(job, true)
		begin(job, true)
		time.Sleep(2 * time.Second)
		begin(job, false)
		for range 3 {
			polls.End(job, false)
		}
		begin(job, true)
	})
}
