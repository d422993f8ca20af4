// Package series remembers the last hour of each plugin in small steps, for the charts of people who look at one host: what its calls came
// to, its memory, and its calls under way. It is bounded memory that dies with the host; Prometheus keeps what has to last.
package series

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// buckets is how many classes of times calls are counted in. The first is up to firstBucket, and each is twice as wide as the one
	// before; the last has all that take longer.
	buckets     = 20
	firstBucket = 256 * time.Microsecond
)

// Tally counts the calls of one plugin since the host's start. Its methods may be called at any time from anywhere.
type Tally struct {
	failed atomic.Uint64
	nanos  atomic.Int64
	times  [buckets]atomic.Uint64
}

// Add counts a call that has ended.
func (t *Tally) Add(took time.Duration, failed bool) {
	t.times[bucketOf(took)].Add(1)
	t.nanos.Add(int64(took))
	if failed {
		t.failed.Add(1)
	}
}

// Calls is how many calls have ended, and how many of these failed.
func (t *Tally) Calls() (all, failed uint64) {
	c := t.counts()
	return c.calls(), c.failed
}

func bucketOf(took time.Duration) int {
	if took <= firstBucket {
		return 0
	}
	return min(bits.Len64(uint64((took-1)/firstBucket)), buckets-1)
}

// counts are what a tally held at a moment.
type counts struct {
	failed uint64
	nanos  int64
	times  [buckets]uint64
}

func (t *Tally) counts() counts {
	c := counts{failed: t.failed.Load(), nanos: t.nanos.Load()}
	for i := range t.times {
		c.times[i] = t.times[i].Load()
	}
	return c
}

// since is what was counted after before.
func (c counts) since(before counts) counts {
	c.failed -= before.failed
	c.nanos -= before.nanos
	for i := range c.times {
		c.times[i] -= before.times[i]
	}
	return c
}

func (c counts) calls() (all uint64) {
	for _, n := range c.times {
		all += n
	}
	return all
}

// mean is how long a call took.
func (c counts) mean() time.Duration {
	if calls := c.calls(); calls > 0 {
		return time.Duration(c.nanos / int64(calls))
	}
	return 0
}

// p95 is what 95 of 100 calls took no longer than, as far as the buckets tell: it may be twice as much as it really was, and no less than
// half.
func (c counts) p95() time.Duration {
	calls := c.calls()
	if calls == 0 {
		return 0
	}
	rank := (calls*95 + 99) / 100
	var below uint64
	for i, n := range c.times {
		if below+n < rank {
			below += n
			continue
		}
		from, to := time.Duration(0), firstBucket<<i
		if i > 0 {
			from = firstBucket << (i - 1)
		}
		return from + time.Duration(float64(to-from)*float64(rank-below)/float64(n))
	}
	return firstBucket << (buckets - 1)
}

// Tallies are those of all plugins, by name. The zero value is ready, and its methods may be called at any time from anywhere.
type Tallies struct{ byName sync.Map }

// Of is the tally of a plugin.
func (t *Tallies) Of(plugin string) *Tally {
	if known, ok := t.byName.Load(plugin); ok {
		return known.(*Tally)
	}
	known, _ := t.byName.LoadOrStore(plugin, &Tally{})
	return known.(*Tally)
}

// sum is what all of them hold.
func (t *Tallies) sum() (all counts) {
	t.byName.Range(func(_, tally any) bool {
		c := tally.(*Tally).counts()
		all.failed += c.failed
		all.nanos += c.nanos
		for i, n := range c.times {
			all.times[i] += n
		}
		return true
	})
	return all
}
