package fleet

import (
	"context"
	"sync"
	"time"
)

// restartsApart is how far apart two starts of an instance are at least, whoever waits for it.
const restartsApart = 250 * time.Millisecond

// demand is whether a call waits for an instance of a plugin. It ends the pause before the next start of one that was sound:
// a pause is to spare the machine starts that fail, and a caller who waits through one may lose his attempt. The zero value is
// that nobody waits.
type demand struct {
	mu      sync.Mutex
	waiting int
	present chan struct{} // closed while somebody waits; nil where nobody has asked for it
}

func (d *demand) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting++; d.waiting == 1 && d.present != nil {
		close(d.present)
	}
}

func (d *demand) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting--; d.waiting == 0 {
		d.present = nil
	}
}

// there returns a channel that is closed when somebody waits.
func (d *demand) there() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.present == nil {
		d.present = make(chan struct{})
		if d.waiting > 0 {
			close(d.present)
		}
	}
	return d.present
}

// pause returns at over, from early on when somebody waits, or when ctx ends.
func (d *demand) pause(ctx context.Context, early, over time.Time) {
	if !until(ctx, early, over) {
		return
	}
	timer := time.NewTimer(time.Until(over))
	defer timer.Stop()
	select {
	case <-d.there():
	case <-timer.C:
	case <-ctx.Done():
	}
}

// until waits for the first of two times. It is false when ctx ended before.
func until(ctx context.Context, a, b time.Time) bool {
	if b.Before(a) {
		a = b
	}
	timer := time.NewTimer(time.Until(a))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
