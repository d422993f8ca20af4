package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// State is where a job stands.
type State string

// The states. A job ends in one of the last four and stays there.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Retryable State = "retryable"
	Cancelled State = "cancelled"
)

// Ended tells whether the state is a last one.
func (s State) Ended() bool { return s != Queued && s != Running }

// Status is how far a job is.
type Status struct {
	// Format is how it is stored; 0 is what 1 was before there were others.
	Format int   `json:"format,omitempty"`
	State  State `json:"state"`
	// Stage says in words what goes on while the job has not ended.
	Stage string `json:"stage,omitempty"`
	// Percent of the stage that is done; 0 while unknown.
	Percent float64 `json:"percent,omitempty"`
	// Rows read so far by the stage, as far as known.
	Rows uint64 `json:"rows,omitempty"`
	// Message is the reason of a failure.
	Message string `json:"message,omitempty"`
	// Result is what Work returned.
	Result []byte `json:"result,omitempty"`
	// Attempts counts the processes that began to work on the job, without those that stopped in good order.
	Attempts int `json:"attempts,omitempty"`
	// Stops counts those that stopped in good order while they worked on it.
	Stops int `json:"stops,omitempty"`
	// Submitted, Started (the last attempt) and Finished are zero while they have not happened.
	Submitted time.Time `json:"submitted,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`

	// provisional says that State is what will be.
	provisional bool
}

// Line is one line of a job's log.
type Line struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Reporter is how a job's work tells how far it is. It is safe for concurrent use.
//
// What it hears it stores from a goroutine of its own, so that no work waits for a store that is slow.
type Reporter struct {
	hold  hold
	log   *slog.Logger
	dirty chan struct{}

	mu     sync.Mutex
	status Status
}

func newReporter(hold hold, status Status, log *slog.Logger) *Reporter {
	return &Reporter{hold: hold, status: status, log: log, dirty: make(chan struct{}, 1)}
}

// Run counts how often the job was begun or taken over: no two of its runs have one number. What a run leaves where others
// find it must have the number in its name, since a run that was given up for dead may still be under way.
func (r *Reporter) Run() int { return r.hold.fence() }

// Note adds a line to the job's log, and to the plugin's.
func (r *Reporter) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.log.Info(text)
	// A job is not failed over its log.
	if err := r.hold.note(Line{Time: time.Now(), Text: text}); err != nil {
		r.log.Warn("cannot write the job's log", "error", err)
	}
}

// Stage says what goes on now, in the log too.
func (r *Reporter) Stage(format string, args ...any) {
	r.Note(format, args...)
	r.update(func(s *Status) {
		s.Stage, s.Percent, s.Rows = fmt.Sprintf(format, args...), 0, 0
	})
}

// Progress says how much of the stage is done; either number may be 0 for unknown.
func (r *Reporter) Progress(percent float64, rows uint64) {
	r.update(func(s *Status) { s.Percent, s.Rows = percent, rows })
}

func (r *Reporter) update(change func(*Status)) {
	r.mu.Lock()
	change(&r.status)
	r.mu.Unlock()
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// set is update for what is in the store already.
func (r *Reporter) set(status Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *Reporter) snapshot() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// follow stores what is reported, at most once in an interval, until ctx ends; lost hears when the job is another's.
func (r *Reporter) follow(ctx context.Context, interval time.Duration, lost func(error)) {
	pause := min(interval, 500*time.Millisecond) // who is done sooner, stores an end only
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.dirty:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		// Whether a write that is cut off has arrived nobody knows.
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := r.hold.write(writing, r.snapshot())
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case isLost(err):
			lost(err)
			return
		case err != nil:
			r.log.Warn("cannot store how far the job is", "error", err)
		}
		pause = interval
	}
}
