package process

import (
	"bytes"
	"io"
	"sync"
)

// lineQueue passes lines from those who must not wait to one who may be slow. It holds a bounded number of bytes.
type lineQueue struct {
	max int

	mu       sync.Mutex
	changed  sync.Cond // on mu
	buffer   bytes.Buffer
	finished bool // no more will be pushed
	closed   bool // nobody reads any more
}

func newLineQueue(maxBytes int) *lineQueue {
	q := &lineQueue{max: maxBytes}
	q.changed.L = &q.mu
	return q
}

// push adds a line, to which it adds the newline; false: there was no room.
func (q *lineQueue) push(line []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.buffer.Len()+len(line) >= q.max {
		return false
	}
	q.add(line)
	return true
}

// pushAlways is push for the few lines that must arrive.
func (q *lineQueue) pushAlways(line []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(line)
}

func (q *lineQueue) add(line []byte) {
	if q.closed || q.finished {
		return
	}
	q.buffer.Write(line)
	q.buffer.WriteByte('\n')
	q.changed.Signal()
}

// finish lets the reader come to the end of what is queued. It may be called more than once.
func (q *lineQueue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	q.changed.Signal()
}

// Read waits for a line and yields as much as there is.
func (q *lineQueue) Read(into []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.buffer.Len() == 0 && !q.finished && !q.closed {
		q.changed.Wait()
	}
	if q.closed || q.buffer.Len() == 0 {
		return 0, io.EOF
	}
	n, err := q.buffer.Read(into)
	if q.buffer.Len() == 0 && q.buffer.Cap() > 64<<10 {
		q.buffer = bytes.Buffer{} // give back what a flood took
	}
	return n, err
}

// Close says that nobody reads any more: what is pushed is forgotten.
func (q *lineQueue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.buffer = bytes.Buffer{}
	q.changed.Signal()
	return nil
}
