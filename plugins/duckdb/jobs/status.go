package jobs

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
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
	State State `json:"state"`
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
	// Submitted, Started (the last attempt) and Finished are zero while they have not happened.
	Submitted time.Time `json:"submitted,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
}

// Line is one line of a job's log.
type Line struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Reporter is how a job's work tells how far it is. It is safe for concurrent use.
type Reporter struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	status  Status
	written time.Time
}

func newReporter(dir string, status Status, log *slog.Logger) *Reporter {
	return &Reporter{dir: dir, log: log, status: status}
}

// Note adds a line to the job's log, and to the plugin's.
func (r *Reporter) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.log.Info(text)
	// A job is not failed over its log.
	if err := appendLine(r.dir, Line{Time: time.Now(), Text: text}); err != nil {
		r.log.Warn("cannot write the job's log", "error", err)
	}
}

// Stage says what goes on now, in the log too.
func (r *Reporter) Stage(format string, args ...any) {
	r.Note(format, args...)
	r.update(true, func(s *Status) {
		s.Stage, s.Percent, s.Rows = fmt.Sprintf(format, args...), 0, 0
	})
}

// Progress says how much of the stage is done; either number may be 0 for unknown.
func (r *Reporter) Progress(percent float64, rows uint64) {
	r.update(false, func(s *Status) { s.Percent, s.Rows = percent, rows })
}

func (r *Reporter) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.State, r.status.Stage, r.status.Started = Running, "starting", time.Now()
	r.status.Attempts++
	return writeStatus(r.dir, r.status)
}

// release gives an unfinished job back. Stopping in good order is no attempt.
func (r *Reporter) release() {
	r.Note("stopped with the process; the next one takes it up")
	r.update(true, func(s *Status) {
		if s.State == Running {
			s.Attempts--
		}
		s.State, s.Stage, s.Percent, s.Rows = Queued, "", 0, 0
	})
}

func (r *Reporter) end(state State, message string, result []byte) {
	r.mu.Lock()
	ended := r.status.State.Ended()
	r.mu.Unlock()
	if ended {
		return
	}
	if message == "" {
		r.Note("%s", state)
	} else {
		r.Note("%s: %s", state, message)
	}
	r.update(true, func(s *Status) {
		s.State, s.Stage, s.Percent, s.Rows = state, "", 0, 0
		s.Message, s.Result, s.Finished = message, result, time.Now()
	})
}

// Other processes read the status from its file; once a second is soon enough for them.
const writeInterval = time.Second

func (r *Reporter) update(now bool, change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.status)
	if !now && time.Since(r.written) < writeInterval {
		return
	}
	r.written = time.Now()
	if err := writeStatus(r.dir, r.status); err != nil {
		r.log.Error("cannot store how far the job is: if this was its end, it will run again", "error", err)
	}
}

func (r *Reporter) snapshot() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func writeStatus(dir string, status Status) error {
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return writeFile(dir, statusFile, data)
}

func readStatus(dir string) (Status, error) {
	data, err := os.ReadFile(dir + "/" + statusFile)
	if err != nil {
		return Status{}, err
	}
	var status Status
	if err := json.Unmarshal(data, &status); err != nil {
		return Status{}, fmt.Errorf("its status is unreadable: %w", err)
	}
	return status, nil
}
