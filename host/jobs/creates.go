package jobs

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

// Creates sees to it that one job is made for one attempt, however often it is asked for: who asks while it is being
// made waits for it, and who asks soon after gets the answer that the first one got. Its methods may be called at any
// time from anywhere.
type Creates struct {
	keep time.Duration

	mu       sync.Mutex
	underWay map[ID]*Creation
	ended    *otter.Cache[ID, *Creation]
	// attempts are the creations that jobs came from.
	attempts *otter.Cache[ID, ID]
}

// Made is a job that was made.
type Made struct {
	// Answer is what the caller is told. It must not be changed.
	Answer []byte
	// Meta is the plugin's own name for the job, and Generation the one that the job must be polled at; empty: any may do that.
	Meta       []byte
	Generation string
	// Name stands for the resource_meta in Answer; zero where nobody has read it.
	Name Meta
	// Job names the job, for Gone.
	Job ID
	// End is the Resource of a task that has ended without a job to poll; nil otherwise.
	End []byte
	// Trace refers to the trace of the call that the job was made for; nil where there is none.
	Trace []byte
}

// Outcome is how a creation ended: with a job, or with an error.
type Outcome struct {
	Made
	Err error
	// Harmless says, beside an error, that nothing can have been made: those who waited may try again.
	Harmless bool
	// Unknown says, beside an error, that nobody knows whether a job was made: the creation must not be begun again.
	Unknown bool
}

// ErrAbandoned is how a creation ends that was abandoned.
var ErrAbandoned = errors.New("the task was deleted")

// Creation is the making of one job. Whoever asks for the job holds it, and so does what makes it.
type Creation struct {
	// ID is the attempt's.
	ID ID

	// outcome is set before making becomes nil, for good.
	outcome Outcome
	at      time.Time // of the end

	mu            sync.Mutex
	making        *making
	accepted      time.Time
	claimed, left bool
}

// making is what only a creation under way needs: ends are remembered by the thousand.
type making struct {
	begun    time.Time
	done     chan struct{} // closed by the end
	offered  chan struct{} // closed by Offer
	cancel   context.CancelCauseFunc
	stopped  error // by Abandon
	record   []byte
	waits    string
	about    any // with the call that brought it, and its whole request
	attached any
}

// closed is the channel of what has happened.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// NewCreates returns a memory of at most maxBytes that keeps an answer for the time keep, or less where there are too many.
func NewCreates(maxBytes uint64, keep time.Duration) *Creates {
	return &Creates{
		keep:     keep,
		underWay: map[ID]*Creation{},
		ended: otter.Must(&otter.Options[ID, *Creation]{
			MaximumWeight: maxBytes,
			Weigher: func(_ ID, c *Creation) uint32 {
				return createBytes + uint32(len(c.outcome.Answer)) + uint32(len(c.outcome.Meta)) + uint32(len(c.outcome.Trace))
			},
		}),
		attempts: otter.Must(&otter.Options[ID, ID]{MaximumSize: int(maxBytes / createBytes)}),
	}
}

// createBytes is what the end of a creation takes besides its answer, about.
const createBytes = 576

// Begin returns the creation named id: the one that is under way, an earlier one whose end is remembered, or else a new one,
// which create makes in a goroutine of its own. begun says that it is new.
//
// create does not end with whoever asked first, since others may be waiting for it and a repetition may come: it has to see
// to its own end. Its failures are told to all who wait for it and then forgotten, but for those that may have made a job all
// the same (Unknown) and those of creations that are on record: who asks again is told of them again.
func (c *Creates) Begin(id ID, about any, create func(*Creation) Outcome) (n *Creation, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n = c.lookup(id); n != nil {
		return n, false
	}
	n = &Creation{ID: id, making: &making{begun: time.Now(), about: about, done: make(chan struct{}), offered: make(chan struct{})}}
	c.underWay[id] = n // G4
	go func() {
		growStack()
		c.end(n, create(n))
	}()
	return n, true
}

// growStack has the goroutine's stack be as large as a creation needs. Grown step by step below its calls, it would be copied
// three times, with all the frames that are on it by then, which took 7 % of the host's time under CreateTask.
//
//go:noinline
func growStack() {
	var frame [12 << 10]byte
	runtime.KeepAlive(&frame)
}

// end records how a creation ended. Nobody sees the end before it is remembered: who deletes the job at once has Gone forget it. Whoever
// has not taken a record by now gets the outcome.
func (c *Creates) end(n *Creation, outcome Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	done, onRecord := n.making.done, !n.accepted.IsZero()
	n.outcome, n.at, n.making = outcome, time.Now(), nil
	if c.underWay[n.ID] == n { // it was not abandoned
		delete(c.underWay, n.ID)
		switch {
		case outcome.Err == nil:
			c.ended.Set(n.ID, n)
			c.attempts.Set(outcome.Job, n.ID)
		case outcome.Unknown, onRecord && !outcome.Harmless:
			c.ended.Set(n.ID, n)
		}
	}
	close(done)
}

// Lookup returns the creation named id, under way or ended; nil where none is known.
func (c *Creates) Lookup(id ID) *Creation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookup(id)
}

func (c *Creates) lookup(id ID) *Creation {
	if n := c.underWay[id]; n != nil {
		return n
	}
	if n, ok := c.ended.GetIfPresent(id); ok && time.Since(n.at) < c.keep {
		return n
	}
	return nil
}

// Abandon ends the creation named id, if it is under way, and remembers that the attempt was given up. It does not wait for
// the end.
func (c *Creates) Abandon(id ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.underWay[id]; n != nil {
		delete(c.underWay, id)
		n.stop(ErrAbandoned)
	}
	c.ended.Set(id, &Creation{ID: id, outcome: Outcome{Err: ErrAbandoned}, at: time.Now()})
}

// UnderWay returns the creations that have not ended, the oldest first.
func (c *Creates) UnderWay() []*Creation {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*Creation, 0, len(c.underWay))
	for _, n := range c.underWay {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *Creation) int { return a.Begun().Compare(b.Begun()) })
	return all
}

// Gone forgets the creation of a job that was deleted: whoever asks for it again wants another.
func (c *Creates) Gone(job ID) {
	if id, ok := c.attempts.Invalidate(job); ok {
		c.ended.Invalidate(id)
	}
}

// Begun is the time of Begin; zero once the creation has ended.
func (n *Creation) Begun() (at time.Time) {
	n.whileMaking(func(m *making) { at = m.begun })
	return at
}

// whileMaking does something with what is there while the creation is under way, and nothing once it has ended.
func (n *Creation) whileMaking(do func(*making)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.making != nil {
		do(n.making)
	}
}

// Done is closed when the creation has ended.
func (n *Creation) Done() <-chan struct{} {
	done := closed
	n.whileMaking(func(m *making) { done = m.done })
	return done
}

// Outcome is how the creation ended; it waits for that.
func (n *Creation) Outcome() Outcome {
	<-n.Done()
	return n.outcome
}

// OnStop gives the creation the function that ends it before its time.
func (n *Creation) OnStop(cancel context.CancelCauseFunc) {
	n.whileMaking(func(m *making) {
		if m.cancel = cancel; m.stopped != nil {
			cancel(m.stopped)
		}
	})
}

func (n *Creation) stop(cause error) {
	n.whileMaking(func(m *making) {
		if m.stopped = cause; m.cancel != nil {
			m.cancel(cause)
		}
	})
}

// Offer gives those who wait a record of the creation, to take in the place of its answer. Only the first one counts.
func (n *Creation) Offer(record []byte) {
	n.whileMaking(func(m *making) {
		if m.record == nil {
			m.record = record
			close(m.offered)
		}
	})
}

// Offered is closed once there is a record to take, or the creation has ended.
func (n *Creation) Offered() <-chan struct{} {
	offered := closed
	n.whileMaking(func(m *making) { offered = m.offered })
	return offered
}

// Accept takes the record, at a time: from then on the creation goes on for somebody who does not wait. It returns nil where
// none was offered, or where the creation has ended.
func (n *Creation) Accept(at time.Time) (record []byte) {
	n.whileMaking(func(m *making) {
		if record = m.record; record != nil && n.accepted.IsZero() {
			n.accepted = at
		}
	})
	return record
}

// AcceptedAt says that the creation was accepted at a time, elsewhere or by an earlier host.
func (n *Creation) AcceptedAt(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.accepted = at
}

// Accepted is when somebody took the record; ok is false where nobody has.
func (n *Creation) Accepted() (at time.Time, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.accepted, !n.accepted.IsZero()
}

// Claim says that somebody got the answer.
func (n *Creation) Claim() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.claimed = true
}

// Claimed says whether anybody got the answer.
func (n *Creation) Claimed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.claimed
}

// About is what Begin was told of the creation; nil once it has ended.
func (n *Creation) About() (about any) {
	n.whileMaking(func(m *making) { about = m.about })
	return about
}

// Attach keeps what belongs to the creation while it is under way.
func (n *Creation) Attach(what any) {
	n.whileMaking(func(m *making) { m.attached = what })
}

// Attached is what was attached; nil once the creation has ended.
func (n *Creation) Attached() (what any) {
	n.whileMaking(func(m *making) { what = m.attached })
	return what
}

// Leave says that somebody went away before there was an answer. It returns true for the first one.
func (n *Creation) Leave() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := !n.left
	n.left = true
	return first
}

// Wait remembers what the creation waits for. Waits is that, in words.
func (n *Creation) Wait(reason string) {
	n.whileMaking(func(m *making) { m.waits = reason })
}

// Waits is what the creation waits for, in words; empty where nothing is known of that, and once it has ended.
func (n *Creation) Waits() (reason string) {
	n.whileMaking(func(m *making) { reason = m.waits })
	return reason
}
