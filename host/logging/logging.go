// Package logging is the host's own log, into which the plugins' lines are merged. Nobody who logs ever waits for whoever
// reads the log, or fails because nobody does: lines are queued, and what cannot be written is counted and told later.
package logging

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/config"
)

// maxQueued is how many bytes wait for a reader that is slower than the host.
const maxQueued = 4 << 20

var errSlow = errors.New("whoever reads the log does not read, or more slowly than lines come")

// Log is a logger and the way of its lines.
type Log struct {
	*slog.Logger
	lines *lines
}

// New starts a log to out, as the configuration has it. It is ended by Close.
func New(settings config.Log, out io.Writer) *Log {
	var level slog.Level
	_ = level.UnmarshalText([]byte(settings.Level)) // config has checked it
	options := &slog.HandlerOptions{Level: level}
	l := &Log{lines: newLines(out)}
	if settings.Format == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(l.lines, options))
	} else {
		l.Logger = slog.New(slog.NewTextHandler(l.lines, options))
	}
	go l.lines.run(func(lost int64, why error) {
		l.Warn("lines of this log were lost here", "lines", lost, "error", why)
	})
	return l
}

// Lost is how many lines could not be written so far, and why the last one could not; the reason is empty again once
// lines can be written.
func (l *Log) Lost() (count int64, why string) {
	l.lines.mu.Lock()
	defer l.lines.mu.Unlock()
	if l.lines.why != nil {
		why = l.lines.why.Error()
	}
	return l.lines.lost, why
}

// Close writes what is queued and ends the log. After limit it gives up a writer that is stuck.
func (l *Log) Close(limit time.Duration) {
	l.lines.finish()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.lines.done:
	case <-timer.C:
	}
}

// lines is the queue between those who log, who must not wait, and a writer that may be slow, stuck or broken.
type lines struct {
	out  io.Writer
	done chan struct{} // closed when run has returned

	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // on mu
	queue    [][]byte
	size     int   // of what is queued or being written
	finished bool  // run is to end when all is written
	ended    bool  // it has
	lost     int64 // since the start
	told     int64 // of them, how many the log tells of
	why      error // why the last line was lost; nil while lines can be written
	lastWhy  error // the same, kept until it is told
}

func newLines(out io.Writer) *lines {
	l := &lines{out: out, done: make(chan struct{})}
	l.changed.L = &l.mu
	return l
}

// Write takes one line, as slog's handlers give it. It does not wait, and has no error.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended: // nobody would write it any more
	case l.size+len(line) > maxQueued:
		l.lose(errSlow)
	default:
		l.queue = append(l.queue, append([]byte{}, line...))
		l.size += len(line)
		l.changed.Signal()
	}
	return len(line), nil
}

// lose counts a line. It needs mu.
func (l *lines) lose(why error) {
	l.lost++
	l.why, l.lastWhy = why, why
}

func (l *lines) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
	l.changed.Signal()
}

// run writes until finish was called and the queue is empty. Each line is one call of Write, so that others who write to
// the same pipe do not come between its parts. When lines can be written again, tell is told how many could not.
func (l *lines) run(tell func(lost int64, why error)) {
	defer close(l.done)
	for {
		batch := l.next()
		if batch == nil {
			return
		}
		for _, line := range batch {
			_, err := l.out.Write(line)
			l.wrote(line, err)
		}
		if lost, why := l.untold(); lost > 0 {
			tell(lost, why)
		}
	}
}

// next waits for lines; nil: there will be none.
func (l *lines) next() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.finished {
		l.changed.Wait()
	}
	batch := l.queue
	l.queue = nil
	l.ended = batch == nil
	return batch
}

func (l *lines) wrote(line []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size -= len(line)
	if err != nil {
		l.lose(err)
		return
	}
	l.why = nil
}

// untold is what is to be told, once, now that lines can be written.
func (l *lines) untold() (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lost - l.told
	if l.why != nil || lost == 0 {
		return 0, nil
	}
	l.told = l.lost
	return lost, l.lastWhy
}
