// Package history keeps what has happened to a host and its plugins, and who did it, in the state directory, so that it survives the end of
// the host, kill -9 included.
//
//	h := history.Open(dir, "history/3fa1", log)
//	h.Add(history.Event{State: history.Reloaded, By: "SIGHUP"})
//	for e := range h.Events(ctx, history.Query{Since: time.Now().Add(-time.Hour), Follow: true}) { … }
//
// Nobody waits for it: events are queued, and what cannot be written is counted and told. Hosts may share it, as the old and the new one do
// during an upgrade: each event is one line that is appended whole (file.go), and one that is broken is passed over (read.go).
package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/state"
)

const (
	// MaxBytes is how much is kept.
	MaxBytes = 2 * maxFile
	// MaxEvents is how many events are given at once, the newest.
	MaxEvents = 10_000

	// maxQueued is how many events wait to be written, maxUnwritten how many are remembered that could not be.
	maxQueued    = 4096
	maxUnwritten = 256
	// readerBuffer is how many events a slow reader may lag behind before it loses the oldest.
	readerBuffer = 1024
)

var errSlow = errors.New("the state directory takes them more slowly than they come")

// History is the events of a host. Its methods may be called from any goroutine.
type History struct {
	file  *file // nil: nothing is kept
	log   *slog.Logger
	host  int
	clean func(string) string
	done  chan struct{} // closed when run has returned

	mu        sync.Mutex // guards what follows
	changed   sync.Cond  // on mu
	seq       uint64
	queue     []Event // to be written
	writing   []Event // being written
	unwritten []Event // that could not be, the last ones
	readers   map[chan Event]struct{}
	closed    bool
	lost      int64
	why       error  // why the last event was not kept; nil while events are
	unread    string // why a part of the file could not be read, as the log was told
}

// Open begins a host's history in a folder of the state directory; with a nil directory nothing outlives the host. clean, if it is not nil,
// takes out of a text what must not be kept. It is ended by Close.
func Open(dir *state.Dir, folder string, clean func(string) string, log *slog.Logger) *History {
	if clean == nil {
		clean = func(text string) string { return text }
	}
	h := &History{log: log, host: os.Getpid(), clean: clean, done: make(chan struct{}), readers: map[chan Event]struct{}{}}
	h.changed.L = &h.mu
	if dir != nil {
		h.file = &file{dir: dir, folder: folder}
		h.tellLost()
	}
	go h.run()
	return h
}

// Add tells of something that has just happened. It does not wait.
func (h *History) Add(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Host == 0 {
		e.Host = h.host
	}
	e.Cause = h.clean(e.Cause)
	e = e.bounded()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e.Seq = h.seq
	for reader := range h.readers {
		offer(reader, e)
	}
	switch {
	case h.file == nil || h.closed:
		h.remember(e)
	case len(h.queue) >= maxQueued:
		h.lose(e, errSlow)
	default:
		h.queue = append(h.queue, e)
		h.changed.Signal()
	}
}

// offer gives an event to a reader who may be slow.
func offer(reader chan Event, e Event) {
	for {
		select {
		case reader <- e:
			return
		default:
			select {
			case <-reader: // the oldest makes room
			default:
			}
		}
	}
}

// lose counts an event that is not kept. It needs mu.
func (h *History) lose(e Event, why error) {
	h.lost++
	if h.why == nil || h.why.Error() != why.Error() {
		h.log.Warn("events are lost to the history: what happens now will not be known after the end of the host", "error", why)
	}
	h.why = why
	h.remember(e)
}

// remember keeps an event for as long as the host lives. It needs mu.
func (h *History) remember(e Event) {
	h.unwritten = append(h.unwritten, e)
	if more := len(h.unwritten) - maxUnwritten; more > 0 {
		h.unwritten = slices.Delete(h.unwritten, 0, more)
	}
}

// Lost is how many events could not be kept, and why the last one could not; the reason is empty again once events are.
func (h *History) Lost() (count int64, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why != nil {
		why = h.why.Error()
	}
	return h.lost, why
}

// Close lets who follows come to the end, and writes what is queued; after limit it gives up a directory that is stuck.
func (h *History) Close(limit time.Duration) {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		for reader := range h.readers {
			close(reader)
		}
		h.readers = nil
		h.changed.Signal()
	}
	h.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-h.done:
	case <-timer.C:
	}
}

// run writes what is queued, until Close.
func (h *History) run() {
	defer close(h.done)
	if h.file == nil {
		return
	}
	defer h.file.close()
	for {
		batch := h.next()
		if batch == nil {
			return
		}
		h.wrote(batch, h.write(batch))
	}
}

// next waits for events; nil: there will be none.
func (h *History) next() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.queue) == 0 && !h.closed {
		h.changed.Wait()
	}
	h.writing, h.queue = h.queue, nil
	return h.writing
}

func (h *History) wrote(batch []Event, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writing = nil
	if err != nil {
		for _, e := range batch {
			h.lose(e, err)
		}
		return
	}
	if h.why != nil {
		h.log.Info("events are kept in the history again", "lost", h.lost)
	}
	h.why = nil
}

// write appends events. It is called by one goroutine.
func (h *History) write(batch []Event) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, e := range batch {
		before := lines.Len()
		if err := encoder.Encode(e); err != nil {
			return fmt.Errorf("an event cannot be written: %w", err)
		}
		if lines.Len()-before > maxLine { // bounded, but for characters that JSON escapes
			lines.Truncate(before)
			e.Cause, e.Changes = "what there was to say of it does not fit into the history", nil
			if err := encoder.Encode(e); err != nil {
				return fmt.Errorf("an event cannot be written: %w", err)
			}
		}
	}
	return h.file.append(lines.Bytes())
}

// Query says which events are wanted.
type Query struct {
	// Since begins with the events of this time; zero: with those that are still to come.
	Since time.Time
	// Plugin leaves out what happened to other plugins; empty: nothing is left out.
	Plugin string
	// Follow goes on with the events as they happen, until the host stops.
	Follow bool
	// Limit is how many past events there are at most, the newest; zero: MaxEvents.
	Limit int

	only func(Event) bool // nil: all
}

func (q Query) wants(e Event) bool { return q.Plugin == "" || e.Plugin == q.Plugin }

// Events gives the events of a query, in the order in which they happened, until ctx ends. The past is that of all hosts that share the
// history; what is followed is that of this one.
func (h *History) Events(ctx context.Context, q Query) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		held, live, stop := h.begin(q.Follow)
		defer stop()
		var told map[key]bool
		if !q.Since.IsZero() {
			var past []Event
			past, told = h.past(q, held)
			for _, e := range past {
				if ctx.Err() != nil || !yield(e) {
					return
				}
			}
		}
		for {
			select {
			case e, open := <-live:
				if !open {
					return
				}
				if q.wants(e) && !told[keyOf(e)] && !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// begin gives the events that are not in the file yet, or never will be, and what comes after them: nothing, unless that is followed.
func (h *History) begin(follow bool) (held []Event, live chan Event, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held = slices.Concat(h.unwritten, h.writing, h.queue)
	live = make(chan Event, readerBuffer)
	if !follow || h.closed {
		close(live)
		return held, live, func() {}
	}
	h.readers[live] = struct{}{}
	return held, live, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.readers, live)
	}
}

// key tells events apart: processes have numbers again that others had.
type key struct {
	host int
	seq  uint64
	at   int64
}

func keyOf(e Event) key { return key{e.Host, e.Seq, e.Time.UnixNano()} }

// past is what was kept, and what is held.
func (h *History) past(q Query, held []Event) ([]Event, map[key]bool) {
	if q.Limit <= 0 {
		q.Limit = MaxEvents
	}
	var past []Event
	if h.file != nil {
		var problem error
		past, problem = h.file.read(q)
		h.tellUnread(problem)
	}
	told := make(map[key]bool, len(past))
	for _, e := range past {
		told[keyOf(e)] = true
	}
	for _, e := range held {
		if q.wants(e) && !e.Time.Before(q.Since) && !told[keyOf(e)] {
			past = append(past, e)
			told[keyOf(e)] = true
		}
	}
	slices.SortStableFunc(past, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return past[max(0, len(past)-q.Limit):], told
}

// tellUnread says once what cannot be read.
func (h *History) tellUnread(problem error) {
	if problem == nil {
		return
	}
	h.mu.Lock()
	told := h.unread == problem.Error()
	h.unread = problem.Error()
	h.mu.Unlock()
	if !told {
		h.log.Warn("a part of the history cannot be read", "error", problem)
	}
}

// maxLost is how many lost hosts are told of: a history that somebody else wrote could name any number.
const maxLost = 10

// tellLost tells of hosts before this one that are gone without a word.
func (h *History) tellLost() {
	lives := map[int]Event{}
	past, _ := h.file.read(Query{Limit: MaxEvents, only: isOfHost})
	for _, e := range past {
		lives[e.Host] = e
	}
	told := 0
	for _, pid := range slices.Sorted(maps.Keys(lives)) {
		last := lives[pid]
		if pid <= 0 || last.State == HostStopped || last.State == HostLost || pid != h.host && isAlive(pid) {
			continue
		}
		if told++; told > maxLost {
			return
		}
		h.Add(Event{
			State: HostLost, Host: pid,
			Cause: fmt.Sprintf("the host before this one, process %d, has not said that it stops: it was killed or has crashed; the last that it said of itself is %q, at %s", pid, last.State, last.Time.Format(time.RFC3339)),
		})
	}
}
