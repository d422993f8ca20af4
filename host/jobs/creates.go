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
	answers  *otter.Cache[ID, made]
	keep     time.Duration
}

// made is the answer to a creation.
type made struct {
	answer []byte
	at     time.Time
}

// NewCreates returns a memory of at most maxBytes that keeps an answer for the time keep, or less where there are too many.
func NewCreates(maxBytes uint64, keep time.Duration) *Creates {
	return &Creates{
		answers: otter.Must(&otter.Options[ID, made]{
			MaximumWeight: maxBytes,
			Weigher:       func(_ ID, m made) uint32 { return entryBytes + uint32(len(m.answer)) },
		}),
		keep: keep,
	}
}

// Do returns the answer to the creation named id: an earlier one's, or that of create. repeated says that it was an
// earlier one's, or that of a creation which another caller had begun.
//
// create goes on when ctx ends, since others may be waiting for it and a repetition may come: it has to see to its own
// end. Its failures are told to all who wait for it and then forgotten. Where it says that the failure was harmless, so
// that nothing can have been made, those who still have time try again, one of them at a time.
func (c *Creates) Do(ctx context.Context, id ID, create func() (answer []byte, harmless bool, err error)) (answer []byte, repeated bool, err error) {
	for {
		if answer, ok := c.answered(id); ok {
			return answer, true, nil
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
func (c *Creates) join(ctx context.Context, id ID, create func() ([]byte, bool, error)) (result outcome, own bool, err error) {
	begun := false
	done := c.underWay.DoChan(string(id[:]), func() (any, error) {
		// Another creation may have ended between the look into the memory and here.
		if answer, ok := c.answered(id); ok {
			return outcome{answer: answer}, nil
		}
		begun = true
		answer, harmless, err := create()
		if err == nil {
			c.answers.Set(id, made{answer, time.Now()})
		}
		return outcome{answer, harmless}, err
	})
	select {
	case ended := <-done:
		result, _ = ended.Val.(outcome)
		return result, begun, ended.Err
	case <-ctx.Done():
		return outcome{}, false, ctx.Err()
	}
}

func (c *Creates) answered(id ID) ([]byte, bool) {
	m, ok := c.answers.GetIfPresent(id)
	if !ok || time.Since(m.at) >= c.keep {
		return nil, false
	}
	return m.answer, true
}
