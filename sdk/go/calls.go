package agent

import (
	"context"
	"sync"
)

// callTracker counts the calls in flight, so that Close can wait for them.
type callTracker struct {
	mu       sync.Mutex
	running  int
	draining bool
	// idle is closed when draining and nothing runs.
	idle chan struct{}
}

func newCallTracker() *callTracker { return &callTracker{idle: make(chan struct{})} }

// begin counts a call in. It says no once draining has begun.
func (c *callTracker) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	c.running++
	return true
}

func (c *callTracker) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.draining && c.running == 0 {
		close(c.idle)
	}
}

// drain refuses new calls and waits until the running ones have ended or ctx has. It returns how many still run.
func (c *callTracker) drain(ctx context.Context) int {
	c.mu.Lock()
	if !c.draining {
		c.draining = true
		if c.running == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}
