// Package bytebudget shares a number of bytes out among those who want to hold some of them in memory.
//
// Nobody is refused because others were first: who already holds something gets no more than he leaves free, so that one who takes
// all he can takes half, two a third each, and there is room for whoever comes next. Among the requests of one holder the first
// comes first.
package bytebudget

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrTooLarge says that a request is larger than the whole budget.
var ErrTooLarge = errors.New("larger than the whole budget")

// Budget is a number of bytes. Its methods are for any number of goroutines.
type Budget struct {
	limit int64
	used  atomic.Int64

	mu      sync.Mutex // guards what follows, and changes of used
	held    map[string]int64
	waiting list.List // of *waiter, in the order in which they came
}

type waiter struct {
	holder  string
	size    int64
	granted chan struct{} // closed
}

// New returns a budget of so many bytes.
func New(limit int64) *Budget { return &Budget{limit: limit, held: map[string]int64{}} }

// Limit is the whole.
func (b *Budget) Limit() int64 { return b.limit }

// Used is what is held.
func (b *Budget) Used() int64 { return b.used.Load() }

// TryAcquire takes size bytes for a holder, if they can be had now; nil otherwise.
func (b *Budget) TryAcquire(holder string, size int64) *Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	for e := b.waiting.Front(); e != nil; e = e.Next() {
		if e.Value.(*waiter).holder == holder { //nolint:forcetypeassert // there is nothing else in it
			return nil
		}
	}
	if !b.fits(holder, size) {
		return nil
	}
	return b.take(holder, size)
}

// Acquire waits for size bytes until ctx ends. The error is ctx's, or ErrTooLarge.
func (b *Budget) Acquire(ctx context.Context, holder string, size int64) (*Share, error) {
	if size > b.limit {
		return nil, ErrTooLarge
	}
	if share := b.TryAcquire(holder, size); share != nil {
		return share, nil
	}
	b.mu.Lock()
	w := &waiter{holder: holder, size: size, granted: make(chan struct{})}
	place := b.waiting.PushBack(w)
	b.grant() // what was given back meanwhile
	b.mu.Unlock()
	select {
	case <-w.granted:
		return &Share{budget: b, holder: holder, size: size}, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted: // at the same moment
		return &Share{budget: b, holder: holder, size: size}, nil
	default:
	}
	b.waiting.Remove(place)
	b.grant() // those of the same holder who came later
	return nil, ctx.Err()
}

// fits says whether a holder may have so much more. mu is held.
func (b *Budget) fits(holder string, size int64) bool {
	free := b.limit - b.used.Load()
	held := b.held[holder]
	return size <= free && (held == 0 || held+size <= free)
}

func (b *Budget) take(holder string, size int64) *Share {
	b.used.Add(size)
	b.held[holder] += size
	return &Share{budget: b, holder: holder, size: size}
}

// grant serves those who wait, as far as there is room. mu is held.
func (b *Budget) grant() {
	passed := map[string]bool{} // holders whose first in line has to wait on
	for e := b.waiting.Front(); e != nil; {
		next := e.Next()
		w := e.Value.(*waiter) //nolint:forcetypeassert // there is nothing else in it
		switch {
		case passed[w.holder]:
		case b.fits(w.holder, w.size):
			b.take(w.holder, w.size)
			b.waiting.Remove(e)
			close(w.granted)
		default:
			passed[w.holder] = true
		}
		e = next
	}
}

// Share is bytes that somebody holds.
type Share struct {
	budget *Budget
	holder string

	size int64 // what is left of it; guarded by the budget's mu
}

// Shrink gives back what is more than size. It may be called on nil.
func (s *Share) Shrink(size int64) {
	if s == nil {
		return
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	back := s.size - size
	if back <= 0 {
		return
	}
	s.size = size
	b.used.Add(-back)
	if b.held[s.holder] -= back; b.held[s.holder] == 0 {
		delete(b.held, s.holder)
	}
	b.grant()
}

// Release gives everything back. It may be called more than once, and on nil.
func (s *Share) Release() { s.Shrink(0) }
