package route

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestATallyCountsByOutcomeAndKind(t *testing.T) {
	var tally Tally
	var none *Tally
	none.Tell(CallPoll, OutcomeOK, time.Second)
	tally.Tell(CallPoll, OutcomeOK, time.Millisecond)
	tally.Tell(CallPoll, OutcomeError, 10*time.Second)
	tally.Tell(CallCreate, OutcomeRejected, 20*time.Millisecond)
	tally.Tell(CallExecute, OutcomeCanceled, time.Hour)
	before := tally.Counts()
	if before.Calls() != 3 || before.Errors() != 1 || before.With(OutcomeRejected) != 1 || before.With(OutcomeCanceled) != 1 {
		t.Errorf("got %d calls, %d errors, %d rejected, %d canceled", before.Calls(), before.Errors(), before.With(OutcomeRejected), before.With(OutcomeCanceled))
	}
	if took := before.Took(); took != 10*time.Second+21*time.Millisecond {
		t.Errorf("they took %v: the time of one that its caller gave up says nothing", took)
	}
	polls := before.Of(CallPoll)
	if polls.Calls() != 2 || polls.ErrorRate() != 0.5 {
		t.Errorf("%d polls, of which failed %v", polls.Calls(), polls.ErrorRate())
	}
	tally.Tell(CallPoll, OutcomeError, time.Second)
	since := tally.Counts().Since(&before)
	if since.Calls() != 1 || since.ErrorRate() != 1 || since.Took() != time.Second {
		t.Errorf("since then: %d calls, of which failed %v, in %v", since.Calls(), since.ErrorRate(), since.Took())
	}
	if both := since.Plus(&before); both != tally.Counts() {
		t.Error("before and since are not all")
	}
	if empty := (Counts{}); empty.ErrorRate() != 0 || empty.Quantile(0.99) != 0 {
		t.Error("there is an error rate, or a quantile, of nothing")
	}
}

func TestCountingTakesNoMemory(t *testing.T) {
	var tally Tally
	if n := testing.AllocsPerRun(100, func() { tally.Tell(CallPoll, OutcomeOK, 3*time.Millisecond) }); n > 0 {
		t.Errorf("a call that is counted takes %v allocations", n)
	}
}

// Every time is in the bucket that says so, buckets leave no gap, and those that are shown are some of them.
func TestBucketsHoldWhatTheySay(t *testing.T) {
	for i := 1; i < buckets; i++ {
		_, before := bounds(i - 1)
		if from, to := bounds(i); from != before || to <= from || i > 4 && float64(to-from)/float64(from) > 0.25 {
			t.Fatalf("bucket %d is from %v to %v, the one before to %v", i, from, to, before)
		}
	}
	for _, bound := range BucketBounds {
		if from, _ := bounds(bucketOf(bound)); from != bound {
			t.Errorf("%v is within a bucket, from %v", bound, from)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		took := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "time"))
		i := bucketOf(took)
		if from, to := bounds(i); took < from || took >= to && i != buckets-1 {
			t.Fatalf("%v is in the bucket from %v to %v", took, from, to)
		}
	})
}

// A quantile is no further from the truth than a quarter.
func TestQuantilesAreNearTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.Int64Range(int64(100*time.Microsecond), int64(100*time.Second)).Draw(t, "time")
		others := rapid.IntRange(0, 98).Draw(t, "quicker of a hundred")
		var tally Tally
		for i := range 100 {
			if i < others {
				tally.Tell(CallPoll, OutcomeOK, 0)
			} else {
				tally.Tell(CallPoll, OutcomeOK, time.Duration(took))
			}
		}
		counts := tally.Counts()
		if got := float64(counts.Quantile(0.99)) / float64(took); got < 0.75 || got > 1.25 {
			t.Fatalf("p99 of %v is %v", time.Duration(took), counts.Quantile(0.99))
		}
		cumulative := counts.Cumulative()
		for i, bound := range BucketBounds {
			want := uint64(others)
			if time.Duration(took) < bound {
				want = 100
			}
			if cumulative[i] != want {
				t.Fatalf("%d took less than %v, want %d", cumulative[i], bound, want)
			}
		}
	})
}

// BenchmarkTell is what counting adds to each call.
func BenchmarkTell(b *testing.B) {
	var tally Tally
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tally.Tell(CallPoll, OutcomeOK, 3*time.Millisecond)
		}
	})
}
