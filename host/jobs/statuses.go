package jobs

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Statuses remembers what was last said of each job. Its methods may be called at any time from anywhere.
type Statuses struct {
	entries *otter.Cache[ID, *entry]
	// start is what moments are measured from: a clock that is set does not make a status older.
	start time.Time
}

// Status is what is remembered of a job.
type Status struct {
	// Answer is the last answer about it; nil where there was none yet. It must not be changed.
	Answer []byte
	// Ended says that, by this answer, the job has ended.
	Ended bool
	// Age is the time since the answer.
	Age time.Duration
	// Failing is the time since the first failure that no answer has followed.
	Failing time.Duration
}

// entry is the memory of one job: an answer, and when it was last given.
type entry struct {
	answer []byte
	ended  bool
	// answered, failed and lastFailed are moments, zero for never. failed is that of the first failure after the answer.
	answered, failed, lastFailed atomic.Int64
}

// entryBytes is what an entry takes besides its answer, about.
const entryBytes = 256

// NewStatuses returns an empty memory of at most maxBytes. Where that is not enough, what was asked for seldom and long
// ago is forgotten first.
func NewStatuses(maxBytes uint64) *Statuses {
	return &Statuses{
		entries: otter.Must(&otter.Options[ID, *entry]{
			MaximumWeight: maxBytes,
			Weigher:       func(_ ID, e *entry) uint32 { return entryBytes + uint32(len(e.answer)) },
		}),
		start: time.Now(),
	}
}

// Answered remembers an answer, of which it keeps a copy. Any failure before it is over.
func (s *Statuses) Answered(id ID, answer []byte, ended bool) {
	now := s.now()
	// Most polls hear what the last one heard: then only the time is new.
	if e, ok := s.entries.GetIfPresent(id); ok && e.ended == ended && e.answered.Load() != 0 && bytes.Equal(e.answer, answer) {
		e.answered.Store(now)
		e.failed.Store(0)
		return
	}
	e := &entry{answer: bytes.Clone(answer), ended: ended}
	if e.answer == nil {
		e.answer = []byte{}
	}
	e.answered.Store(now)
	s.entries.Set(id, e)
}

// Failed remembers that there was no answer, and returns what is known nevertheless. Failures that come farther apart than
// pause are not counted together: under a name that several jobs have, they may be different ones' failures. 0 is no limit.
func (s *Statuses) Failed(id ID, pause time.Duration) Status {
	fresh := &entry{}
	e, _ := s.entries.SetIfAbsent(id, fresh) // what stands there afterwards
	now := s.now()
	if before := e.lastFailed.Swap(now); pause > 0 && before != 0 && now-before > int64(pause) {
		e.failed.Store(now)
	}
	e.failed.CompareAndSwap(0, now)
	return s.status(e)
}

// Last returns what is known of a job, where there is an answer.
func (s *Statuses) Last(id ID) (Status, bool) {
	e, ok := s.entries.GetIfPresent(id)
	if !ok || e.answered.Load() == 0 {
		return Status{}, false
	}
	return s.status(e), true
}

// Forget forgets a job: another is about to have its name.
func (s *Statuses) Forget(id ID) { s.entries.Invalidate(id) }

func (s *Statuses) status(e *entry) Status {
	now := s.now()
	status := Status{Answer: e.answer, Ended: e.ended}
	if answered := e.answered.Load(); answered != 0 {
		status.Age = time.Duration(now - answered)
	}
	if failed := e.failed.Load(); failed != 0 {
		status.Failing = time.Duration(now - failed)
	}
	return status
}

// now is this moment; never zero.
func (s *Statuses) now() int64 { return int64(time.Since(s.start)) + 1 }
