package jobs

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// Creates sees to it that one job is made for one attempt, however often it is asked for: who asks while it is being
// made waits for it, and who asks soon after gets the answer that the first one got. Its methods may be called at any
// time from anywhere.
type Creates struct {
	underWay singleflight.Group
	answers  *otter.Cache[ID, creation]
	// attempts are the creations that jobs came from.
	attempts *otter.Cache[ID, ID]
	keep     time.Duration
}

// Made is a job that was made.
type Made struct {
	// Answer is what the caller is told. It must not be changed.
	Answer []byte
	// Job names the job, for Gone.
	Job ID
	// Unknown says, beside an error, that nobody knows whether a job was made: the creation must not be begun again.
	Unknown bool
}

// creation is one that has ended, and when: with a job, or with an error and perhaps a job.
type creation struct {
	Made
	err error
	at  time.Time
}

// NewCreates returns a memory of at most maxBytes that keeps an answer for the time keep, or less where there are too many.
func NewCreates(maxBytes uint64, keep time.Duration) *Creates {
	return &Creates{
		answers: otter.Must(&otter.Options[ID, creation]{
			MaximumWeight: maxBytes,
			Weigher:       func(_ ID, r creation) uint32 { return 2*entryBytes + uint32(len(r.Answer)) },
		}),
		attempts: otter.Must(&otter.Options[ID, ID]{MaximumSize: int(maxBytes / (2 * entryBytes))}),
		keep:     keep,
	}
}

// Do returns the answer to the creation named id: an earlier one's, or that of create. repeated says that it was an
// earlier one's, or that of a creation which another caller had begun.
//
// create goes on when ctx ends, since others may be waiting for it and a repetition may come: it has to see to its own
// end. Its failures are told to all who wait for it and then forgotten, but for those that may have made a job all the
// same (Made.Unknown): who asks again is told of them again. Where it says that the failure was harmless, so
// that nothing can have been made, those who still have time try again, one of them at a time.
func (c *Creates) Do(ctx context.Context, id ID, create func() (made Made, harmless bool, err error)) (answer []byte, repeated bool, err error) {
	for {
		if r, ok := c.completed(id); ok {
			return r.Answer, true, r.err
		}
		outcome, own, err := c.join(ctx, id, create)
		switch {
		case err == nil:
			return outcome.answer, !own, nil
		case own, !outcome.harmless, ctx.Err() != nil:
			return nil, !own, err
		}
	}
}

// outcome is how a creation went, besides its error.
type outcome struct {
	answer   []byte
	harmless bool
}

// join waits for the creation that is under way, or begins it. own says that it was this caller's.
func (c *Creates) join(ctx context.Context, id ID, create func() (Made, bool, error)) (result outcome, own bool, err error) {
	begun := false
	done := c.underWay.DoChan(string(id[:]), func() (any, error) { // G4
		// Another creation may have ended between the look into the memory and here.
		if r, ok := c.completed(id); ok {
			return outcome{answer: r.Answer}, r.err
		}
		begun = true
		made, harmless, err := create()
		switch {
		case err == nil:
			c.answers.Set(id, creation{Made: made, at: time.Now()})
			c.attempts.Set(made.Job, id)
		case made.Unknown:
			c.answers.Set(id, creation{err: err, at: time.Now()})
		}
		return outcome{made.Answer, harmless}, err
	})
	select {
	case ended := <-done:
		result, _ = ended.Val.(outcome)
		return result, begun, ended.Err
	case <-ctx.Done():
		return outcome{}, false, ctx.Err()
	}
}

// completed returns how the creation ended, where that is remembered.
func (c *Creates) completed(id ID) (creation, bool) {
	r, ok := c.answers.GetIfPresent(id)
	return r, ok && time.Since(r.at) < c.keep
}

// Gone forgets the creation of a job that was deleted: whoever asks for it again wants another.
func (c *Creates) Gone(job ID) {
	if id, ok := c.attempts.Invalidate(job); ok {
		c.answers.Invalidate(id)
	}
}
