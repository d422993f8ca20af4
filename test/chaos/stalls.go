package main

import (
	"context"
	"sync"
	"time"

	"github.com/agenthost/agenthost/test/wait"
)

// stalls is when this program was held up: it should have gone on, and got no processor. A call that waits for its turn
// here, or in a host that is no better off, can run into its deadline whatever the host does.
type stalls struct {
	mu  sync.Mutex
	all []stall
}

type stall struct{ from, to time.Time }

const (
	// pulse is how often the program looks at the clock, and held how late it must be to have been held up.
	pulse = 10 * time.Millisecond
	held  = 100 * time.Millisecond
)

// watch looks at the clock until ctx ends.
func (s *stalls) watch(ctx context.Context) {
	for last := time.Now(); wait.For(ctx, pulse); last = time.Now() {
		if now := time.Now(); now.Sub(last) > pulse+held {
			s.add(stall{last.Add(pulse), now})
		}
	}
}

func (s *stalls) add(another stall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, another)
}

// within is for how long the program was held up in a time.
func (s *stalls) within(from, to time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum time.Duration
	for _, each := range s.all {
		begin, end := each.from, each.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(end.Sub(begin), 0)
	}
	return sum
}
