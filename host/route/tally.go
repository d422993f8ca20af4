package route

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Call is a kind of call on a plugin: generations are compared kind by kind, because polls are quick and creations are not.
type Call uint8

// The kinds.
const (
	// CallOther is any call that is none of the others, such as for logs.
	CallOther Call = iota
	// CallCreate makes a job.
	CallCreate
	// CallPoll asks for the status of a job.
	CallPoll
	// CallDelete ends a job.
	CallDelete
	// CallExecute is a whole job: ExecuteTaskSync.
	CallExecute

	callKinds = iota
)

// Calls are all kinds.
var Calls = [callKinds]Call{CallCreate, CallPoll, CallDelete, CallExecute, CallOther}

func (c Call) String() string {
	return [...]string{"other", "create", "poll", "delete", "execute"}[c]
}

// Outcome is what a call on a plugin came to.
type Outcome uint8

// The outcomes.
const (
	// OutcomeOK is an answer. It may be that a job has failed: the agent did its work.
	OutcomeOK Outcome = iota
	// OutcomeRejected is an error with which a sound agent answers a request that it cannot serve: the fault is not the plugin's.
	OutcomeRejected
	// OutcomeError is the plugin's fault, whatever Flyte heard in its place.
	OutcomeError
	// OutcomeCanceled says nothing of the plugin: the caller has gone, or the host was in the way.
	OutcomeCanceled

	outcomes = iota
)

// Outcomes are all of them.
var Outcomes = [outcomes]Outcome{OutcomeOK, OutcomeRejected, OutcomeError, OutcomeCanceled}

func (o Outcome) String() string {
	return [...]string{"ok", "rejected", "error", "canceled"}[o]
}

// Tally counts what the calls on a generation came to and how long they took. The zero value is empty. Whoever counts takes no lock
// and no memory; one who reads meanwhile may see a call in one of the counts and not yet in another.
type Tally struct{ kinds [callKinds]tally }

type tally struct {
	outcomes [outcomes]atomic.Uint64
	nanos    atomic.Uint64 // of all that are no OutcomeCanceled, as those in buckets
	buckets  [buckets]atomic.Uint64
}

// Tell counts a call that has ended. A nil Tally counts nothing.
func (t *Tally) Tell(call Call, outcome Outcome, took time.Duration) {
	if t == nil {
		return
	}
	k := &t.kinds[call]
	k.outcomes[outcome].Add(1)
	if outcome == OutcomeCanceled {
		return
	}
	took = max(took, 0)
	k.nanos.Add(uint64(took))
	k.buckets[bucketOf(took)].Add(1)
}

// Counts is what has been counted so far.
func (t *Tally) Counts() Counts {
	var c Counts
	for i := range t.kinds {
		from, to := &t.kinds[i], &c.kinds[i]
		for n := range to.outcomes {
			to.outcomes[n] = from.outcomes[n].Load()
		}
		to.nanos = from.nanos.Load()
		for n := range to.buckets {
			to.buckets[n] = from.buckets[n].Load()
		}
	}
	return c
}

// Counts is what a Tally had counted at one moment, or between two. The zero value is nothing.
type Counts struct{ kinds [callKinds]counts }

type counts struct {
	outcomes [outcomes]uint64
	nanos    uint64
	buckets  [buckets]uint64
}

// Since is what was counted after an earlier moment of the same Tally.
func (c Counts) Since(earlier *Counts) Counts {
	for i := range c.kinds {
		k, e := &c.kinds[i], &earlier.kinds[i]
		for n := range k.outcomes {
			k.outcomes[n] -= e.outcomes[n]
		}
		k.nanos -= e.nanos
		for n := range k.buckets {
			k.buckets[n] -= e.buckets[n]
		}
	}
	return c
}

// Plus is both together.
func (c Counts) Plus(other *Counts) Counts {
	for i := range c.kinds {
		k, o := &c.kinds[i], &other.kinds[i]
		for n := range k.outcomes {
			k.outcomes[n] += o.outcomes[n]
		}
		k.nanos += o.nanos
		for n := range k.buckets {
			k.buckets[n] += o.buckets[n]
		}
	}
	return c
}

// Of is the part that is of one kind of call.
func (c *Counts) Of(call Call) Counts {
	var part Counts
	part.kinds[call] = c.kinds[call]
	return part
}

// With is how many calls had an outcome.
func (c *Counts) With(outcome Outcome) (n uint64) {
	for i := range c.kinds {
		n += c.kinds[i].outcomes[outcome]
	}
	return n
}

// Calls is how many calls say something of the plugin: all but OutcomeCanceled.
func (c *Counts) Calls() uint64 {
	return c.With(OutcomeOK) + c.With(OutcomeRejected) + c.With(OutcomeError)
}

// Errors is how many of them failed by the plugin's fault.
func (c *Counts) Errors() uint64 { return c.With(OutcomeError) }

// ErrorRate is what part of the calls failed by the plugin's fault; 0 where there was none.
func (c *Counts) ErrorRate() float64 {
	calls := c.Calls()
	if calls == 0 {
		return 0
	}
	return float64(c.Errors()) / float64(calls)
}

// Took is the time of all Calls together.
func (c *Counts) Took() time.Duration {
	nanos := uint64(0)
	for i := range c.kinds {
		nanos += c.kinds[i].nanos
	}
	return time.Duration(nanos)
}

// Quantile is the time within which a part q of the calls ended, to a quarter; 0 where there was none.
func (c *Counts) Quantile(q float64) time.Duration {
	all := c.merged()
	total := uint64(0)
	for _, n := range all {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank, below := q*float64(total), uint64(0)
	for i, n := range all {
		if n > 0 && float64(below+n) >= rank {
			from, to := bounds(i)
			return from + time.Duration(float64(to-from)*max(rank-float64(below), 0)/float64(n))
		}
		below += n
	}
	return LongestBucket
}

// Cumulative is how many calls took less than each of BucketBounds.
func (c *Counts) Cumulative() [len(BucketBounds)]uint64 {
	var within [len(BucketBounds)]uint64
	all, n, next := c.merged(), uint64(0), 0
	for i := range BucketBounds {
		for ; next < bucketOf(BucketBounds[i]); next++ {
			n += all[next]
		}
		within[i] = n
	}
	return within
}

func (c *Counts) merged() (all [buckets]uint64) {
	for i := range c.kinds {
		for n, count := range c.kinds[i].buckets {
			all[n] += count
		}
	}
	return all
}

// Times are counted in buckets, four for each time that is twice another: what is read from them is off by a quarter at most. Powers of two
// of a millisecond are bounds of buckets.
const (
	bucketUnit = time.Millisecond / 64
	octaves    = 21 // beyond the first bucketUnits, of which there are four
	buckets    = 4 + 4*octaves + 1

	// LongestBucket is the time beyond which all times are as good as equal.
	LongestBucket = bucketUnit << (octaves + 2)
)

// BucketBounds are times that are bounds of buckets, few enough to be shown.
var BucketBounds = [...]time.Duration{
	time.Millisecond / 2, 1 * time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 8 * time.Millisecond, 16 * time.Millisecond,
	32 * time.Millisecond, 64 * time.Millisecond, 128 * time.Millisecond, 256 * time.Millisecond, 512 * time.Millisecond, 1024 * time.Millisecond,
	2048 * time.Millisecond, 4096 * time.Millisecond, 8192 * time.Millisecond, 16384 * time.Millisecond, 32768 * time.Millisecond, 65536 * time.Millisecond,
}

func bucketOf(took time.Duration) int {
	units := uint64(took / bucketUnit)
	if units < 4 {
		return int(units)
	}
	octave := bits.Len64(units) - 1 // 2 at least
	return min((octave-1)*4+int(units>>(octave-2)&3), buckets-1)
}

// bounds are the times that a bucket holds, the second one excluded.
func bounds(bucket int) (from, to time.Duration) {
	if bucket < 4 {
		return time.Duration(bucket) * bucketUnit, time.Duration(bucket+1) * bucketUnit
	}
	width := bucketUnit << (bucket/4 - 1)
	from = time.Duration(4+bucket%4) * width
	return from, from + width
}

// Percent is a rate for people.
func Percent(rate float64) string { return fmt.Sprintf("%.1f %%", 100*rate) }
