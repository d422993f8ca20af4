package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The defaults of a Watcher.
const (
	DefaultQuiet   = 100 * time.Millisecond
	DefaultMaxWait = 5 * time.Second
	DefaultPoll    = 10 * time.Second
)

// Watcher reads a configuration again when a file that it is made of changes: one of the configuration's own, or one of
// [Config.WatchedFiles]. How the file changes does not matter: written in place, replaced, removed and put back, behind a
// symbolic link that moves (Kubernetes' volumes), in a directory that is made anew. What matters is the content; the same bytes
// written once more are no change.
//
// The system's notifications say when to look, and a slow poll looks anyway: on network file systems, and where an ancestor
// directory is renamed, nothing is notified. A change counts when two looks, Quiet apart, see the same, so that a file is
// not read half written. A file that had content and is empty now is taken for half written however long it stays so.
type Watcher struct {
	// Quiet is how long files must be unchanged for a change to count. Zero: DefaultQuiet.
	Quiet time.Duration
	// MaxWait is how long files that go on changing are waited for; then what is there counts. Zero: DefaultMaxWait.
	MaxWait time.Duration
	// Poll is how often to look without having been notified. Zero: DefaultPoll.
	Poll time.Duration
	// OnProblem, if there is one, is told, on the goroutine of Run, when the system begins not to notify of some changes, and
	// why; and with nil when it notifies of all again, which each poll tries for. The poll sees every change all the same.
	OnProblem func(error)

	sources  Sources
	requests chan request

	// What follows belongs to the goroutine of Run.
	current  *Config  // the last that was sound
	reported snapshot // what the files held when current was reported, or the error after it
	read     uint64   // configurations so far
	sums     sums

	blind   bool         // for tests: nothing is notified
	refused func() error // for tests: the system's refusal to notify, if it is one
	looked  func()       // for tests: called after each look
}

// snapshot is what all files held at one moment.
type snapshot struct{ own, watched map[string]content }

func (s snapshot) equal(other snapshot) bool {
	return maps.Equal(s.own, other.own) && maps.Equal(s.watched, other.watched)
}

// request asks Run for a look at once.
type request struct {
	// dry leaves it to the next look to see a change.
	dry    bool
	answer chan<- outcome
}

type outcome struct {
	config *Config
	err    error
}

// NewWatcher returns a Watcher of what loaded was loaded from. It remembers in loaded what the watched files hold, for
// [Plan], so it is to be called before loaded is shared.
func NewWatcher(sources Sources, loaded *Config) *Watcher {
	w := &Watcher{sources: sources, requests: make(chan request), current: loaded, sums: sums{}}
	loaded.contents = w.sums.of(loaded.WatchedFiles())
	w.reported = snapshot{own: loaded.own, watched: loaded.contents}
	return w
}

// Run watches until ctx ends. Each change is reported to onChange, on this goroutine: the new configuration, or the
// [Errors] that keep it from being one, in which case the last sound configuration stays the one to compare with. A change that
// came between the loading and Run is reported, too.
func (w *Watcher) Run(ctx context.Context, onChange func(*Config, error)) {
	r := &run{Watcher: w, onChange: onChange, poll: time.NewTicker(orDefault(w.Poll, DefaultPoll))}
	defer r.poll.Stop()
	r.quiet = time.NewTimer(0) // look once to begin with
	defer r.quiet.Stop()
	r.changingSince = time.Now()
	defer func() {
		if r.follower != nil {
			r.follower.close()
		}
	}()
	r.follow()
	r.loop(ctx)
}

// Reload reads the files at once, whether or not they have changed, and gives what Run would report, which is then not
// reported to onChange. It needs Run to be running, and waits for it until ctx ends. A change that Run reports meanwhile may
// be taken up first: see [Config.OlderThan].
func (w *Watcher) Reload(ctx context.Context) (*Config, error) { return w.ask(ctx, false) }

// Peek is Reload without consequences: a change that it sees is still reported by Run.
func (w *Watcher) Peek(ctx context.Context) (*Config, error) { return w.ask(ctx, true) }

func (w *Watcher) ask(ctx context.Context, dry bool) (*Config, error) {
	answer := make(chan outcome, 1)
	select {
	case w.requests <- request{dry: dry, answer: answer}:
	case <-ctx.Done():
		return nil, fmt.Errorf("the configuration was not read again: %w", context.Cause(ctx))
	}
	out := <-answer
	return out.config, out.err
}

// run is one Run.
type run struct {
	*Watcher
	onChange func(*Config, error)
	follower *follower // nil while the system cannot notify
	poll     *time.Ticker
	quiet    *time.Timer
	// changingSince is when a change was first suspected that is not settled yet; zero if there is none.
	changingSince time.Time
	// candidate is what the last look saw, if that was a change.
	candidate *snapshot
	// told is the problem that OnProblem was told last; empty while there is none.
	told string
}

func (r *run) loop(ctx context.Context) {
	for {
		var events <-chan fsnotify.Event
		var lost <-chan error
		if r.follower != nil {
			events, lost = r.follower.notify.Events, r.follower.notify.Errors
		}
		select {
		case <-ctx.Done():
			return
		case event := <-events:
			if r.follower.matters(event) {
				r.suspect()
			}
		case err := <-lost: // look at everything
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // more at once than the system keeps is no problem
				r.tell(fmt.Errorf("notifications of changed files were lost: %w", err))
			}
			r.suspect()
		case <-r.poll.C:
			if r.changingSince.IsZero() {
				r.look()
			}
		case <-r.quiet.C:
			r.look()
		case asked := <-r.requests:
			r.answer(asked)
		}
	}
}

// suspect has a look taken after a quiet time.
func (r *run) suspect() {
	if r.changingSince.IsZero() {
		r.changingSince = time.Now()
	}
	wait := orDefault(r.Quiet, DefaultQuiet)
	if left := time.Until(r.changingSince.Add(orDefault(r.MaxWait, DefaultMaxWait))); left < wait {
		wait = max(left, 0)
	}
	r.quiet.Reset(wait)
}

// look compares what is there with what was reported, and reports what has changed and settled.
func (r *run) look() {
	if r.looked != nil {
		defer r.looked()
	}
	r.follow() // before reading: what changes after that is notified
	files := readFiles(r.sources.Files)
	now := snapshot{own: contentsOf(files), watched: r.sums.of(r.current.WatchedFiles())}
	switch {
	case now.equal(r.reported):
		r.noCandidate()
	case r.candidate != nil && now.equal(*r.candidate), !r.changingSince.IsZero() && time.Since(r.changingSince) >= orDefault(r.MaxWait, DefaultMaxWait):
		r.noCandidate()
		out := r.accept(files, now)
		r.onChange(out.config, out.err)
	default:
		r.candidate = &now
		r.suspect()
	}
}

func (r *run) noCandidate() { r.candidate, r.changingSince = nil, time.Time{} }

// accept makes what was read the state to compare with.
func (r *run) accept(files []readResult, now snapshot) outcome {
	loaded, err := r.load(files)
	if err == nil {
		if !slices.Equal(loaded.WatchedFiles(), r.current.WatchedFiles()) {
			r.suspect() // other files matter now, which nobody has followed so far
		}
		r.read++
		loaded.read = r.read
		loaded.contents = r.sums.of(loaded.WatchedFiles())
		now.watched = loaded.contents
		r.current = loaded
	}
	r.reported = now
	return outcome{loaded, err}
}

func (r *run) answer(asked request) {
	files := readFiles(r.sources.Files)
	if asked.dry {
		loaded, err := r.load(files)
		if err == nil {
			loaded.contents = sums{}.of(loaded.WatchedFiles())
		}
		asked.answer <- outcome{loaded, err}
		return
	}
	r.noCandidate()
	asked.answer <- r.accept(files, snapshot{own: contentsOf(files), watched: r.sums.of(r.current.WatchedFiles())})
}

func (r *run) load(files []readResult) (*Config, error) {
	if errs := emptied(files, r.current.own); len(errs) > 0 {
		return nil, errs
	}
	return load(r.sources, files)
}

// emptied finds the files that have lost all of their content: an empty file is a sound configuration without plugins,
// and what a file looks like for a moment while it is written.
func emptied(files []readResult, before map[string]content) Errors {
	var errs Errors
	for _, file := range files {
		known, ok := before[file.path]
		if file.err == nil && ok && known.problem == "" && !known.blank && isBlank(file.bytes) {
			errs = append(errs, KeyError{Source: file.path, Message: "the file is empty, and was not before: it is taken for half written; " +
				"to remove all plugins write `plugins: {}`"})
		}
	}
	return errs
}

func isBlank(text []byte) bool { return len(bytes.TrimSpace(text)) == 0 }

// follow tells the system which files matter now.
func (r *run) follow() {
	if r.blind {
		return
	}
	if err := r.tryToFollow(); err != nil {
		r.tell(fmt.Errorf("changes of the configuration's files may be seen only every %s: %w", orDefault(r.Poll, DefaultPoll), err))
		return
	}
	r.tell(nil)
}

func (r *run) tryToFollow() error {
	if r.follower == nil {
		if r.refused != nil {
			if err := r.refused(); err != nil {
				return err
			}
		}
		follower, err := newFollower()
		if err != nil {
			return err
		}
		r.follower = follower
	}
	return r.follower.follow(slices.Concat(r.sources.Files, r.current.WatchedFiles()))
}

// tell reports a problem, or its end, once.
func (r *run) tell(problem error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	if text == r.told {
		return
	}
	if r.told = text; r.OnProblem != nil {
		r.OnProblem(problem)
	}
}

func orDefault(given, usual time.Duration) time.Duration {
	if given > 0 {
		return given
	}
	return usual
}
