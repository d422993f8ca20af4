package fleet

import (
	"context"
	"sync"
	"time"
)

// Event is one change of state, with its cause.
type Event struct {
	Time       time.Time
	Plugin     string
	Generation string
	// OfInstance says that one instance changed: that of number Instance, from 0.
	OfInstance bool
	Instance   int
	State, Was State
	Cause      string
	// Lasted is how long the state before lasted; zero where that is not known.
	Lasted time.Duration
}

// eventBuffer is how many events a slow reader may lag behind before it loses the oldest.
const eventBuffer = 1024

// events hands every event to every reader, in one order.
type events struct {
	mu      sync.Mutex
	readers map[chan Event]struct{}
	closed  bool
}

func (e *events) send(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for reader := range e.readers {
		for sent := false; !sent; {
			select {
			case reader <- event:
				sent = true
			default:
				select {
				case <-reader: // the oldest makes room
				default:
				}
			}
		}
	}
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for reader := range e.readers {
		close(reader)
	}
	e.readers = nil
}

// Events returns all changes of state from now on, in their order, until ctx ends or the fleet has stopped; then the
// channel is closed.
func (f *Fleet) Events(ctx context.Context) <-chan Event {
	e := &f.events
	reader := make(chan Event, eventBuffer)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		close(reader)
		return reader
	}
	if e.readers == nil {
		e.readers = map[chan Event]struct{}{}
	}
	e.readers[reader] = struct{}{}
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, ok := e.readers[reader]; ok {
			delete(e.readers, reader)
			close(reader)
		}
	})
	return reader
}
