package plugin

import (
	"context"
	"fmt"
	"sync"
)

// calls counts the calls in flight through a plugin, and lets them come to an end. The zero value takes calls.
type calls struct {
	mu       sync.Mutex
	inFlight int
	taken    bool          // any so far
	refusing bool          // no new calls
	idle     chan struct{} // where somebody waits for it: closed when inFlight comes to 0 while refusing
}

// acquire counts a call in, unless new ones are refused. release may be called more than once.
func (c *calls) acquire() (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusing {
		return func() {}, false
	}
	c.inFlight++
	c.taken = true
	held := true
	return func() { c.release(&held) }, true
}

func (c *calls) release(held *bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !*held {
		return
	}
	*held = false
	c.inFlight--
	if c.inFlight == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inFlight
}

// untouched says that no call was ever counted in.
func (c *calls) untouched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.taken
}

// drain refuses new calls and waits until none is in flight, or until ctx ends.
func (c *calls) drain(ctx context.Context) error {
	idle := c.refuse()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d calls are still in flight: %w", c.count(), context.Cause(ctx))
	}
}

// refuse refuses new calls from now on. It returns nil where none is in flight, or else what is closed when that is so.
func (c *calls) refuse() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = true
	if c.inFlight == 0 {
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	return c.idle
}
