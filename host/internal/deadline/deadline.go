// Package deadline has contexts for calls that hardly ever reach their deadline.
package deadline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Context is like one of [context.WithDeadline], but starts its timer only for who waits for Done. A connection that watches
// the deadlines of all its calls with one timer need not wait for it: see Parent.
//
// A timer for each poll and its place among the children of the parent's context take the host a twentieth of all that it
// does.
type Context struct {
	parent context.Context
	at     time.Time

	mu     sync.Mutex
	err    error           // why it has ended, as soon as somebody has seen it
	timed  context.Context // nil while nobody waits for Done
	cancel context.CancelFunc
}

// With returns a context that ends with parent, at a time, or when it is canceled, which it must be in the end. To cancel a
// call under way, cancel the parent: a connection that watches that sees nothing else.
func With(parent context.Context, at time.Time) (*Context, context.CancelFunc) {
	if earlier, ok := parent.Deadline(); ok && earlier.Before(at) {
		at = earlier
	}
	c := &Context{parent: parent, at: at}
	return c, c.end
}

// Parent is what ends c before its deadline, other than being canceled.
func (c *Context) Parent() context.Context { return c.parent }

// Deadline is the context's.
func (c *Context) Deadline() (time.Time, bool) { return c.at, true }

// Done starts the timer.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = c.start()
	}
	return c.timed.Done()
}

func (c *Context) start() (context.Context, context.CancelFunc) {
	err := c.look()
	if err == nil {
		return context.WithDeadline(c.parent, c.at)
	}
	alone := context.WithoutCancel(c.parent) // whose end may have come later
	if errors.Is(err, context.DeadlineExceeded) {
		return context.WithDeadline(alone, c.at)
	}
	ctx, cancel := context.WithCancel(alone)
	cancel()
	return ctx, cancel
}

// Err is why the context has ended; nil while it has not.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		return c.timed.Err()
	}
	return c.look()
}

// look sees whether the context has ended without a timer.
func (c *Context) look() error {
	switch {
	case c.err != nil:
	case c.parent.Err() != nil:
		c.err = c.parent.Err()
	case !time.Now().Before(c.at):
		c.err = context.DeadlineExceeded
	}
	return c.err
}

// Value is the parent's, or that of the context with the timer: there package context finds where children belong.
func (c *Context) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.parent.Value(key)
}

func (c *Context) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		c.cancel()
	} else if c.look() == nil {
		c.err = context.Canceled
	}
}
