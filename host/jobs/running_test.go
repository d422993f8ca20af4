package jobs

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func countsOf(r *Running) map[Owner]Count {
	all := map[Owner]Count{}
	for _, c := range r.Counts() {
		all[c.Owner] = c
	}
	return all
}

// sweepAll has every shard swept.
func sweepAll(r *Running) {
	for range runningShards {
		r.Sweep()
	}
}

func TestJobsAreCountedWithWhoWasAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRunning(1 << 20)
		one, two := r.Key("sql", []byte("1")), r.Key("sql", []byte("2"))
		old, current := Owner{"db", "old"}, Owner{"db", "current"}
		began := time.Now()
		r.Heard(one, old, 0)
		r.Heard(two, Owner{"db", ""}, 1<<15) // on record: nobody was asked yet
		time.Sleep(2 * time.Minute)
		r.Heard(two, current, 1<<15)
		r.Heard(one, old, 1<<5)
		r.Heard(one, Owner{"db", ""}, 1<<14) // answered from memory
		got := countsOf(r)
		if c := got[old]; c.Running != 1 || c.Oldest != began || c.Saved[5] != 1 || c.Saved[14] != 1 {
			t.Errorf("the old generation: %+v", c)
		}
		if c := got[current]; c.Running != 1 || c.Oldest != began || c.Saved[15] != 0 {
			t.Errorf("the current one: %+v", c)
		}
		if c := got[Owner{"db", ""}]; c.Running != 0 || !c.Oldest.IsZero() || c.Saved[15] != 1 {
			t.Errorf("before anybody was asked: %+v", c)
		}
		r.Heard(one, current, 0) // swapped, and not pinned
		r.Ended(two, current, 1<<6)
		r.Ended(two, current, 0) // deleted
		if c := countsOf(r)[current]; c.Running != 1 || c.Saved[6] != 1 || countsOf(r)[old].Running != 0 {
			t.Errorf("after a swap and an end: %+v", countsOf(r))
		}
		r.Ended(r.Key("sql", []byte("not seen before")), current, 1<<7)
		if c := countsOf(r)[current]; c.Running != 1 || c.Saved[7] != 1 {
			t.Errorf("the end of a job that was not known: %+v", c)
		}
	})
}

func TestSilentJobsAreNotCountedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, owner := NewRunning(1<<20), Owner{"db", "g"}
		silent, heard := r.Key("sql", []byte("ended elsewhere")), r.Key("sql", []byte("polled"))
		r.Heard(silent, owner, 0)
		time.Sleep(10 * time.Minute)
		began := time.Now()
		for range 3 {
			r.Heard(heard, owner, 0)
			sweepAll(r)
			if got := countsOf(r)[owner].Running; time.Since(began) < 5*time.Minute && got != 2 {
				t.Errorf("%d run while both are heard of", got)
			}
			time.Sleep(3 * time.Minute)
		}
		if c := countsOf(r)[owner]; c.Running != 1 || c.Oldest != began {
			t.Errorf("%+v, want one since %v", c, began)
		}
	})
}

func TestThereIsABoundToJobsAndOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRunning(10 * runningShards)
		for i := range 100 * runningShards {
			r.Heard(r.Key("sql", fmt.Append(nil, i)), Owner{"db", "g"}, 0)
		}
		if got := countsOf(r)[Owner{"db", "g"}].Running; got != 10*runningShards || !r.Full() {
			t.Errorf("%d jobs are counted, full: %v", got, r.Full())
		}
		time.Sleep(time.Hour)
		if sweepAll(r); r.Full() || countsOf(r)[Owner{"db", "g"}].Running != 0 {
			t.Error("it is full for ever")
		}
		busy := Owner{"db", "busy"}
		r.Heard(r.Key("sql", []byte("stays")), busy, 0)
		for i := range 3 * maxOwners {
			time.Sleep(time.Second)
			job := r.Key("sql", []byte("short"))
			r.Heard(job, Owner{"db", fmt.Sprint(i)}, 0)
			r.Ended(job, Owner{"db", fmt.Sprint(i)}, 0)
		}
		got := countsOf(r)
		if _, last := got[Owner{"db", fmt.Sprint(3*maxOwners - 1)}]; len(got) > maxOwners || got[busy].Running != 1 || !last || len(*r.list.Load()) > maxOwners {
			t.Errorf("%d owners in %d places, the one with a job: %+v", len(got), len(*r.list.Load()), got[busy])
		}
	})
}

func TestCountsAreWhatAScanWouldCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRunning(1 << 20)
		r.start = r.start.Add(-24 * time.Hour)
		type job struct {
			owner Owner
			began uint32
		}
		known := map[int]job{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, 20).Draw(t, "job")
			key, owner := r.Key("sql", fmt.Append(nil, i)), Owner{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "plugin"), rapid.SampledFrom([]string{"g1", "g2"}).Draw(t, "generation")}
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				r.Ended(key, owner, 0)
				delete(known, i)
			case 1:
				r.start = r.start.Add(-time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second)
			default:
				r.Heard(key, owner, 0)
				if j, ok := known[i]; ok {
					known[i] = job{owner, j.began}
				} else {
					known[i] = job{owner, r.now()}
				}
			}
			want := map[Owner]Count{}
			for j := range maps.Values(known) {
				c := want[j.owner]
				if oldest := r.start.Add(time.Duration(j.began/60) * time.Minute); c.Running == 0 || oldest.Before(c.Oldest) {
					c.Oldest = oldest
				}
				c.Owner = j.owner
				c.Running++
				want[j.owner] = c
			}
			for owner, got := range countsOf(r) {
				if w := want[owner]; got.Running != w.Running || !got.Oldest.Equal(w.Oldest) {
					t.Fatalf("%v: %+v, want %+v", owner, got, w)
				}
				delete(want, owner)
			}
			if len(want) > 0 {
				t.Fatalf("not counted: %v", want)
			}
		}
	})
}

func TestJobsAreCountedFromEverywhereAtOnce(t *testing.T) {
	r := NewRunning(1 << 20)
	var busy sync.WaitGroup
	for worker := range 8 {
		busy.Go(func() {
			for i := range 3000 {
				job, owner := r.Key("sql", fmt.Append(nil, worker, i%100)), Owner{"db", fmt.Sprint(i % 7)}
				r.Heard(job, owner, uint32(1)<<(i%20))
				if i%3 == 0 {
					r.Ended(r.Key("sql", fmt.Append(nil, worker, i%50)), owner, 1)
				}
				if i%100 == 0 {
					r.Sweep()
					r.Counts()
				}
			}
			for i := range 100 {
				r.Ended(r.Key("sql", fmt.Append(nil, worker, i)), Owner{"db", "0"}, 0)
			}
		})
	}
	busy.Wait()
	for _, c := range r.Counts() {
		if c.Running != 0 {
			t.Errorf("%+v", c)
		}
	}
}

// manyJobs has a million jobs run, at four plugins of two generations each.
func manyJobs(of int) *Running {
	r := NewRunning(1 << 21)
	for i := range of {
		r.Heard(r.Key("sql", fmt.Append(nil, i)), Owner{fmt.Sprint("plugin ", i%4), fmt.Sprint("generation ", i/4%2)}, 1<<5)
	}
	return r
}

func TestCountsOfAMillionJobsCostAsMuchAsThoseOfEight(t *testing.T) {
	few, many := manyJobs(8), manyJobs(1_000_000)
	total := 0
	for _, c := range many.Counts() {
		total += c.Running
	}
	if total != 1_000_000 {
		t.Errorf("%d are counted", total)
	}
	allocations := func(r *Running) float64 { return testing.AllocsPerRun(10, func() { r.Counts() }) }
	if a, b := allocations(few), allocations(many); a != b {
		t.Errorf("%v allocations with 8 jobs, %v with a million", a, b)
	}
	cost := func(r *Running) time.Duration {
		best := time.Hour
		for range 20 {
			began := time.Now()
			r.Counts()
			best = min(best, time.Since(began))
		}
		return best
	}
	// A scan of a million takes ten thousand times as long as one of eight.
	if a, b := cost(few), cost(many); b > 20*a+time.Millisecond {
		t.Errorf("%v with 8 jobs, %v with a million", a, b)
	} else {
		t.Logf("%v with 8 jobs, %v with a million", a, b)
	}
	job, owner := many.Key("sql", []byte("5")), Owner{"plugin 1", "generation 1"}
	if a := testing.AllocsPerRun(100, func() { many.Heard(job, owner, 1<<5) }); a != 0 {
		t.Errorf("a poll allocates %v times", a)
	}
}
