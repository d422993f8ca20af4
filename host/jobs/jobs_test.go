package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// do begins a creation, and waits for it until ctx ends. repeated says that another had begun it.
func do(ctx context.Context, creates *Creates, attempt string, create func() Outcome) (answer []byte, repeated bool, err error) {
	n, begun := creates.Begin(Identify(attempt), nil, func(*Creation) Outcome { return create() })
	select {
	case <-n.Done():
		return n.Outcome().Answer, !begun, n.Outcome().Err
	case <-ctx.Done():
		return nil, !begun, ctx.Err()
	}
}

func answered(text string) Outcome { return Outcome{Made: Made{Answer: []byte(text)}} }

func TestDifferentPartsAreDifferentJobs(t *testing.T) {
	parts := rapid.SliceOf(rapid.SampledFrom([]string{"", "a", "b", "ab", "\x00", "\x01a"}))
	rapid.Check(t, func(t *rapid.T) {
		one, other := parts.Draw(t, "one"), parts.Draw(t, "other")
		if same := fmt.Sprintf("%q", one) == fmt.Sprintf("%q", other); (Identify(one...) == Identify(other...)) != same {
			t.Fatalf("%q and %q", one, other)
		}
	})
}

func TestTheLastStatusOfAJobIsKnownWithItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		statuses, job := NewStatuses(1<<20), Identify("job")
		if _, ok := statuses.Last(job); ok {
			t.Error("something is known of a job that nothing was said of")
		}
		answer := []byte("running")
		statuses.Answered(job, answer, false)
		copy(answer, "garbage")
		time.Sleep(12 * time.Second)
		if got, ok := statuses.Last(job); !ok || string(got.Answer) != "running" || got.Age != 12*time.Second || got.Failing != 0 || got.Ended {
			t.Errorf("got %+v, %v", got, ok)
		}
		statuses.Answered(job, []byte("running"), false)
		time.Sleep(time.Second)
		if got, _ := statuses.Last(job); got.Age != time.Second {
			t.Errorf("the same answer again: %+v", got)
		}
		statuses.Answered(job, []byte("done"), true)
		if got, _ := statuses.Last(job); string(got.Answer) != "done" || !got.Ended {
			t.Errorf("another answer: %+v", got)
		}
		statuses.Forget(job)
		if got, ok := statuses.Last(job); ok {
			t.Errorf("forgotten: %+v", got)
		}
	})
}

func TestFailuresAreTimedFromTheFirstUntilAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		statuses, known, unknown := NewStatuses(1<<20), Identify("known"), Identify("unknown")
		statuses.Answered(known, []byte("running"), false)
		for i := range 5 {
			time.Sleep(time.Minute)
			since := time.Duration(i) * time.Minute
			if got := statuses.Failed(known, 0); got.Failing != since || got.Age != since+time.Minute || string(got.Answer) != "running" {
				t.Errorf("failure %d: %+v", i, got)
			}
			if got := statuses.Failed(unknown, 0); got.Failing != since || got.Answer != nil {
				t.Errorf("failure %d of what is not known: %+v", i, got)
			}
		}
		if got, ok := statuses.Last(unknown); ok {
			t.Errorf("a failure is not an answer: %+v", got)
		}
		for _, job := range []ID{known, unknown} {
			statuses.Answered(job, []byte("running"), false)
			time.Sleep(time.Minute)
			if got := statuses.Failed(job, 0); got.Failing != 0 || got.Age != time.Minute {
				t.Errorf("the first failure after an answer: %+v", got)
			}
		}
	})
}

func TestFailuresThatComeFarApartAreNotCountedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		statuses, job, other := NewStatuses(1<<20), Identify("job"), Identify("other")
		for i, want := range []time.Duration{0, time.Minute, 2 * time.Minute} {
			if got := statuses.Failed(job, time.Minute); got.Failing != want {
				t.Errorf("failure %d: %+v", i, got)
			}
			time.Sleep(time.Minute)
		}
		statuses.Failed(other, 0)
		time.Sleep(time.Second)
		if got := statuses.Failed(job, time.Minute); got.Failing != 0 {
			t.Errorf("after a pause: %+v", got)
		}
		if got := statuses.Failed(job, time.Minute); got.Failing != 0 {
			t.Errorf("at once: %+v", got)
		}
		time.Sleep(time.Hour)
		if got := statuses.Failed(other, 0); got.Failing != time.Hour+time.Second {
			t.Errorf("without a limit: %+v", got)
		}
	})
}

func TestAnEmptyAnswerIsAnAnswer(t *testing.T) {
	statuses := NewStatuses(1 << 20)
	statuses.Answered(Identify("job"), nil, false)
	if got, ok := statuses.Last(Identify("job")); !ok || got.Answer == nil {
		t.Errorf("%+v, %v", got, ok)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	statuses, creates := NewStatuses(1<<20), NewCreates(1<<20, time.Hour)
	answer := make([]byte, 1000)
	for i := range 20_000 {
		id := Identify(fmt.Sprint(i))
		statuses.Answered(id, answer, false)
		if _, _, err := do(t.Context(), creates, fmt.Sprint(i), func() Outcome { return Outcome{Made: Made{Answer: answer, Job: id}} }); err != nil {
			t.Fatal(err)
		}
	}
	statuses.entries.CleanUp()
	creates.ended.CleanUp()
	for name, size := range map[string]uint64{"statuses": statuses.entries.WeightedSize(), "creates": creates.ended.WeightedSize()} {
		if size > 1<<20 || size < 1<<19 {
			t.Errorf("%d bytes of %s are kept, of 1 MiB", size, name)
		}
	}
}

func TestAllWhoAskForOneCreationGetTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creates := NewCreates(1<<20, 15*time.Minute)
		var calls, first atomic.Int32
		ask := func() {
			answer, repeated, err := do(t.Context(), creates, "attempt", func() Outcome {
				time.Sleep(5 * time.Second)
				return answered(fmt.Sprint("job ", calls.Add(1)))
			})
			if err != nil || string(answer) != "job 1" {
				t.Errorf("%q, %v", answer, err)
			}
			if !repeated {
				first.Add(1)
			}
		}
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond) // half of them while it is under way
				ask()
			})
		}
		all.Wait()
		if calls.Load() != 1 || first.Load() != 1 {
			t.Errorf("%d creations, %d callers had the first", calls.Load(), first.Load())
		}
		time.Sleep(15 * time.Minute)
		answer, repeated, err := do(t.Context(), creates, "attempt", func() Outcome { return answered("job 2") })
		if err != nil || repeated || string(answer) != "job 2" {
			t.Errorf("after its time: %q, %v, %v", answer, repeated, err)
		}
	})
}

func TestACreationGoesOnWithoutItsCallersAndARetryGetsItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creates := NewCreates(1<<20, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := do(ctx, creates, "attempt", func() Outcome {
			time.Sleep(10 * time.Second)
			return answered("job 1")
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		answer, repeated, err := do(t.Context(), creates, "attempt", func() Outcome {
			t.Error("it was made again")
			return Outcome{}
		})
		if err != nil || !repeated || string(answer) != "job 1" {
			t.Errorf("%q, %v, %v", answer, repeated, err)
		}
	})
}

func TestAFailedCreationIsNotRemembered(t *testing.T) {
	creates := NewCreates(1<<20, time.Minute)
	failure := errors.New("no")
	if _, _, err := do(t.Context(), creates, "attempt", func() Outcome { return Outcome{Err: failure, Harmless: true} }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	answer, repeated, err := do(t.Context(), creates, "attempt", func() Outcome { return answered("job 1") })
	if err != nil || repeated || string(answer) != "job 1" {
		t.Errorf("%q, %v, %v", answer, repeated, err)
	}
}

func TestAJobThatIsGoneIsMadeAgain(t *testing.T) {
	creates, calls := NewCreates(1<<20, time.Minute), 0
	for i, want := range []string{"job 1", "job 1", "job 2"} {
		if i == 2 {
			creates.Gone(Identify("another"))
			creates.Gone(Identify("job 1"))
		}
		answer, _, err := do(t.Context(), creates, "attempt", func() Outcome {
			calls++
			name := fmt.Sprint("job ", calls)
			return Outcome{Made: Made{Answer: []byte(name), Job: Identify(name)}}
		})
		if err != nil || string(answer) != want {
			t.Errorf("call %d: %q, %v; want %q", i, answer, err, want)
		}
	}
}

func TestWhoWaitedForACreationHearsWhetherItsFailureWasHarmless(t *testing.T) {
	for _, harmless := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			creates := NewCreates(1<<20, time.Minute)
			failure := errors.New("no")
			create := func(*Creation) Outcome {
				time.Sleep(time.Second)
				return Outcome{Err: failure, Harmless: harmless, Unknown: !harmless}
			}
			first, _ := creates.Begin(Identify("attempt"), nil, create)
			second, begun := creates.Begin(Identify("attempt"), nil, create)
			if got := second.Outcome(); begun || got.Harmless != harmless || !errors.Is(got.Err, failure) || first != second {
				t.Errorf("harmless %v: %+v", harmless, got)
			}
			if _, begun := creates.Begin(Identify("attempt"), nil, create); begun != harmless { // nobody knows what the other has made
				t.Errorf("harmless %v: it was begun again: %v", harmless, begun)
			}
			time.Sleep(time.Second)
		})
	}
}

func TestACreationOnRecordGoesOnAndItsEndIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creates, failure := NewCreates(1<<20, time.Minute), errors.New("no")
		n, _ := creates.Begin(Identify("attempt"), "about", func(n *Creation) Outcome {
			n.Wait("nobody is there")
			n.Offer([]byte("record"))
			n.Offer([]byte("another record"))
			time.Sleep(time.Second)
			return Outcome{Err: failure}
		})
		<-n.Offered()
		now := time.Now()
		if got := n.Accept(now); string(got) != "record" {
			t.Errorf("accepted %q", got)
		}
		n.Accept(now.Add(time.Second)) // by another who waits
		if at, ok := n.Accepted(); !ok || !at.Equal(now) {
			t.Errorf("accepted at %v, %v", at, ok)
		}
		if all := creates.UnderWay(); len(all) != 1 || all[0] != n || n.About() != "about" || n.Waits() != "nobody is there" {
			t.Errorf("under way: %v, %q", all, n.Waits())
		}
		<-n.Done()
		if again := creates.Lookup(n.ID); again != n || !errors.Is(again.Outcome().Err, failure) || len(creates.UnderWay()) != 0 {
			t.Errorf("after its end: %v", again)
		}
		time.Sleep(2 * time.Minute)
		if creates.Lookup(n.ID) != nil {
			t.Error("it is remembered for ever")
		}
	})
}

func TestWhoSeesTheEndOfACreationCanHaveItForgotten(t *testing.T) {
	creates := NewCreates(1<<20, time.Minute)
	for i := range 1_000 {
		job := Identify("job", fmt.Sprint(i))
		n, _ := creates.Begin(Identify("attempt", fmt.Sprint(i)), nil, func(*Creation) Outcome { return Outcome{Made: Made{Job: job}} })
		for ended := false; !ended; {
			select {
			case <-n.Done():
				ended = true
			default:
			}
		}
		creates.Gone(job)
		if creates.Lookup(n.ID) != nil {
			t.Fatalf("creation %d is remembered, whose job is gone", i)
		}
	}
}

// Its end was decided on without anybody being on record: who took the record then would wait, and not hear how it ended.
func TestARecordIsNotTakenOnceItsCreationHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creates := NewCreates(1<<20, time.Minute)
		n, _ := creates.Begin(Identify("attempt"), "about", func(n *Creation) Outcome {
			n.Offer([]byte("record"))
			n.Attach("what belongs to it")
			return Outcome{Err: errors.New("no"), Harmless: true}
		})
		<-n.Done()
		if record := n.Accept(time.Now()); record != nil {
			t.Errorf("accepted %q", record)
		}
		if _, accepted := n.Accepted(); accepted || creates.Lookup(n.ID) != nil {
			t.Error("the creation is on record after its end")
		}
		if n.About() != nil || n.Attached() != nil || !n.Begun().IsZero() {
			t.Error("what only its making needed is kept")
		}
	})
}

func TestAnAbandonedCreationIsStoppedAndNotBegunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creates := NewCreates(1<<20, time.Minute)
		n, _ := creates.Begin(Identify("attempt"), nil, func(n *Creation) Outcome {
			ctx, cancel := context.WithCancelCause(t.Context())
			n.OnStop(cancel)
			<-ctx.Done()
			time.Sleep(time.Second)
			return Outcome{Made: Made{Answer: []byte("too late")}, Err: context.Cause(ctx)}
		})
		synctest.Wait()
		creates.Abandon(n.ID)
		creates.Abandon(Identify("another")) // which nobody has begun
		if !errors.Is(n.Outcome().Err, ErrAbandoned) {
			t.Errorf("it ended with %v", n.Outcome().Err)
		}
		for _, id := range []ID{n.ID, Identify("another")} {
			again, begun := creates.Begin(id, nil, func(*Creation) Outcome { return answered("made") })
			if begun || !errors.Is(again.Outcome().Err, ErrAbandoned) {
				t.Errorf("begun again: %v, %+v", begun, again.Outcome())
			}
		}
	})
}

// A resource_meta may be as long as a message, and another may look like the digest of one.
func TestEachMetaHasIDsOfItsOwn(t *testing.T) {
	long := bytes.Repeat([]byte("m"), 64<<10)
	sum := sha256.Sum256(long)
	seen := map[ID]string{}
	for what, meta := range map[string][]byte{
		"none": nil, "one": []byte("m"), "a long one": long, "its digest": sum[:],
		"another long one": append(bytes.Clone(long[1:]), 'n'),
	} {
		for _, parts := range [][]string{nil, {""}, {"type"}, {"type", ""}, {"type", "prefix"}, {"typeprefix"}} {
			id := MetaOf(meta).ID(parts...)
			if id != MetaOf(bytes.Clone(meta)).ID(parts...) {
				t.Errorf("%s with %q has two IDs", what, parts)
			}
			about := fmt.Sprintf("%s with %q", what, parts)
			if other, ok := seen[id]; ok {
				t.Errorf("%s and %s have one ID", about, other)
			}
			seen[id] = about
		}
	}
}
