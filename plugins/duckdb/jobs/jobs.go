// Package jobs keeps work that must outlive the process that took it on. A job is a directory of small files below a
// state directory: what to do, how far it is, how it ended. Once Submit has returned, the job ends, even if every process
// that works on it is killed: whichever process opens the same directory next runs it again.
//
// Several processes may share a directory, as an old and a new generation of a plugin do for a while. A job belongs to
// the process that holds the lock on its lock file; the operating system lets go of it when the process dies, and another
// process then takes the job over within a second. Every process answers for every job, from the files.
//
//	<dir>/jobs/<id>/spec      what to do; written once, never changed
//	<dir>/jobs/<id>/status    how far it is; written by the owner, replaced atomically
//	<dir>/jobs/<id>/log       lines for people; appended by the owner
//	<dir>/jobs/<id>/cancel    exists: the job is to be cancelled; made by any process
//	<dir>/jobs/<id>/abandoned exists: the id is given up; made by any process
//	<dir>/jobs/<id>/lock      held by the owner
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"sync"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

// ErrUnknown is the answer for a job that was never submitted, or finished so long ago that it has been forgotten.
var ErrUnknown = errors.New("no such job")

// ErrAbandoned is the answer for an id that was given up.
var ErrAbandoned = errors.New("it was abandoned")

// Work does a job. A nil error makes the returned bytes the job's result. An error ends the job too: a *fault.Error as
// it says, anything else as a failure worth another try. When ctx is cancelled Work must return soon; why is in
// context.Cause.
type Work func(ctx context.Context, id string, spec []byte, report *Reporter) (result []byte, err error)

// Options of Open. Dir and Work are required.
type Options struct {
	// Dir is the state directory; it is made with mode 0700.
	Dir string
	// Work does the jobs.
	Work Work
	// Concurrent is how many jobs this process runs at a time; the others wait. 0 means 1.
	Concurrent int
	// Attempts is how many processes may die while they run one job before it is given up as the likely cause. 0 means 3.
	Attempts int
	// KeepFor is how long a finished job is remembered. 0 means a week.
	KeepFor time.Duration
	// KeepCount is how many finished jobs are remembered at most, the latest ones. 0 means 10000.
	KeepCount int
	// Log takes what happens to jobs. nil means nowhere.
	Log *slog.Logger
}

const (
	scanInterval = 500 * time.Millisecond
	// Finished jobs are forgotten lazily.
	pruneInterval = 10 * time.Minute
)

var (
	errCancelled = errors.New("cancelled")
	errClosing   = errors.New("the process is stopping")
)

// Store is one process's view of a state directory. It is safe for concurrent use.
type Store struct {
	options Options
	dir     string
	log     *slog.Logger
	slots   chan struct{}
	closing context.Context
	close   context.CancelCauseFunc
	working sync.WaitGroup

	mu sync.Mutex
	// mine are the jobs whose locks this process holds.
	mine map[string]*owned
	// finished remembers which directories need no look again.
	finished map[string]bool
}

// owned is a job of this process.
type owned struct {
	cancel   context.CancelCauseFunc
	reporter *Reporter
}

// Open starts to work on what the directory holds. Close the store to stop.
func Open(options Options) (*Store, error) {
	if options.Concurrent <= 0 {
		options.Concurrent = 1
	}
	if options.Attempts <= 0 {
		options.Attempts = 3
	}
	if options.KeepFor <= 0 {
		options.KeepFor = 7 * 24 * time.Hour
	}
	if options.KeepCount <= 0 {
		options.KeepCount = 10_000
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		options:  options,
		dir:      filepath.Join(options.Dir, "jobs"),
		log:      options.Log,
		slots:    make(chan struct{}, options.Concurrent),
		mine:     map[string]*owned{},
		finished: map[string]bool{},
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot keep jobs in %s: %w", options.Dir, err)
	}
	s.closing, s.close = context.WithCancelCause(context.Background())
	s.sweep()
	s.working.Go(s.watch)
	return s, nil
}

// Close stops this process's jobs without ending them: they stay unfinished for whoever opens the directory next.
// It returns when their work has stopped.
func (s *Store) Close() {
	s.mu.Lock()
	s.close(errClosing)
	s.mu.Unlock()
	s.working.Wait()
}

var validID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,127}$`)

// Submit makes a job, which starts at once or when one of the running ones ends. When it returns nil the job is on disk.
// A second job of the same id is the first one: Submit changes nothing then. For an id that was given up the answer is ErrAbandoned.
func (s *Store) Submit(id string, spec []byte) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%q cannot be a job's id", id)
	}
	if s.closing.Err() != nil {
		return errClosing
	}
	if err := s.Find(id); !errors.Is(err, ErrUnknown) {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, ".new-*")
	if err != nil {
		return fmt.Errorf("cannot store job %s: %w", id, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // renamed already when all went well
	// Locked before it can be seen, so that no other process takes it first.
	lock, err := acquire(dir)
	if err != nil {
		return fmt.Errorf("cannot store job %s: %w", id, err)
	}
	status := Status{State: Queued, Submitted: time.Now()}
	if err := errors.Join(writeFile(dir, specFile, spec), writeStatus(dir, status)); err != nil {
		lock.Close()
		return fmt.Errorf("cannot store job %s: %w", id, err)
	}
	if err := os.Rename(dir, filepath.Join(s.dir, id)); err != nil {
		lock.Close()
		if found := s.Find(id); !errors.Is(found, ErrUnknown) {
			return found // somebody was faster
		}
		return fmt.Errorf("cannot store job %s: %w", id, err)
	}
	if err := syncDir(s.dir); err != nil {
		lock.Close()
		return fmt.Errorf("cannot store job %s: %w", id, err)
	}
	s.own(id, lock, status, "queued")
	return nil
}

// Find says whether there is a job of an id, submitted by any process: nil, ErrUnknown or ErrAbandoned.
func (s *Store) Find(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	dir := filepath.Join(s.dir, id)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("job %s: %w", id, ErrUnknown)
	} else if err != nil {
		return fmt.Errorf("job %s: %w", id, err)
	}
	if _, err := os.Stat(filepath.Join(dir, abandonedFile)); err == nil {
		return fmt.Errorf("job %s: %w", id, ErrAbandoned)
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("job %s: %w", id, err)
	}
	return nil
}

// Abandon gives an id up: a job of it is cancelled, and none can be submitted for as long as finished jobs are remembered.
//
// Where there is no job a directory takes its place that says so. Processes that submit and abandon at the same time all rename a
// directory to that of the id, which succeeds for one of them.
func (s *Store) Abandon(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%q cannot be a job's id", id)
	}
	for {
		taken, err := s.occupy(id)
		if !taken {
			return err
		}
		forgotten, err := s.mark(id)
		if !forgotten {
			return err
		}
	}
}

// occupy takes the place of a job that was never submitted; taken says that there is one, or was given up before.
func (s *Store) occupy(id string) (taken bool, err error) {
	dir, err := os.MkdirTemp(s.dir, ".new-*")
	if err != nil {
		return false, cannotAbandon(id, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // renamed already when all went well
	now := time.Now()
	err = errors.Join(writeFile(dir, abandonedFile, nil), writeStatus(dir, Status{State: Cancelled, Submitted: now, Finished: now}))
	if err == nil {
		err = os.Rename(dir, filepath.Join(s.dir, id))
	}
	if errors.Is(err, os.ErrExist) {
		return true, nil
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	return false, cannotAbandon(id, err)
}

// mark says of a job that its id is given up, and ends it; forgotten says that the job is gone.
func (s *Store) mark(id string) (forgotten bool, err error) {
	dir := filepath.Join(s.dir, id)
	err = writeFile(dir, abandonedFile, nil)
	if err == nil {
		err = syncDir(dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err == nil {
		err = s.Cancel(id)
	}
	return false, cannotAbandon(id, err)
}

func cannotAbandon(id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot abandon job %s: %w", id, err)
}

// Spec returns what a job is to do, or ErrUnknown.
func (s *Store) Spec(id string) ([]byte, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	spec, err := os.ReadFile(filepath.Join(s.dir, id, specFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("job %s: %w", id, ErrUnknown)
	} else if err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	return spec, nil
}

// Status tells how far a job is, or ErrUnknown.
func (s *Store) Status(id string) (Status, error) {
	if !validID.MatchString(id) {
		return Status{}, fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	s.mu.Lock()
	job := s.mine[id]
	s.mu.Unlock()
	dir := filepath.Join(s.dir, id)
	var status Status
	if job != nil {
		status = job.reporter.snapshot()
	} else {
		var err error
		if status, err = readStatus(dir); errors.Is(err, os.ErrNotExist) {
			return Status{}, fmt.Errorf("job %s: %w", id, ErrUnknown)
		} else if err != nil {
			return Status{}, fmt.Errorf("job %s: %w", id, err)
		}
	}
	if !status.State.Ended() && cancelled(dir) {
		status.State = Cancelled
	}
	return status, nil
}

// Log returns a job's lines, oldest first, or ErrUnknown.
func (s *Store) Log(id string) ([]Line, error) {
	if _, err := s.Status(id); err != nil {
		return nil, err
	}
	return readLog(filepath.Join(s.dir, id))
}

// Cancel ends a job that has not ended, whichever process runs it. A job that has ended, or is not known, is left as it is.
func (s *Store) Cancel(id string) error {
	status, err := s.Status(id)
	if errors.Is(err, ErrUnknown) || err == nil && status.State.Ended() {
		return nil
	}
	if err != nil {
		return err
	}
	// On disk first: the job must not come back after a crash.
	if err := writeFile(filepath.Join(s.dir, id), cancelFile, nil); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot cancel job %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if job := s.mine[id]; job != nil {
		job.cancel(errCancelled)
	}
	return nil
}

// watch takes over jobs that nobody works on, and notices cancellations by other processes.
func (s *Store) watch() {
	scan := time.NewTicker(scanInterval)
	defer scan.Stop()
	var pruned time.Time
	for {
		s.scan()
		if time.Since(pruned) >= pruneInterval {
			pruned = time.Now()
			s.prune()
		}
		select {
		case <-s.closing.Done():
			return
		case <-scan.C:
		}
	}
}

func (s *Store) scan() {
	for _, id := range s.ids() {
		s.mu.Lock()
		job, finished := s.mine[id], s.finished[id]
		s.mu.Unlock()
		switch {
		case finished:
		case job != nil:
			if cancelled(filepath.Join(s.dir, id)) {
				job.cancel(errCancelled)
			}
		default:
			s.adopt(id)
		}
	}
}

// adopt takes a job whose owner is gone.
func (s *Store) adopt(id string) {
	dir := filepath.Join(s.dir, id)
	if status, err := readStatus(dir); err == nil && status.State.Ended() {
		s.mu.Lock()
		s.finished[id] = true
		s.mu.Unlock()
		return
	}
	lock, err := acquire(dir)
	if err != nil {
		return // another process has it
	}
	// Only now does the status stand still.
	status, err := readStatus(dir)
	if err != nil || status.State.Ended() {
		lock.Close()
		return
	}
	s.own(id, lock, status, "taken up again: the process that had it is gone")
}

func (s *Store) own(id string, lock *os.File, status Status, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil || s.mine[id] != nil {
		lock.Close()
		return
	}
	ctx, cancel := context.WithCancelCause(s.closing)
	job := &owned{cancel: cancel, reporter: newReporter(filepath.Join(s.dir, id), status, s.log.With("job", id))}
	s.mine[id] = job
	if cancelled(job.reporter.dir) {
		cancel(errCancelled)
	}
	job.reporter.Note("%s", why)
	s.working.Go(func() {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			cancel(nil)
			delete(s.mine, id)
			lock.Close()
		}()
		s.run(ctx, id, job.reporter)
	})
}

// run is the life of an owned job: wait, work, record the end.
func (s *Store) run(ctx context.Context, id string, report *Reporter) {
	var result []byte
	err := s.wait(ctx, report)
	if err == nil {
		defer func() { <-s.slots }()
		result, err = s.attempt(ctx, id, report)
	}
	switch {
	// A result that is there is kept, even if nobody wants to wait for it any more.
	case err == nil:
		report.end(Succeeded, "", result)
	case errors.Is(context.Cause(ctx), errCancelled):
		report.end(Cancelled, "", nil)
	case errors.Is(context.Cause(ctx), errClosing):
		report.release()
	case fault.IsRetryable(err):
		report.end(Retryable, err.Error(), nil)
	default:
		report.end(Failed, err.Error(), nil)
	}
}

func (s *Store) wait(ctx context.Context, report *Reporter) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	report.Stage("waiting for one of %d running queries to end", cap(s.slots))
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) attempt(ctx context.Context, id string, report *Reporter) (result []byte, err error) {
	if n := report.snapshot().Attempts; n >= s.options.Attempts {
		return nil, fault.Retryable("the plugin's process died %d times while it ran this query, so this attempt is given up: the query, or one that ran beside it, may need more memory than the plugin has (the plugin's config keys memory_limit and max_concurrent)", n)
	}
	spec, err := os.ReadFile(filepath.Join(report.dir, specFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read what job %s is to do: %w", id, err)
	}
	if err := report.start(); err != nil {
		return nil, fmt.Errorf("cannot record the start of job %s: %w", id, err)
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a job panicked", "job", id, "panic", p, "stack", string(debug.Stack()))
			err = fault.Final("the plugin failed inside (a panic: %v); its log has the details", p)
		}
	}()
	return s.options.Work(ctx, id, spec, report)
}
